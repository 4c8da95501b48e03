//! Where it listens: sockets of its own, and those it inherits.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use crate::program::*;

pub(crate) fn inherited_deaf(server: &str) {
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    deaf.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("an address");
    let (ended, stderr, _) = activated(server, deaf).end();
    assert_eq!(ended.code(), Some(1), "{stderr:?}");
    let says = "error: cannot listen on descriptor 3 (LISTEN_FDS): it does not listen";
    assert_eq!(stderr.last().map(String::as_str), Some(says), "{stderr:?}");
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (ended, stderr, _) = activated(server, datagrams).end();
    assert_eq!((ended.code(), stderr.len()), (Some(1), 1), "{stderr:?}");
    assert!(stderr[0].starts_with("error: cannot listen on descriptor 3 (LISTEN_FDS): "), "{stderr:?}");
}

pub(crate) fn every_interface(server: &str) {
    let program = start(command(&["--server", server, "--bind", ":0", "--access-log"]));
    let told = program.address();
    let port = told.split_once("localhost:").and_then(|(_, rest)| rest.split_once(' ')).expect("a port").0;
    assert!(told.contains("every interface"), "{told}");
    assert!(talk(connect(&format!("127.0.0.1:{port}")), "/").ends_with("\r\n\r\nhello"));
    let mut expected = vec!["127.0.0.1 - - "];
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(talk(connect(&format!("[::1]:{port}")), "/").ends_with("\r\n\r\nhello"));
        expected.push("::1 - - ");
    }
    program.signal("-TERM");
    let (ended, _, stdout) = program.end();
    assert_eq!(ended.code(), Some(0));
    let mut peers: Vec<_> = stdout.iter().filter_map(|line| line.split_once('[').map(|(peer, _)| peer)).collect();
    // A line comes behind the answer, and another thread may be first.
    peers.sort_unstable();
    assert_eq!(peers, expected);
}

pub(crate) fn localhost(server: &str) {
    let program = start(command(&["--server", server, "--bind", "localhost:0"]));
    let address = program.address();
    let port = address.rsplit_once(':').expect("a port").1;
    assert_eq!(address, format!("127.0.0.1:{port}"));
    assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    if TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(program.address(), format!("[::1]:{port}"));
        assert!(talk(connect(&format!("[::1]:{port}")), "/").ends_with("\r\n\r\nhello"));
    }
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
}

/// Lines of some kilobytes fill the buffers of a pipe soon.
/// `0.0.0.0` and `[::]` with one port, in both orders: each has the clients of its family.
pub(crate) fn side_by_side(server: &str) {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    for first in ["0.0.0.0", "[::]"] {
        // Somebody else may take the port before the second is bound.
        let started = (0..20).find_map(|_| {
            let free = TcpListener::bind("[::]:0").and_then(|free| free.local_addr()).expect("a port").port();
            let binds = if first == "[::]" { ["[::]", "0.0.0.0"] } else { ["0.0.0.0", "[::]"] };
            let [one, other] = binds.map(|host| format!("{host}:{free}"));
            let args = ["--server", server, "--bind", &one, "--bind", &other, "--access-log"];
            let program = start(command(&args));
            let line = program.line();
            (!line.contains("already in use")).then_some((program, line, free))
        });
        let (program, line, port) = started.expect("a port that is free on both");
        let lines = [line, program.line()];
        let told =
            [format!("(every interface, IPv4: 0.0.0.0:{port})"), format!("(every interface, IPv6: [::]:{port})")];
        assert!(told.iter().all(|told| lines.iter().any(|line| line.ends_with(told))), "{lines:?}");
        for host in ["127.0.0.1", "[::1]"] {
            assert!(talk(connect(&format!("{host}:{port}")), "/").ends_with("\r\n\r\nhello"));
        }
        program.signal("-TERM");
        let (ended, _, stdout) = program.end();
        let mut peers: Vec<_> = stdout.iter().filter_map(|line| line.split(' ').next()).collect();
        // A line comes behind the answer, and another thread may be first.
        peers.sort_unstable();
        assert_eq!((ended.code(), peers), (Some(0), vec!["127.0.0.1", "::1"]));
    }
}

pub(crate) fn unknown_group(server: &str) {
    let (_directory, path) = socket_path();
    let address = format!("unix:{}", path.display());
    let line = format!("error: cannot listen on {address}: there is no group \"no-such-group\"");
    fails(&["--server", server, "--bind", &format!("{address},mode=0660,group=no-such-group")], 1, &line);
    assert!(!path.exists(), "nothing is left there");
    assert_eq!(std::fs::read_dir(path.parent().expect("a folder")).expect("it is read").count(), 0);
}

pub(crate) fn successor(server: &str) {
    let (_directory, path) = socket_path();
    let address = format!("unix:{}", path.display());
    let first = start(command(&["--server", server, "--bind", &address]));
    assert_eq!(first.address(), address);
    std::fs::remove_file(&path).expect("a socket is there");
    let second = start(command(&["--server", server, "--bind", &address]));
    assert_eq!(second.address(), address);
    first.signal("-TERM");
    assert_eq!(first.end().0.code(), Some(0));
    assert!(talk(UnixStream::connect(&path).expect("it listens"), "/").ends_with("\r\n\r\nhello"));
    second.signal("-TERM");
    assert_eq!(second.end().0.code(), Some(0));
    assert!(!path.exists());
}

/// The program with `socket` as descriptor 3, the way systemd does it.
pub(crate) fn activated(server: &str, socket: impl Into<OwnedFd>) -> Program {
    start(activated_command(server, &["--bind", "127.0.0.1:1"], socket))
}

pub(crate) fn activated_command(server: &str, args: &[&str], socket: impl Into<OwnedFd>) -> Command {
    let program = command(&[]);
    let mut shell = Command::new("sh");
    // The socket comes as stdin, the one descriptor std passes on without unsafe code.
    shell.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null"]);
    shell.arg(program.get_program()).args(["--server", server]).args(args).env(PROGRAM, "1");
    shell.stdin(Stdio::from(socket.into()));
    shell
}

pub(crate) fn inherited(server: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let expected = listener.local_addr().expect("an address").to_string();
    let program = activated(server, listener);
    assert!(program.line().contains("LISTEN_FDS is set"), "it says that --bind is not used");
    assert_eq!(program.address(), expected);
    assert!(talk(connect(&expected), "/").ends_with("\r\n\r\nhello"));
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));

    let (_directory, path) = socket_path();
    let program = activated(server, UnixListener::bind(&path).expect("a socket"));
    assert!(program.line().contains("LISTEN_FDS is set"));
    assert_eq!(program.address(), format!("unix:{}", path.display()));
    assert!(talk(UnixStream::connect(&path).expect("it listens"), "/").ends_with("\r\n\r\nhello"));
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
}

/// The program with a listener as descriptor 3 and another as 4, named, that serves where `args` say.
pub(crate) fn named(server: &str, args: &[&str], listeners: [TcpListener; 2]) -> Program {
    let program = command(&[]);
    let mut shell = Command::new("sh");
    let script =
        "exec 4<&1 1>&2 3<&0 </dev/null; LISTEN_FDS=2 LISTEN_FDNAMES=web:admin LISTEN_PID=$$ exec \"$0\" \"$@\"";
    shell.args(["-c", script]).arg(program.get_program()).args(["--server", server]).args(args).env(PROGRAM, "1");
    let [first, second] = listeners.map(OwnedFd::from);
    let mut child = shell.stdin(first).stdout(second).stderr(Stdio::piped()).spawn().expect("it can be started");
    let (_silent, nothing) = channel();
    Program { stderr: lines(child.stderr.take().expect("piped")), stdout: nothing, child }
}

pub(crate) fn descriptors(server: &str) {
    let listener = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = |listener: &TcpListener| listener.local_addr().expect("an address").to_string();
    let listeners = [listener(), listener()];
    let [web, admin] = [0, 1].map(|index| address(&listeners[index]));
    let program = named(server, &["--bind", "fd:admin,keepalive=off", "--bind", "fd:3"], listeners);
    assert_eq!([program.address(), program.address()], [admin.clone(), web.clone()]);
    for address in [&admin, &web] {
        assert!(talk(connect(address), "/").ends_with("\r\n\r\nhello"));
    }
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));

    let listeners = [listener(), listener()];
    let web = address(&listeners[0]);
    let program = named(server, &["--bind", "fd:web,127.0.0.1:0"], listeners);
    let line = program.line();
    assert!(line.ends_with("inherited, but no --bind names it: descriptor 4 \"admin\""), "{line}");
    assert_eq!(program.address(), web);
    assert!(talk(connect(&program.address()), "/").ends_with("\r\n\r\nhello"), "the address beside it");
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));

    let (ended, stderr, _) = named(server, &["--bind", "fd:wbe"], [listener(), listener()]).end();
    let says = "error: cannot listen on fd:wbe: it is not among what was inherited: descriptor 3 \"web\", descriptor 4 \"admin\"";
    assert_eq!((ended.code(), stderr), (Some(1), vec![says.to_owned()]));
    let (ended, stderr, _) = start(command(&["--server", server, "--bind", "fd:0"])).end();
    let says = "error: cannot listen on fd:0: nothing was inherited (LISTEN_FDS is not set for this process)";
    assert_eq!((ended.code(), stderr), (Some(1), vec![says.to_owned()]));
}

pub(crate) fn socket_path() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    (directory, path)
}

pub(crate) fn unix_sockets(server: &str) {
    let (_directory, path) = socket_path();
    let address = format!("unix:{}", path.display());
    for _again in 0..2 {
        let program = start(command(&["--server", server, "--bind", &address]));
        assert_eq!(program.address(), address);
        assert!(talk(UnixStream::connect(&path).expect("it listens"), "/").ends_with("\r\n\r\nhello"));
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));
    }
}
