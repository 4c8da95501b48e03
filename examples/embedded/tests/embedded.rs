//! The program, to its end, with its own server and with each one by name.

use std::process::{Command, Output};

/// Runs it with that server, or with its own.
fn embedded(server: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_embedded")).env("ADAPTER_SERVER", server).output().expect("it runs")
}

fn ends_well(server: &str, says: &str) {
    let output = embedded(server);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{server:?}: {told}{error}");
    let lines: Vec<&str> = told.lines().collect();
    let [listening, done, "stopped"] = lines[..] else { panic!("{server:?}: {told}") };
    assert!(listening.starts_with("listening on 127.0.0.1:") && !listening.ends_with(":0"), "{listening}");
    assert_eq!(done, format!("3 of 3 jobs are done, says {says}"));
}

#[test]
fn on_its_own_runtime() {
    ends_well("", "hyper");
}

#[test]
fn with_each_server_by_name() {
    let names = adapter_web::registry::names();
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        ends_well(&name, &name);
    }
}

#[test]
fn an_unknown_name_is_an_error() {
    let output = embedded("nope");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("UnknownServer"), "{error}");
}
