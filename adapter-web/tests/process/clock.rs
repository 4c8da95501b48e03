//! A clock that is set while a program runs: a library in front of libc's, made by the compiler that links this test.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Instant;

use crate::program::{DEADLINE, command, connect, start, talk};

/// The year of the Date of an answer.
fn year(address: &str) -> u32 {
    let answer = talk(connect(address), "/");
    let date = answer.lines().find_map(|line| line.strip_prefix("date: ")).unwrap_or_else(|| panic!("{answer}"));
    // Sun, 06 Nov 1994 08:49:37 GMT
    date.get(12..16).and_then(|year| year.parse().ok()).unwrap_or_else(|| panic!("{date}"))
}

/// \[RSP-06\] Date is of now, also behind a clock that was set back, as machines do that had the wrong time when they started.
pub(crate) fn set_back(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (library, offset) = (folder.path().join("clock.so"), folder.path().join("offset"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clock.c");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).status();
    assert!(made.expect("cc runs").success());
    let file = File::create(&offset).expect("a file");
    // In place: the program looks at it all the time.
    let set = |seconds: i64| file.write_all_at(&seconds.to_ne_bytes(), 0).expect("written");
    set(0);
    let mut command = command(&["--server", server, "--bind", "127.0.0.1:0", "--threads", "1"]);
    command.env("LD_PRELOAD", &library).env("CLOCK_OFFSET", &offset);
    let program = start(command);
    let address = program.address();
    let before = year(&address);
    set(-400 * 24 * 60 * 60);
    let began = Instant::now();
    // A text may be used until its second is over.
    while year(&address) >= before {
        assert!(began.elapsed() < DEADLINE, "Date is of {before} still");
    }
}
