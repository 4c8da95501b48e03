//! The access log around an application, in process.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "wire/mod.rs"]
mod wire;

use std::io::{self, Read as _, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_web::access_log::{AccessLog, Format, Writer};
use adapter_web::http::StatusCode;
use adapter_web::testing::Client;
use adapter_web::{Body, DynApplication, Environ, Error, Request, Response, ServerConfig};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn application(request: Request, _environ: Environ) -> Result<Response, Error> {
    match request.uri().path() {
        "/text" => Ok(Response::new(Body::from("12345"))),
        "/stream" => Ok(Response::new(Body::from_stream(futures_lite::stream::iter(["one", "two", "three"])))),
        "/iterator" => Ok(Response::new(Body::from_iterator(["one", "two"]))),
        "/error" => Err(Error::new("no").with_status(StatusCode::IM_A_TEAPOT)),
        "/panic" => panic!("no"),
        "/never" => std::future::pending().await,
        "/impossible" => Ok(Response::builder().status(103).body(Body::from("12345"))?),
        _ => Ok(Response::builder().status(404).body(Body::empty())?),
    }
}

/// The lines of what `drive` does, without host and date.
fn lines(format: Format, drive: impl FnOnce(&Client)) -> Vec<String> {
    lines_with(ServerConfig::default(), format, drive)
}

fn lines_with(mut config: ServerConfig, format: Format, drive: impl FnOnce(&Client)) -> Vec<String> {
    let sink = Shared::default();
    let writer = Writer::to(sink.clone()).unwrap();
    config = config.observe(AccessLog::refusals(format, Some(&writer)));
    let client = Client::new(AccessLog::new(DynApplication::new(application), format, Some(&writer)));
    let client = client.configured(config);
    drive(&client);
    drop(client);
    writer.close();
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.split_once("] ").unwrap().1.to_owned()).collect()
}

#[test]
fn status_and_bytes_are_what_the_client_got() {
    let found = lines(Format::Common, |client| {
        for target in ["/text?a=b", "/stream", "/iterator", "/error", "/panic", "/else"] {
            client.get(target).send();
        }
        client.head("/text").send();
    });
    assert_eq!(
        found,
        [
            "\"GET /text?a=b HTTP/1.1\" 200 5",
            "\"GET /stream HTTP/1.1\" 200 11",
            "\"GET /iterator HTTP/1.1\" 200 6",
            "\"GET /error HTTP/1.1\" 418 12",
            "\"GET /panic HTTP/1.1\" 500 21",
            "\"GET /else HTTP/1.1\" 404 -",
            "\"HEAD /text HTTP/1.1\" 200 -",
        ]
    );
}

#[test]
fn the_answer_is_the_same_with_and_without_the_log() {
    let plain = Client::new(application);
    let logged = Client::new(AccessLog::new(DynApplication::new(application), Format::Events, None));
    for target in ["/text", "/stream", "/iterator", "/error", "/panic", "/else"] {
        let (plain, logged) = (plain.get(target).send(), logged.get(target).send());
        let told = |answer: &adapter_web::testing::Answer| {
            let mut headers = answer.headers().clone();
            headers.remove("date");
            (answer.status(), headers, answer.body().clone(), answer.is_complete())
        };
        assert_eq!(told(&plain), told(&logged), "{target}");
    }
}

#[test]
fn combined_adds_referer_and_user_agent() {
    let found = lines(Format::Combined, |client| {
        client.get("/text").header("referer", "http://a/").header("user-agent", "x \"y\"").send();
        client.get("/text").send();
    });
    assert_eq!(
        found,
        ["\"GET /text HTTP/1.1\" 200 5 \"http://a/\" \"x \\\"y\\\"\"", "\"GET /text HTTP/1.1\" 200 5 \"-\" \"-\""]
    );
}

#[test]
fn a_client_that_goes_away_is_logged_as_499() {
    let found = lines(Format::Common, |client| client.get("/never").open().disconnect());
    assert_eq!(found, ["\"GET /never HTTP/1.1\" 499 -"]);
}

#[test]
fn what_the_server_answers_is_logged_as_that() {
    let mut config = ServerConfig::default();
    config.timeouts.handler = Some(Duration::from_millis(10));
    config.limits.body_bytes = Some(10);
    let found = lines_with(config, Format::Common, |client| {
        assert_eq!(client.get("/never").send().status(), 503);
        assert_eq!(client.get("http://a:x/").send().status(), 400);
        assert_eq!(client.post("/text", "12345678901").send().status(), 413);
        // It can't be sent: a 500 instead.
        assert_eq!(client.get("/impossible").send().status(), 500);
    });
    let statuses: Vec<_> =
        found.iter().map(|line| line.split_once("\" ").unwrap().1.split(' ').next().unwrap()).collect();
    assert_eq!(statuses, ["503", "400", "413", "500"], "{found:?}");
    assert_eq!(found[0], "\"GET /never HTTP/1.1\" 503 19");
}

/// Sends `octets` to each server that is told to log; what it logs, without host and date.
fn logged(config: &ServerConfig, octets: &[u8], mut test: impl FnMut(&str, &[String])) {
    for server in adapter_web::servers() {
        let sink = Shared::default();
        let writer = Writer::to(sink.clone()).unwrap();
        let mut config = config.clone();
        config = config.observe(AccessLog::refusals(Format::Common, Some(&writer)));
        let application = AccessLog::new(DynApplication::new(application), Format::Common, Some(&writer));
        let running = wire::start(server, application, config);
        let mut stream = TcpStream::connect(running.addr).unwrap();
        stream.set_read_timeout(Some(wire::PATIENCE)).unwrap();
        stream.write_all(octets).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        running.stop();
        writer.close();
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once("] ").unwrap().1.to_owned()).collect();
        assert!(text.lines().all(|line| line.starts_with("127.0.0.1 - - [")), "{text}");
        test(&server.info().name, &lines);
    }
}

#[test]
fn a_late_handler_is_logged_with_the_servers_status() {
    let mut config = wire::config();
    config.timeouts.handler = Some(Duration::from_millis(50));
    logged(&config, b"GET /never HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", |server, lines| {
        assert_eq!(lines, ["\"GET /never HTTP/1.1\" 503 19"], "{server}");
    });
}

#[test]
fn refused_requests_are_logged() {
    let mut config = wire::config();
    config.limits.target_bytes = 1024;
    config.limits.body_bytes = Some(1024);
    for (octets, line) in [
        ("GET /a HTTP/1.1\r\n\r\n".to_owned(), "\"GET /a HTTP/1.1\" 400 ".to_owned()),
        ("HEAD /a HTTP/1.1\r\n\r\n".to_owned(), "\"HEAD /a HTTP/1.1\" 400 -".to_owned()),
        (
            "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n".to_owned(),
            "\"POST /b HTTP/1.1\" 413 ".to_owned(),
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(2000)),
            format!("\"GET /{} HTTP/1.1\" 414 ", "x".repeat(2000)),
        ),
    ] {
        logged(&config, octets.as_bytes(), |server, lines| {
            assert!(lines.len() == 1 && lines[0].starts_with(&line), "{server}: {lines:?}, expected {line}");
        });
    }
}

/// What a server's own parser refuses, which is not the same code on each.
#[test]
fn heads_that_cannot_be_parsed_are_logged() {
    let mut config = wire::config();
    config.limits.head_bytes = 8192;
    config.timeouts.header_read = Some(Duration::from_millis(100));
    for (octets, line) in [
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "\"GET /a b HTTP/1.1\" 400 "),
        ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), "\"\\x16\\x03\\x01\" 400 "),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9000)), "\"GET / HTTP/1.1\" 431 "),
        ("GET /late HTTP/1.1\r\nHost: a\r\n".to_owned(), "\"GET /late HTTP/1.1\" 408 "),
    ] {
        logged(&config, octets.as_bytes(), |server, lines| {
            assert!(lines.len() == 1 && lines[0].contains(line), "{server}: {lines:?}, expected {line}");
        });
    }
}
