//! How it is called: options, variables, what goes to which stream, and the status where it is called wrongly.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::Command;

use crate::program::*;

pub(crate) fn wrong_use() {
    let known = adapter_web::registry::names().join(", ");
    if !known.is_empty() {
        fails(&["--server", "x"], 2, &format!("error: unknown server \"x\"; known are: {known}"));
    }
    fails(&["--nope"], 2, "error: unexpected argument '--nope' found");
    fails(&["--bind", "nonsense"], 2, "error: invalid value 'nonsense' for '--bind <ADDR>'");
    fails(&["--workers", "0"], 2, "error: invalid value '0' for '--workers <N>': expected a number from 1 to 1000");
    if !known.is_empty() {
        fails(&["--timeout-worker", "0"], 2, "error: --timeout-worker: must not be zero; off is no limit");
    }
    fails(&["--timeout-write", "0"], 2, if known.is_empty() { "error: " } else { "error: --timeout-write: must not" });
}

pub(crate) fn informational() {
    for flag in ["--help", "--version", "--list-servers"] {
        let (ended, stderr, stdout) = start(command(&[flag])).end();
        assert_eq!((ended.code(), stderr.len()), (Some(0), 0), "{flag}: {stderr:?}");
        assert!(!stdout.is_empty(), "{flag}");
    }
    let (_, _, stdout) = start(command(&["--version"])).end();
    let program = std::env::current_exe().expect("this binary has a path");
    let program = program.file_stem().expect("and a name").to_string_lossy().into_owned();
    let says = format!("{program} (version unknown), on adapter {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout, [says]);
    let (_, _, stdout) = start(command(&["--help"])).end();
    assert!(stdout.iter().any(|line| line.contains(&program)), "{stdout:?}");
}

pub(crate) fn added_server() {
    let ends = |args: &[&str]| {
        let mut command = command(args);
        command.env(PROGRAM, "added");
        let (ended, stderr, stdout) = start(command).end();
        (ended.code(), stderr.join("\n"), stdout.join("\n"))
    };
    let (status, stderr, _) = ends(&["--server", "mine"]);
    assert_eq!((status, stderr.as_str()), (Some(1), "error: the server failed: mine was picked"));
    let (status, stderr, _) = ends(&["--server", "mine", "--workers", "2"]);
    assert_eq!((status, stderr.as_str()), (Some(2), "error: --workers: mine binds its addresses by itself"));
    let (status, _, listed) = ends(&["--list-servers"]);
    assert!(status == Some(0) && listed.contains("\nmine "), "{listed}");
    let (status, stderr, _) = ends(&["--server", "x"]);
    assert!(status == Some(2) && stderr.ends_with("mine"), "{stderr}");
    if adapter_web::servers().is_empty() {
        assert_eq!(ends(&[]).1, "error: the server failed: mine was picked", "auto");
    }
}

pub(crate) fn own_version() {
    let output = |kind: &str, flag: &str| {
        let mut command = command(&[flag]);
        command.env(PROGRAM, kind);
        start(command).end().2
    };
    let program = std::env::current_exe().expect("this binary has a path");
    let program = program.file_stem().expect("and a name").to_string_lossy().into_owned();
    assert_eq!(output("macro", "--version"), [format!("{program} {}", env!("CARGO_PKG_VERSION"))]);
    assert_eq!(output("macro", "--help").first().map(String::as_str), Some(env!("CARGO_PKG_DESCRIPTION")));
    assert_eq!(output("about", "--help").first().map(String::as_str), Some("Sells tea"));
}

pub(crate) fn port_in_use(server: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    fails(
        &["--server", server, "--bind", &address],
        1,
        &format!("error: cannot listen on {address}: Address already in use"),
    );
}

pub(crate) fn unknown_option(server: &str) {
    fails(
        &["--server", server, "--bind", "127.0.0.1:0", "--option", "no-such=1"],
        2,
        &format!("error: no-such: the server \"{server}\" has no such option"),
    );
}

pub(crate) fn environment(server: &str) {
    let mut command = command(&[]);
    command.env("ADAPTER_SERVER", server).env("ADAPTER_BIND", "127.0.0.1:0,127.0.0.1:0");
    let program = start(command);
    for address in [program.address(), program.address()] {
        assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    }
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
}

#[cfg(not(feature = "tls"))]
pub(crate) fn without_tls(_server: &str) {
    fails(&["--tls-self-signed"], 2, "error: --tls-self-signed: this build has no TLS (feature tls)");
}

pub(crate) fn longest_times(server: &str) {
    let names = ["header-read", "keep-alive", "body-read", "write", "handler", "graceful-shutdown", "hooks"];
    let flags = names.map(|name| [format!("--timeout-{name}"), "18446744073709551615s".into()]).concat();
    let mut command = command(&["--server", server, "--bind", "127.0.0.1:0"]);
    command.args(flags);
    let program = start(command);
    let address = program.address();
    let mut stream = connect(&address);
    write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").expect("written");
    assert!(answer(&mut stream).ends_with("\r\n\r\nhello"));
    let mut in_flight = ask(&address, "/slow");
    assert_eq!(program.line(), "called /slow");
    program.signal("-TERM");
    assert!(answer(&mut in_flight).ends_with("\r\n\r\nhello"));
    let (ended, stderr, _) = program.end();
    assert_eq!((ended.code(), stderr.len()), (Some(0), 1), "{stderr:?}");
}

pub(crate) fn limits_too_large(server: &str) {
    for (flag, value, says) in [
        ("--limit-header-count", "40000", "error: --limit-header-count: must be at most 16384"),
        ("--limit-target-bytes", "1m", "error: --limit-target-bytes: must be at most 65534"),
        ("--limit-head-bytes", "8g", "error: --limit-head-bytes: must be at most 16777216"),
    ] {
        fails(&["--server", server, "--bind", "127.0.0.1:0", flag, value], 2, says);
    }
}

/// A program with every variable set to nothing but `ADAPTER_SERVER`.
pub(crate) fn emptied(server: &str, args: &[&str]) -> Command {
    use clap::CommandFactory as _;
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        _serving: adapter_web::Args,
    }
    let mut command = command(args);
    for argument in Cli::command().get_arguments() {
        command.envs(argument.get_env().map(|name| (name.to_owned(), "")));
    }
    command.env("ADAPTER_SERVER", server);
    command
}

pub(crate) fn empty_variables(server: &str) {
    let program = start(emptied(server, &["--bind", "127.0.0.1:0"]));
    assert!(talk(connect(&program.address()), "/").ends_with("\r\n\r\nhello"));
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
}
