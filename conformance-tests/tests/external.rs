//! The example server in a process of its own, asked over the wire, does as in this one: what `tests/minimal_server.rs`
//! shows to pass passes, and what can't be run from outside is shown as skipped, with the reason.
//!
//! The process is this program again, with the argument [`SERVE`].

#[path = "../examples/minimal_server.rs"]
mod minimal_server;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use conformance_tests::case::Script;
use conformance_tests::registry;
use conformance_tests::runner::Subject;
use libtest_mimic::{Arguments, Failed, Trial};

const SERVE: &str = "serve-the-minimal-server";

fn main() {
    // So that the cases that need a process of their own are skipped for the other reason only.
    conformance_tests::alone::enter([]);
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        let bind = "127.0.0.1:0".parse().expect("an address");
        conformance_tests::serve(&minimal_server::MinimalServer, bind).expect("the server serves");
        return;
    }
    let trial = Trial::test("the_same_from_outside", the_same_from_outside);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

/// A server in another process, ended when the test is over.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn the_same_from_outside() -> Result<(), Failed> {
    let mut serving = Serving(Command::new(std::env::current_exe()?).arg(SERVE).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(serving.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address = line.trim().rsplit(' ').next().unwrap_or_default();
    let output = Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args(["run", "--format", "json", "--external", address])
        .stderr(Stdio::inherit())
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let cases = report["servers"][0]["cases"].as_array().ok_or("no cases")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let seen: BTreeMap<String, (String, String)> = cases
        .iter()
        .map(|case| {
            let name = format!("{}::{}", text(&case["group"]), text(&case["case"]));
            (name, (text(&case["outcome"]), format!("{}{}", text(&case["reason"]), text(&case["failure"]))))
        })
        .collect();

    let local = Subject::local(&minimal_server::MinimalServer);
    let expected: BTreeMap<String, (String, String)> = registry::all()
        .map(|listed| {
            let skipped = |reason: String| ("skipped".to_owned(), reason);
            let outcome = match (local.skips(&listed), listed.case.script) {
                (Some(reason), _) => skipped(reason),
                (None, Script::Owned(_)) => skipped("needs to start and stop the server".into()),
                (None, Script::Shared(_)) => ("passed".into(), String::new()),
            };
            (listed.name(), outcome)
        })
        .collect();
    let wrong: Vec<_> = expected.iter().filter(|(name, outcome)| seen.get(*name) != Some(outcome)).collect();
    if !wrong.is_empty() || seen.len() != expected.len() {
        let seen: Vec<_> = wrong.iter().map(|(name, _)| (name, seen.get(*name))).collect();
        return Err(format!("expected {wrong:#?}, seen {seen:#?}").into());
    }
    let skipped = expected.values().filter(|(outcome, _)| outcome == "skipped").count();
    let counted = report["skipped"].as_u64();
    if counted != Some(skipped as u64) || output.status.code() != Some(0) {
        return Err(format!("{counted:?} of {skipped} skipped cases are counted; {}", output.status).into());
    }
    Ok(())
}
