//! The page by a strict parser, and the endpoint by clients that are no better than they have to be.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use adapter_core::observe::{Counters, Observer as _, Route};
use adapter_core::{Body, DynApplication, Environ, Error, Request, Response, ServerConfig, ServerInfo};

use super::page::page;
use super::text::Format;
use super::{About, Endpoint, Readiness, Site};

#[path = "../../tests/support/exposition.rs"]
mod exposition;

const PATIENCE: Duration = Duration::from_secs(20);

fn about() -> About {
    About::new(&ServerInfo::new("odd\"name", "1\\2\n3"))
}

async fn application(request: Request, _: Environ) -> Result<Response, Error> {
    let status: u16 = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
    let mut response = Response::builder().status(status).body(Body::from("12345"))?;
    if request.uri().path().starts_with("/route") {
        response.extensions_mut().insert(Route::from("/route/\"{x}\"\\\n"));
    }
    if request.uri().path() == "/empty" {
        response.extensions_mut().insert(Route::from(""));
    }
    Ok(response)
}

/// What a server has counted, if this build has one.
fn driven() -> Option<Arc<Counters>> {
    let server = *crate::servers().first()?;
    let counters = Arc::new(Counters::new());
    let config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap()).observe(counters.clone());
    let handle = server.start(DynApplication::new(application), config).unwrap();
    let addr = handle.local_addrs()[0].tcp().unwrap();
    for path in ["/200", "/200", "/empty", "/404", "/500", "/route/1", "/route/2"] {
        get(addr, path);
    }
    exchange(addr, "POST /200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
    handle.stop().unwrap();
    Some(counters)
}

fn quiet_and_driven() -> impl Iterator<Item = Arc<Counters>> {
    [Arc::new(Counters::new())].into_iter().chain(driven())
}

#[test]
fn both_formats_are_what_they_say() {
    for counters in quiet_and_driven() {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let text = page(&about(), &counters.snapshot(), format);
            exposition::parse(&text, format == Format::OpenMetrics).unwrap_or_else(|why| panic!("{why} in\n{text}"));
        }
    }
}

#[test]
fn what_was_counted_is_on_the_page() {
    let Some(counters) = driven() else { return };
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = page(&about(), &counters.snapshot(), format);
        let page = exposition::parse(&text, format == Format::OpenMetrics).unwrap();
        let count = |labels: &[(&str, &str)]| {
            let fixed = [("network_protocol_version", "1.1"), ("url_scheme", "http")];
            let labels: Vec<_> = labels.iter().chain(&fixed).copied().collect();
            page.value("http_server_request_duration_seconds_count", &labels)
        };
        let (get, ok) = (("http_request_method", "GET"), ("http_response_status_code", "200"));
        // One of them with a route that is empty, which is none.
        assert_eq!(count(&[get, ok]), Some(3.0));
        assert_eq!(count(&[get, ok, ("http_route", "/route/\"{x}\"\\\n")]), Some(2.0));
        assert_eq!(count(&[get, ("http_response_status_code", "404")]), Some(1.0));
        assert_eq!(count(&[get, ("http_response_status_code", "500"), ("error_type", "500")]), Some(1.0));
        assert_eq!(count(&[("http_request_method", "POST"), ok]), Some(1.0));
        assert_eq!(page.value("http_server_active_requests", &[]), Some(0.0));
        assert_eq!(page.value("adapter_requests_total", &[]), Some(8.0));
        assert_eq!(page.value("adapter_request_body_bytes_total", &[]), Some(0.0), "the application reads none");
        assert_eq!(page.value("adapter_response_body_bytes_total", &[]), Some(40.0));
        assert_eq!(page.value("adapter_info", &[("server", "odd\"name"), ("version", "1\\2\n3")]), Some(1.0));
        assert_eq!(page.value("adapter_draining", &[]), Some(1.0), "it has ended");
        assert_eq!(page.value("adapter_timeouts_total", &[("limit", "handler")]), Some(0.0));
    }
}

/// The judge of the other side, where it is installed.
#[test]
fn promtool_accepts_the_page() {
    for counters in quiet_and_driven() {
        let text = page(&about(), &counters.snapshot(), Format::Prometheus);
        if let Err(why) = exposition::promtool(&text) {
            panic!("{why} in\n{text}");
        }
    }
}

/// An endpoint, and whether it is ready.
fn endpoint() -> (Endpoint, SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicBool::new(false));
    let asked = ready.clone();
    let readiness = move || if asked.load(Ordering::SeqCst) { Readiness::Serving } else { Readiness::Starting };
    let site = Site { counters: Arc::new(Counters::new()), about: about(), readiness: Box::new(readiness) };
    site.counters.drain_started();
    let mut endpoint = Endpoint::new(vec![listener], site).unwrap();
    endpoint.start().unwrap();
    (endpoint, addr, ready)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn exchange(addr: SocketAddr, octets: &str) -> String {
    let mut stream = connect(addr);
    stream.write_all(octets.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(addr: SocketAddr, path: &str) -> String {
    exchange(addr, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
}

#[test]
fn each_path_has_its_answer() {
    let (_endpoint, addr, ready) = endpoint();
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    let answer = get(addr, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nstarting\n"), "{answer}");
    ready.store(true, Ordering::SeqCst);
    let answer = get(addr, "/readyz?verbose");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nserving\n"), "{answer}");
    let answer = get(addr, "/metrics");
    assert!(answer.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\nadapter_draining 1\n"), "{answer}");
    let head = exchange(addr, "HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\nConnection: close\r\n\r\n"), "{head}");
    let asked = "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n";
    assert!(exchange(addr, asked).ends_with("\n# EOF\n"));
    assert!(get(addr, "/").starts_with("HTTP/1.1 404 "));
    let answer = exchange(addr, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
    assert!(exchange(addr, "GET /metrics HTTP/3\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(exchange(addr, &format!("GET /{} ", "x".repeat(8300))).starts_with("HTTP/1.1 431 "));
}

#[test]
fn clients_that_do_nothing_hold_up_nobody() {
    let (_endpoint, addr, _) = endpoint();
    let mut silent: Vec<_> = (0..100).map(|_| connect(addr)).collect();
    for stream in &mut silent {
        // It may be closed already.
        let _ = stream.write_all(b"GET /metrics HTT");
    }
    // Reads nothing, and closes nothing.
    let mut deaf = connect(addr);
    deaf.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    let mut half = connect(addr);
    half.write_all(b"GET /metrics").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half.read(&mut [0]).unwrap(), 0);
    // Whose place another one has, or whose time is up.
    for mut stream in silent {
        let ended = stream.read(&mut [0]);
        assert!(!matches!(ended, Ok(1..)) && !ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
}

#[test]
fn listeners_are_let_go_and_the_end_is_an_end() {
    let (endpoint, addr, _) = endpoint();
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    let mut open = connect(addr);
    open.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    // Behind this one, which is accepted later.
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    endpoint.release().release();
    let deadline = Instant::now() + PATIENCE;
    while TcpListener::bind(addr).is_err() {
        assert!(Instant::now() < deadline, "it listens on");
        std::thread::yield_now();
    }
    open.write_all(b"Host: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nalive\n"), "{answer}");
    let (ended, is_ended) = mpsc::channel();
    std::thread::spawn(move || {
        drop(endpoint);
        ended.send(())
    });
    is_ended.recv_timeout(PATIENCE).unwrap();
}
