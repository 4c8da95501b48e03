//! The command: right use, wrong use, and a server in another process.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};

use conformance_tests::registry;
use conformance_tests::runner::Subject;

fn conformance(arguments: &[&str]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).output();
    command.expect("the command runs")
}

/// Exit status 2 and one line that says what is wrong.
fn is_wrong_use(arguments: &[&str], message: &str) {
    let output = conformance(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
    assert_eq!(told.trim_end().lines().count(), 1, "{arguments:?}: {told}");
    assert!(told.contains(message), "{arguments:?}: {told}");
}

#[test]
fn wrong_use_is_one_line_and_status_2() {
    is_wrong_use(&["run", "--server", "nope"], "unknown server \"nope\"");
    is_wrong_use(&["run", "--server", "hyper", "--case", "nope"], "no case is called like \"nope\"");
    is_wrong_use(&["run", "--external", "127.0.0.1:1"], "nobody listens at 127.0.0.1:1");
    is_wrong_use(&["run", "--external", "nowhere"], "\"nowhere\" is no HOST:PORT");
    is_wrong_use(
        &["run", "--external", "127.0.0.1:1", "--patience", "0s"],
        "a patience of 0s is not between 1 ms and an hour",
    );
    is_wrong_use(
        &["run", "--server", "hyper", "--html", "/no/such/folder/x.html"],
        "cannot write /no/such/folder/x.html",
    );
    is_wrong_use(&["run", "--server", "hyper", "--exceptions", "/no/such/file.toml"], "cannot read /no/such/file.toml");
    is_wrong_use(&["explain", "nope"], "neither a case nor a requirement");
    is_wrong_use(&["list", "nope"], "no case is called like");
    is_wrong_use(&["serve", "--server", "nope"], "unknown server");
}

#[test]
fn wrong_exceptions_are_told_for_what_they_are() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    for (id, message) in
        [("ZZZ-99", "ZZZ-99, which is no requirement"), ("HDR-06", "HDR-06 is a MUST, which no exception")]
    {
        let entry = format!("[[exception]]\nrequirement = \"{id}\"\nserver = \"hyper\"\nreason = \"no\"\n");
        std::fs::write(file.path(), entry).expect("an entry");
        let path = file.path().to_string_lossy().into_owned();
        is_wrong_use(&["run", "--server", "hyper", "--exceptions", &path], message);
    }
}

#[test]
fn a_server_without_the_conformance_application_is_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // It answers every connection, and ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    is_wrong_use(&["run", "--external", &address], "does not serve the conformance application");
}

#[test]
fn cases_and_requirements_are_explained() {
    let told = |arguments: &[&str]| String::from_utf8_lossy(&conformance(arguments).stdout).into_owned();
    assert!(told(&["explain", "TGT-04"]).contains("target::path_is_raw"));
    assert!(told(&["explain", "TGT-10"]).contains("TGT-10b"));
    let case = told(&["explain", "target::path_is_raw"]);
    assert!(case.contains("exactly as they were received") && case.contains("targets are decoded"), "{case}");
    assert!(told(&["list"]).lines().count() > 300);
    assert_eq!(told(&["list", "path_is_raw"]).lines().count(), 1);
}

#[test]
fn reports_come_in_three_forms_and_as_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("report.html");
    let page_name = page.to_string_lossy().into_owned();
    let run = |format: &str| {
        let output = conformance(&[
            "run",
            "--server",
            "hyper",
            "--case",
            "target_forms",
            "--format",
            format,
            "--html",
            &page_name,
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let table = run("table");
    let last = table.trim_end().lines().last().unwrap_or("").to_owned();
    assert!(last.contains(" passed, 0 failed, ") && last.contains(" skipped"), "{last}");
    let json: serde_json::Value = serde_json::from_str(&run("json")).expect("JSON");
    assert_eq!(json["failed"], 0);
    assert!(run("junit").contains("<testsuite name=\"hyper\""));
    let html = std::fs::read_to_string(page).expect("the page");
    assert!(html.contains("TGT-10a") && html.contains("fails where ") && html.ends_with("</html>\n"));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    let mut child = command.arg("list").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// \[TST-04\]
#[test]
fn over_tls_what_only_means_something_in_plain_is_skipped() {
    let cases = ["--case", "target::path_is_raw", "--case", "environment::unix_peer_is_none"];
    let output = conformance(&[&["run", "--tls", "--server", "hyper"], &cases[..]].concat());
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("1 passed, 0 failed, 1 skipped"), "{out}");
    assert!(out.contains("is for connections without TLS: "), "{out}");
}

#[test]
fn skips_are_for_undeclared_capabilities_and_shown() {
    conformance_tests::secure::provide(conformance_tests::own_tls::make);
    let run = |format: &str| {
        let output = conformance(&["run", "--server", "threadpool", "--case", "http2", "--format", format]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let server = adapter_threadpool::ThreadPoolServer::new();
    let subject = Subject::local(&server);
    let capabilities = adapter_core::Server::info(&server).capabilities;
    let declared = |name: &str| capabilities.iter().any(|(known, there)| known == name && there);
    let mut skipped = 0;
    for listed in registry::all() {
        let Some(reason) = subject.skips(&listed) else { continue };
        // Nothing here has called `alone::enter`, which gives cases processes.
        if listed.case.alone {
            continue;
        }
        let capability = listed.capabilities().find(|name| !declared(name) && *name != registry::HTTP1);
        let capability = capability.unwrap_or_else(|| panic!("{} is skipped: {reason}", listed.name()));
        assert_eq!(reason, format!("does not declare {capability}"));
        skipped += usize::from(listed.name().contains("http2"));
    }
    assert!(skipped > 10, "{skipped}");
    assert!(run("table").contains(&format!("{skipped} cases: does not declare http2")), "{}", run("table"));
    let json: serde_json::Value = serde_json::from_str(&run("json")).expect("JSON");
    assert_eq!(json["skipped"], skipped);
    assert_eq!(run("junit").matches("does not declare http2").count(), skipped);
}

/// A server in another process, ended when the test is over.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

#[test]
fn a_server_in_another_process_gives_the_same_result() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command.args(["serve", "--server", "hyper", "--bind", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut serving = Serving(command.spawn().expect("the command runs"));
    let output = serving.0.stdout.take().expect("piped");
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    let cases = ["--case", "target", "--case", "limits", "--case", "environment", "--case", "keep_alive"];
    let external = conformance(&[&["run", "--external", &address][..], &cases].concat());
    let told = String::from_utf8_lossy(&external.stdout).into_owned();
    assert_eq!(external.status.code(), Some(0), "{told}");
    assert!(told.contains("needs to start and stop the server"), "skips are not shown: {told}");
    assert!(!told.contains("needs the setting"), "a setting is missing: {told}");
}
