//! Whom a running program believes: settings in a file that changes under it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::program::{Program, command, connect, start, talk, until};

/// A file of settings.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File { path: folder.path().join("app.toml"), _folder: folder };
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).expect("written");
    }
}

fn program(server: &str, file: &Path, args: &[&str]) -> Program {
    let mut command = command(&["--server", server, "--config"]);
    command.arg(file).args(args);
    start(command)
}

/// Whom a request is from that says it is of 1.1.1.1, on a connection that goes on.
fn peer(stream: &mut TcpStream) -> String {
    write!(stream, "GET /peer HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    let mut octet = [0];
    while !answer.ends_with(b")") {
        stream.read_exact(&mut octet).expect("an answer");
        answer.push(octet[0]);
    }
    String::from_utf8_lossy(&answer).rsplit('\n').next().unwrap_or_default().to_owned()
}

const PROXY: &str = "Some(127.0.0.1)";
const CLIENT: &str = "Some(1.1.1.1)";

fn hang_up(program: &Program, says: &str) {
    program.signal("-HUP");
    let line = program.line();
    assert!(line.starts_with(&format!("adapter: SIGHUP: {says}")), "{line}");
}

pub(crate) fn again(server: &str) {
    let file = File::new("");
    let binds = ["--bind", "127.0.0.1:0", "--bind", "127.0.0.1:0,proxy", "--proxy-protocol-from", "10.9.9.9"];
    let served = program(server, &file.path, &binds[..2]);
    let mut kept = connect(&served.address());
    assert_eq!(peer(&mut kept), PROXY);
    // The next request on a connection is read by the new rules.
    file.write("trusted-proxy = ['10.0.0.1', '127.0.0.1']");
    let read = format!("read the trusted proxies of {} again", file.path.display());
    hang_up(&served, &read);
    assert_eq!(peer(&mut kept), CLIENT);
    // What does not hold changes nothing.
    for (wrong, why) in [
        ("trusted-proxy = ['10.0.0.1', 'nobody']", "trusted-proxy: invalid value 'nobody'"),
        ("trusted-hops = 1\ntrusted-proxy = '10.0.0.1'", "--trusted-hops: proxies are counted or listed"),
        ("trusted-", "line 1: "),
        // Nor does what only the next start would find.
        ("trusted-proxy = '10.0.0.1'\ntls-key = 'key.pem'", "--tls-key: "),
        ("trusted-proxy = '10.0.0.1'\noption = 'colour=red'", "colour: the server "),
        ("trusted-proxy = '10.0.0.1'\ncolour = 'red'", "unknown key \"colour\""),
        ("trusted-proxy = '10.0.0.1'\nworkers = 2\nmetrics-bind = ':1'", "--metrics-bind: not with --workers: "),
        ("trusted-proxy = '10.0.0.1'\naccess-log = 'events'\naccess-log-file = 'x'", "--access-log-file: "),
        ("trusted-proxy = '10.0.0.1'\nlog = 'loud'", "--log: \"loud\" is no level"),
    ] {
        file.write(wrong);
        hang_up(&served, &format!("trusting the proxies from before: {}: {why}", file.path.display()));
        assert_eq!(peer(&mut kept), CLIENT);
    }
    file.write("trusted-hops = 1");
    hang_up(&served, &read);
    assert_eq!(peer(&mut kept), CLIENT);
    file.write("trusted-proxy = '10.0.0.1'");
    hang_up(&served, &read);
    assert_eq!(peer(&mut kept), PROXY);
    served.signal("-TERM");
    assert_eq!(served.end().0.code(), Some(0));
    // The command line comes first, also then; what it leaves open is the file's.
    let served = program(server, &file.path, &binds);
    let (plain, announced) = (served.address(), served.address());
    let announced = announced.split(',').next().unwrap_or_default();
    file.write("trusted-proxy = '127.0.0.1'\nproxy-protocol-from = '127.0.0.1'");
    hang_up(&served, &read);
    assert_eq!(peer(&mut connect(&plain)), CLIENT);
    let mut stream = connect(announced);
    stream.write_all(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n").expect("written");
    let refused = stream.read(&mut [0]);
    assert!(!matches!(refused, Ok(1..)), "who is not on the command line is refused: {refused:?}");
    let line = served.line();
    assert!(line.contains("[PRX-02] it may not speak the PROXY protocol"), "{line}");
}

/// A file that names a server that is not there, or options that the one it names does not have, is not taken: no start would take it.
pub(crate) fn refused(server: &str) {
    let file = File::new(&format!("server = '{server}'\ntrusted-proxy = '127.0.0.1'"));
    let mut command = command(&["--bind", "127.0.0.1:0", "--config"]);
    command.arg(&file.path);
    let served = start(command);
    let address = served.address();
    for (wrong, why) in [
        ("server = 'nope'", "unknown server \"nope\"; known are: "),
        ("option = 'nope=1'", "nope: the server "),
        #[cfg(feature = "tls")]
        (
            "bind = '127.0.0.1:0,tls'\ntls-self-signed = true\ntls-cert = 'no'\ntls-key = 'no'",
            "--tls-self-signed: can't",
        ),
    ] {
        file.write(&format!("trusted-proxy = '10.0.0.1'\n{wrong}"));
        served.signal("-HUP");
        let line = served.line();
        let said = format!("adapter: SIGHUP: trusting the proxies from before: {}: {why}", file.path.display());
        assert!(line.starts_with(&said) && line.ends_with(" (the next start would refuse it, too)"), "{line}");
        assert_eq!(peer(&mut connect(&address)), CLIENT);
    }
    // Another server is told, and taken at the next start.
    file.write("server = 'auto'");
    let read =
        format!("read the trusted proxies of {} again; what it says else has changed (server)", file.path.display());
    hang_up(&served, &read);
    served.signal("-TERM");
    assert_eq!(served.end().0.code(), Some(0));
}

/// Those of the PROXY protocol are read again, too; and by the new ones where there are workers.
pub(crate) fn of_workers(server: &str) {
    let file = File::new("proxy-protocol-from = '10.9.9.9'");
    let bind = ["--bind", "127.0.0.1:0,proxy"];
    let served = program(server, &file.path, &bind);
    let address = served.address();
    let said = |address: &str| {
        let mut stream = connect(address.split(',').next().unwrap_or_default());
        stream.write_all(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n").expect("written");
        let mut answer = String::new();
        let _ = write!(stream, "GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        // Refused, it may be reset.
        let _ = stream.read_to_string(&mut answer);
        answer.rsplit('\n').next().unwrap_or_default().to_owned()
    };
    assert_eq!(said(&address), "");
    file.write("proxy-protocol-from = '127.0.0.1'");
    served.signal("-HUP");
    until(&served, " again");
    assert_eq!(said(&address), "Some(1.2.3.4)");
    // Nobody may speak there any more: that is refused, as it is at a start.
    file.write("");
    served.signal("-HUP");
    let lines = until(&served, "as none are trusted (the next start would refuse it, too)");
    assert!(lines.last().is_some_and(|line| line.contains("trusting the proxies from before: ")), "{lines:?}");
    assert_eq!(said(&address), "Some(1.2.3.4)");
    drop(served);
    file.write("trusted-proxy = '10.0.0.1'");
    let served = program(server, &file.path, &["--bind", "127.0.0.1:0", "--workers", "2"]);
    until(&served, " serves");
    until(&served, " serves");
    let address = served.address();
    assert_eq!(peer(&mut connect(&address)), PROXY);
    file.write("trusted-proxy = '127.0.0.1'");
    served.signal("-HUP");
    until(&served, " ended");
    until(&served, " ended");
    assert_eq!(peer(&mut connect(&address)), CLIENT);
    assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    served.signal("-TERM");
    assert_eq!(served.end().0.code(), Some(0));
}

/// What is marked is told so, and what can't be of use.
pub(crate) fn told(server: &str) {
    let from = ["--proxy-protocol-from", "10.0.0.1"];
    let mut args = vec!["--server", server, "--bind", "127.0.0.1:0,proxy", "--bind", "127.0.0.1:0"];
    args.extend(from);
    let served = start(command(&args));
    let addresses = [served.address(), served.address()];
    assert_eq!(addresses.map(|address| address.ends_with(",proxy")), [true, false]);
    for more in [&[][..], &["--workers", "2"]] {
        let mut args = vec!["--server", server, "--bind", "127.0.0.1:0"];
        args.extend(from.iter().chain(more));
        let served = start(command(&args));
        let line = served.line();
        assert!(line.starts_with("adapter: --proxy-protocol-from is of no use: "), "{line}");
        let lines = until(&served, "").into_iter().chain(more.iter().map(|_| served.line())).collect::<Vec<_>>();
        assert!(!lines.iter().any(|line| line.contains("of no use")), "{lines:?}");
    }
}
