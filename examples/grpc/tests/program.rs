//! The program: it starts on the servers with HTTP/2, and says in one line why it does not on the others.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

fn start(server: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grpc"));
    command.args(["--server", server, "--bind", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().expect("it runs")
}

#[test]
fn it_starts_where_there_is_http2() {
    for name in ["auto", "hyper", "actix", "smol"] {
        let mut program = start(name);
        let mut said = String::new();
        BufReader::new(program.stderr.take().expect("piped")).read_line(&mut said).expect("it says something");
        program.kill().expect("it runs");
        program.wait().expect("it ends");
        assert!(said.contains(" listening on http://127.0.0.1:"), "{name}: {said}");
    }
}

#[test]
fn it_is_refused_where_there_is_none() {
    let mut program = start("threadpool");
    let mut said = String::new();
    program.stderr.take().expect("piped").read_to_string(&mut said).expect("it says something");
    assert_eq!(program.wait().expect("it ends").code(), Some(2));
    let expected =
        "error: --server: this program needs http2, which threadpool does not have (who has it: hyper, actix, smol)\n";
    assert_eq!(said, expected);
}
