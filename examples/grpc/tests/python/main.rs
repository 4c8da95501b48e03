//! Google's own client, grpcio from Python, on every server with HTTP/2. `client.py` says what is asked.
//!
//! Where Python or one of its packages is missing, the cases are ignored and say so. They are looked for in `grpcio/venv` of the
//! target directory, where `.ci/run` puts them, and beside `python3`.

#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

const CASES: [&str; 8] =
    ["unary", "error", "server_stream", "client_stream", "both_streams", "deadline", "cancelled", "health"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Nothing is started only to be listed.
    let python = if arguments.list { Err(String::new()) } else { python() };
    if let Err(reason) = &python
        && !arguments.list
    {
        eprintln!("python: ignored, {reason}");
    }
    let mut trials = Vec::new();
    for server in support::servers() {
        for case in CASES {
            let name = format!("{}::{case}", server.info().name);
            trials.push(match python.clone() {
                Ok(python) => Trial::test(name, move || {
                    let (handle, address) = support::start(server);
                    let asked = ask(&python, address, case);
                    handle.trigger().trigger();
                    handle.wait()?;
                    asked
                }),
                Err(reason) => Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(!arguments.list),
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One that has what the client imports.
fn python() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let own = target.map(|target| target.join("grpcio/venv/bin/python3"));
    let both = own.into_iter().chain([PathBuf::from("python3")]);
    let imports = |python: &PathBuf| {
        let tried = Command::new(python).args(["-c", "import grpc, grpc_reflection"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    both.into_iter().find(imports).ok_or_else(|| "no Python with grpcio and grpcio-reflection".into())
}

/// Runs one of the client's functions.
fn ask(python: &Path, address: SocketAddr, case: &str) -> Result<(), Failed> {
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");
    let output = Command::new(python).arg(client).arg(address.to_string()).arg(case).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}
