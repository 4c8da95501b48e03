//! A command of somebody else's: their server beside those of this build.
//!
//! This binary is both sides: started with a variable it is the command, else the tests.

#[path = "../examples/minimal_server.rs"]
mod minimal_server;

use std::process::{Command, ExitCode, Output};

use adapter_core::{DynApplication, ServeError, Server, ServerConfig, ServerHandle, ServerInfo};
use libtest_mimic::{Arguments, Failed, Trial};
use minimal_server::MinimalServer;

const VARIABLE: &str = "CONFORMANCE_OWN_COMMAND";

/// A server with a name that is taken.
struct Namesake;

impl Server for Namesake {
    fn info(&self) -> ServerInfo {
        ServerInfo::new("minimal", "9")
    }

    fn start(&self, _: DynApplication, _: ServerConfig) -> Result<ServerHandle, ServeError> {
        Err(ServeError::config("namesake", "serves nothing"))
    }
}

fn main() -> ExitCode {
    match std::env::var(VARIABLE).as_deref() {
        Ok("twice") => return conformance_tests::command::main(&[&MinimalServer, &Namesake]),
        Ok(_) => return conformance_tests::command::main(&[&MinimalServer]),
        Err(_) => {}
    }
    let trials = vec![
        Trial::test("an_own_server_runs_beside_those_of_the_build", beside),
        Trial::test("a_name_that_is_taken_is_wrong_use", taken),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn command(kind: &str, arguments: &[&str]) -> Output {
    let program = std::env::current_exe().expect("this binary has a path");
    Command::new(program).env(VARIABLE, kind).args(arguments).output().expect("it runs")
}

fn told(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn beside() -> Result<(), Failed> {
    // One of the cases is run in a process of its own, which has to find the server, too.
    let cases = ["--case", "target::path_is_raw", "--case", "process::failed_body_is_logged"];
    let ran = command("once", &[&["run", "--server", "minimal", "--server", "hyper"], &cases[..]].concat());
    let (out, err) = (told(&ran.stdout), told(&ran.stderr));
    if ran.status.code() != Some(0) || !out.contains("4 passed, 0 failed") || !out.contains("minimal") {
        return Err(format!("{:?}\n{out}\n{err}", ran.status).into());
    }
    // What a server can't do is wrong use, and not a hundred failures.
    let plain = command("once", &["run", "--server", "minimal", "--tls"]);
    if plain.status.code() != Some(2) || told(&plain.stderr) != "conformance: minimal does not speak TLS\n" {
        return Err(told(&plain.stderr).into());
    }
    let unknown = command("once", &["run", "--server", "nope"]);
    let err = told(&unknown.stderr);
    if unknown.status.code() != Some(2) || !err.trim_end().ends_with("minimal") || err.lines().count() != 1 {
        return Err(err.into());
    }
    Ok(())
}

fn taken() -> Result<(), Failed> {
    let output = command("twice", &["list"]);
    let err = told(&output.stderr);
    let says = "conformance: there are two servers called \"minimal\"\n";
    if output.status.code() == Some(2) && err == says { Ok(()) } else { Err(err.into()) }
}
