//! `--metrics-bind`: what is told of a running program, at the times when it is asked.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::exposition;
use crate::program::{DEADLINE, PROGRAM, Program, answer, ask, command, connect, fails, start, talk, until};
use crate::workers::MOOD;

/// An address that was free a moment ago.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// The address of the metrics, which is told before the server's.
fn told(program: &Program) -> String {
    let line = program.line();
    let address = line.strip_prefix("adapter: metrics on http://").and_then(|rest| rest.strip_suffix("/metrics"));
    address.unwrap_or_else(|| panic!("{line}")).to_owned()
}

fn get(address: &str, path: &str) -> String {
    talk(connect(address), path)
}

#[track_caller]
fn is_ready(address: &str, expected: &str) {
    let answer = get(address, "/readyz");
    let status = if expected == "serving" { "HTTP/1.1 200 " } else { "HTTP/1.1 503 " };
    assert!(answer.starts_with(status) && answer.ends_with(&format!("\r\n\r\n{expected}\n")), "{answer}");
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
}

fn page(address: &str) -> exposition::Exposition {
    let answer = get(address, "/metrics");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    exposition::promtool(text).unwrap_or_else(|why| panic!("{why} in\n{text}"));
    exposition::parse(text, false).unwrap_or_else(|why| panic!("{why} in\n{text}"))
}

/// Asks again until it is so: a request is over for the server a moment after it is for its client.
#[track_caller]
fn until_page(address: &str, is: impl Fn(&exposition::Exposition) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let page = page(address);
        if is(&page) {
            return;
        }
        assert!(Instant::now() < deadline, "{page:?}");
    }
}

fn serving(server: &str, more: &[&str]) -> (Program, String, String) {
    let args = ["--server", server, "--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"];
    let program = start(command(&[&args, more].concat()));
    let metrics = told(&program);
    let address = program.address();
    (program, address, metrics)
}

/// What a health check of a container says: its status, and what is on stderr and stdout.
fn health(metrics: &str) -> (Option<i32>, String, String) {
    let (ended, stderr, stdout) = start(command(&["--healthcheck", metrics])).end();
    (ended.code(), stderr.join("\n"), stdout.join("\n"))
}

/// From before it serves to its end.
pub(crate) fn life(server: &str) {
    let metrics = free();
    let mut sleepy = command(&["--server", server, "--bind", "127.0.0.1:0", "--metrics-bind", &metrics]);
    sleepy.env(PROGRAM, "sleepy");
    let program = start(sleepy);
    // The hook writes by itself, and may come first.
    let mut lines = [program.line(), program.line()];
    lines.sort();
    assert_eq!(lines, [format!("adapter: metrics on http://{metrics}/metrics"), "starting".into()]);
    is_ready(&metrics, "starting");
    let not_ready = format!("error: --healthcheck: /readyz of {metrics} answers 503");
    assert_eq!(health(&metrics), (Some(1), not_ready.clone(), String::new()));
    program.signal("-TERM");
    program.end();
    let (status, stderr, _) = health(&metrics);
    assert!(status == Some(1) && stderr.starts_with(&format!("error: --healthcheck: {metrics}: ")), "{stderr}");
    assert!(TcpStream::connect(&metrics).is_err(), "it ends with the program");

    let (program, address, metrics) = serving(server, &["--drain-delay", "1h"]);
    is_ready(&metrics, "serving");
    assert_eq!(health(&metrics), (Some(0), String::new(), "ready".into()));
    let quiet = page(&metrics);
    assert_eq!(quiet.value("adapter_requests_total", &[]), Some(0.0));
    let about = [("server", server), ("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(quiet.value("adapter_info", &about), Some(1.0));
    for _ in 0..3 {
        assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    }
    talk(connect(&address), "/panic/x");
    until_page(&metrics, |page| {
        let of = |status: &str| {
            let labels =
                [("http_request_method", "GET"), ("http_response_status_code", status), ("url_scheme", "http")];
            page.sum("http_server_request_duration_seconds_count", &labels)
        };
        of("200") == 3.0
            && of("500") == 1.0
            && page.value("adapter_connections_open", &[]) == Some(0.0)
            && page.value("adapter_connections_opened_total", &[]) == Some(4.0)
            && page.value("adapter_panics_total", &[]) == Some(1.0)
    });
    // It goes on through the delay, and the drain.
    let in_flight = ask(&address, "/drained");
    assert_eq!(until(&program, "called /drained").last().map(String::as_str), Some("called /drained"));
    let _never = ask(&address, "/never");
    until(&program, "called /never");
    program.signal("-TERM");
    until(&program, "draining in 3600s, once more to drain now");
    is_ready(&metrics, "draining");
    assert_eq!(page(&metrics).value("adapter_draining", &[]), Some(0.0));
    program.signal("-INT");
    until(&program, "draining, once more to force");
    assert!(answer(in_flight).ends_with("\r\n\r\nhello"));
    is_ready(&metrics, "draining");
    until_page(&metrics, |page| page.value("adapter_draining", &[]) == Some(1.0));
    assert_eq!(page(&metrics).value("http_server_active_requests", &[]), Some(1.0));
    program.signal("-QUIT");
    assert_eq!(program.end().0.code(), Some(0));
    assert!(TcpStream::connect(&metrics).is_err(), "it ends with the program");
}

/// All threads of the server are in the application.
pub(crate) fn busy(server: &str) {
    // Which of several event loops takes a connection is not ours to say.
    let threads = if server == "threadpool" { 4 } else { 1 };
    let (program, address, metrics) = serving(server, &["--threads", &threads.to_string()]);
    let held: Vec<_> = (0..8).map(|_| ask(&address, "/hold")).collect();
    for _ in 0..threads {
        assert!(program.line().starts_with("called /hold "));
    }
    is_ready(&metrics, "serving");
    let page = page(&metrics);
    assert!(page.sum("http_server_active_requests", &[]) >= f64::from(threads), "{page:?}");
    drop(held);
}

/// [`page`] asks it, too, where it is installed; here it is seen whether it is.
pub(crate) fn promtool(server: &str) {
    let (_program, address, metrics) = serving(server, &[]);
    assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    until_page(&metrics, |page| page.sum("http_server_request_duration_seconds_count", &[]) >= 1.0);
}

/// A Prometheus scrapes it; it asks for OpenMetrics.
pub(crate) fn prometheus(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (program, address, metrics) = serving(server, &[]);
    let (settings, listens) = (folder.path().join("prometheus.yml"), free());
    let text = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs: [{{job_name: adapter, static_configs: [{{targets: ['{metrics}']}}]}}]\n"
    );
    std::fs::write(&settings, text).expect("written");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", settings.display())).arg(format!("--web.listen-address={listens}"));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    let scraper = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _scraper = Ended(scraper.expect("prometheus was there"));
    assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    let deadline = Instant::now() + 3 * DEADLINE;
    let until = |query: &str, is: &str| {
        loop {
            let asked = TcpStream::connect(&listens).ok().map(|stream| {
                stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
                talk(stream, &format!("/api/v1/{query}"))
            });
            if asked.as_ref().is_some_and(|answer| answer.contains(is)) {
                return;
            }
            assert!(Instant::now() < deadline, "{query}: {asked:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until("query?query=http_server_request_duration_seconds_count", "\"http_response_status_code\":\"200\"");
    until("query?query=up", ",\"1\"]");
    // Only OpenMetrics tells units.
    until("targets/metadata?metric=adapter_blocking_wait_seconds", "\"unit\":\"seconds\"");
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
}

/// Killed when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn misuse(server: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let used = free();
    let _holder = TcpListener::bind(&used).expect("it is free");
    let args = ["--server", server, "--bind", "127.0.0.1:0", "--metrics-bind"];
    fails(&[&args[..], &[&used]].concat(), 1, &format!("error: cannot listen on {used}: "));
    fails(&[&args[..], &["unix:/run/x"]].concat(), 2, "error: invalid value 'unix:/run/x' for '--metrics-bind <ADDR>'");
    fails(&[&args[..], &["127.0.0.1:1,tls"]].concat(), 2, "error: invalid value '127.0.0.1:1,tls'");
    let why = "error: --metrics-bind: not with --workers: each would have figures of its own";
    fails(&[&args[..], &[&taken, "--workers", "2"]].concat(), 2, why);
}

/// The listener is handed on like the others, and told by the one that serves; one that does not start changes nothing.
pub(crate) fn upgrade(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mood = folder.path().join("mood");
    let args = ["--server", server, "--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"];
    let mut command = command(&args);
    command.env(PROGRAM, "moody").env(MOOD, &mood);
    let program = start(command);
    let metrics = told(&program);
    let address = program.address();
    assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    until_page(&metrics, |page| page.sum("http_server_request_duration_seconds_count", &[]) == 1.0);

    std::fs::write(&mood, "out of tea").expect("written");
    program.signal("-USR2");
    until(&program, "it ended before it served (exit status: 1)");
    is_ready(&metrics, "serving");
    assert_eq!(page(&metrics).value("adapter_requests_total", &[]), Some(1.0));

    std::fs::remove_file(&mood).expect("it is there");
    let _never = ask(&address, "/never");
    let new = crate::operator::upgraded(&program, program.child.id());
    // The old one drains for as long as that request lasts; whoever asks is told by the new one.
    is_ready(&metrics, "serving");
    until_page(&metrics, |page| page.value("adapter_requests_total", &[]) == Some(0.0));
    assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    until_page(&metrics, |page| page.value("adapter_requests_total", &[]) == Some(1.0));
    program.signal("-QUIT");
    assert!(Command::new("kill").args(["-TERM", &new.to_string()]).status().expect("kill runs").success());
    program.end();
    assert!(TcpStream::connect(&metrics).is_err(), "it ends with the last one");
}
