//! Applications of other languages: what they lack skips cases, who is none is told apart, and the chapter names all there is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let has_python = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_python && !arguments.list {
        eprintln!("foreign: ignored, there is no python3");
    }
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = vec![
        trial("what_the_application_lacks_skips_its_cases_by_name", what_the_application_lacks_skips_its_cases_by_name),
        trial(
            "who_is_no_conformance_application_is_told_before_the_first_case",
            who_is_no_conformance_application_is_told_before_the_first_case,
        ),
        trial("the_application_of_python_does_what_it_is_told", the_application_of_python_does_what_it_is_told)
            .with_ignored_flag(!has_python),
        trial("the_chapter_names_every_step", the_chapter_names_every_step),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(address: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command.args(["run", "--format", "json", "--patience", "5s", "--external", address]).args(arguments);
    command.output().expect("the command runs")
}

/// An address where every connection is answered with `answer`, once something came, and closed.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // It ends with the process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// Outcome and reason of each case.
fn outcomes(output: &Output) -> Vec<(String, String)> {
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let cases = report["servers"][0]["cases"].as_array().expect("cases");
    cases.iter().map(|case| (text(&case["outcome"]), text(&case["reason"]))).collect()
}

/// Of an application that knows so little no case can pass: that they are skipped is what it says of itself.
fn what_the_application_lacks_skips_its_cases_by_name() {
    // One answer to all: to "about", and a record of one call.
    let address = answering(concat!(
        "HTTP/1.1 200 OK\r\ncontent-length: 88\r\nconnection: close\r\nx-conformance-application: 1\r\n\r\n",
        "contract 1\nserver little\nstep body\nstep stream\nfact scheme\n0\tthread\tcall GET / HTTP/1.1\n"
    ));
    for (case, lacking) in [
        ("request_body::sized_body_is_exact", "the step read"),
        ("body_drop::dropped_after_an_error", "the step item:text"),
        ("environment::server_tells_who_it_is", "the fact interface"),
    ] {
        let output = run(&address, &["--case", case]);
        let reason = format!("the application does not know {lacking}");
        assert_eq!(outcomes(&output), [("skipped".to_owned(), reason)], "{case}");
        assert_eq!(output.status.code(), Some(0), "{case}");
    }
    // What needs nothing of it is run.
    let output = run(&address, &["--case", "target::garbage_is_closed"]);
    assert_eq!(outcomes(&output)[0].0, "failed");
}

fn who_is_no_conformance_application_is_told_before_the_first_case() {
    let other = "HTTP/1.1 404 Not Found\r\nserver: nginx\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let newer = "HTTP/1.1 200 OK\r\ncontent-length: 26\r\nconnection: close\r\n\r\ncontract 2\nserver tomorrow\n";
    for (answer, told) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP/1.1"),
        (other, "was answered 404 by nginx"),
        (newer, "speaks version 2 of the contract, and this suite version 1"),
    ] {
        let output = run(&answering(answer), &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
        assert!(error.contains(told), "{error}");
    }
}

/// A process, ended when the test is over.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// The application of Python on the server of its standard library, which speaks HTTP/1.0.
fn the_application_of_python_does_what_it_is_told() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/wsgi.py");
    let mut command = Command::new("python3");
    command.arg(program).arg("127.0.0.1:0").stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.env("PYTHONDONTWRITEBYTECODE", "1").spawn();
    let mut serving = Serving(child.expect("python3 was there"));
    let mut line = String::new();
    BufReader::new(serving.0.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    let cases = [
        "request_body::sized_body_is_exact",
        "response::status_is_as_set",
        "body::items_are_concatenated",
        "files::range_is_exact",
        "concurrency::slow_handler_holds_up_nobody",
    ];
    let output = run(&address, &cases.map(|case| ["--case", case]).concat());
    let seen = outcomes(&output);
    assert_eq!(seen.len(), cases.len());
    assert!(seen.iter().all(|(outcome, _)| outcome == "passed"), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The steps of the sources, and those of the chapter.
fn the_chapter_names_every_step() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let chapter = read("../spec/APPLICATION.md");
    let quoted: Vec<&str> = chapter.split('`').skip(1).step_by(2).collect();
    let is_told = |name: &str| quoted.iter().any(|words| words.split([' ', ':']).next() == Some(name));
    let mut count = 0;
    for file in ["handler", "blocking", "draft", "services", "takeover", "items", "session", "stream", "control"] {
        let source = read(&format!("src/application/{file}.rs"));
        for arm in source.lines().filter_map(|line| line.split_once("=>")) {
            for name in arm.0.split('"').skip(1).step_by(2) {
                count += 1;
                assert!(is_told(name), "{file}.rs knows `{name}`, which spec/APPLICATION.md does not tell of");
            }
        }
    }
    assert!(count > 90, "{count}");
}
