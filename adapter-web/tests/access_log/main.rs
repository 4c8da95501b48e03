//! The access log around an application, in process.

#![allow(clippy::unwrap_used, reason = "tests")]

mod broken_off;
mod left;
mod left_behind;
mod overload;
mod own_answers;
#[path = "../wire/mod.rs"]
mod wire;

use std::io::{self, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::Poll;
use std::time::Duration;

use adapter_web::access_log::{AccessLog, Format, Writer};
use adapter_web::http::StatusCode;
use adapter_web::observe::Route;
use adapter_web::testing::Client;
use adapter_web::{Application, Body, Bytes, DynApplication, Environ, Error, Request, Response, ServerConfig};

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
        "/broken" => {
            Ok(Response::new(Body::from_stream(futures_lite::stream::iter([Ok("one"), Err(Error::new("no"))]))))
        }
        "/broken/blocking" => Ok(Response::new(Body::from_iterator([Ok("one"), Err(Error::new("no"))]))),
        "/short" => {
            let body = Body::from_stream(futures_lite::stream::iter(["one"]));
            Ok(Response::builder().header("content-length", "9").body(body)?)
        }
        "/short/full" => Ok(Response::builder().header("content-length", "9").body(Body::from("one"))?),
        "/error" => Err(Error::new("no").with_status(StatusCode::IM_A_TEAPOT)),
        "/panic" => panic!("no"),
        "/users/7" => {
            let mut response = Response::new(Body::from("somebody"));
            response.extensions_mut().insert(Route::from("/users/{id}"));
            Ok(response)
        }
        "/echo" => Ok(Response::new(Body::from(request.into_body().bytes(4096).await?))),
        "/own-id" => Ok(Response::builder().header("x-request-id", "own").body(Body::empty())?),
        "/asked-id" => Ok(Response::new(Body::from(request.headers()["x-request-id"].as_bytes().to_vec()))),
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
            headers.remove("x-request-id");
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

/// Also where the application has an answer to that, which nobody can read.
#[test]
fn an_upload_that_is_left_is_logged_as_499() {
    let reads = |request: Request, _: Environ| async {
        Ok::<_, Error>(Response::new(Body::from(request.into_body().bytes(4096).await?)))
    };
    for server in adapter_web::servers() {
        let lines = whole_lines(server, wire::config(), Format::Json, reads, |addr| {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").unwrap();
        });
        let said: Vec<_> = lines
            .iter()
            .map(|line| object(line))
            .map(|line| format!("{} {} {}", line["status"], line["request_octets"], line["ended"]))
            .collect();
        assert_eq!(said, [r#"499 3 "client_gone""#], "{}", server.info().name);
    }
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

/// However many packets it comes in, of which it may be none.
#[test]
fn a_request_line_that_never_ends_is_logged_as_far_as_it_came() {
    let mut config = wire::config();
    config.timeouts.header_read = Some(Duration::from_millis(300));
    let long = format!("GET /{} H", "x".repeat(300));
    for server in adapter_web::servers() {
        let name = server.info().name;
        let lines = whole_lines(server, config.clone(), Format::Json, application, |addr| {
            for line in [&long, "HEAD /nobody"] {
                let mut client = wire::Client::connect(addr);
                for octet in line.as_bytes() {
                    client.send(&[*octet]);
                    std::thread::yield_now();
                }
                let head = client.head();
                assert!(head.starts_with("HTTP/1.1 408 "), "{name}: {head}");
                // [NOB-01]
                let has_body = client.exact(1).is_some();
                assert_eq!(has_body, line.starts_with("GET"), "{name}");
            }
        });
        let said: Vec<_> = lines
            .iter()
            .map(|line| object(line))
            .map(|line| format!("{} {}", line["target"].as_str().unwrap(), line["response_octets"]))
            .collect();
        assert_eq!(said, [format!("/{} 39", "x".repeat(300)), "HEAD /nobody 0".to_owned()], "{name}");
    }
}

/// A server that logs, in `format`, what happens in `drive`; the lines, once it has ended.
fn whole_lines(
    server: &dyn adapter_web::Server,
    config: ServerConfig,
    format: Format,
    application: impl Application,
    drive: impl FnOnce(SocketAddr),
) -> Vec<String> {
    let sink = Shared::default();
    let writer = Writer::to(sink.clone()).unwrap();
    let config = config.observe(AccessLog::refusals(format, Some(&writer)));
    let application = AccessLog::new(DynApplication::new(application), format, Some(&writer));
    let running = wire::start(server, application, config);
    drive(running.addr);
    running.stop();
    writer.close();
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn exchange(addr: SocketAddr, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(wire::PATIENCE)).unwrap();
    stream.write_all(octets).unwrap();
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn object(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn json_says_all_there_is() {
    let mut config = wire::config();
    config.limits.body_bytes = Some(1024);
    for server in adapter_web::servers() {
        let name = server.info().name;
        let mut ids = Vec::new();
        let lines = whole_lines(server, config.clone(), Format::Json, application, |addr| {
            let own = "POST /echo?a=b HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-1\r\nUser-Agent: x \"y\"\r\nReferer: http://r/\r\n\
                       Content-Length: 3\r\nConnection: close\r\n\r\nabc";
            for asked in [own, "GET /text HTTP/1.1\r\nHost: a\r\nX-Request-Id: not sane\r\nConnection: close\r\n\r\n"] {
                let answer = exchange(addr, asked.as_bytes());
                let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).map(str::to_owned);
                ids.push(id.unwrap_or_else(|| panic!("{name}: {answer}")));
            }
            exchange(addr, b"GET /a HTTP/1.1\r\n\r\n");
            exchange(addr, b"GET / a b HTTP/1.1\r\nHost: a\r\n\r\n");
        });
        assert_eq!((lines.len(), &*ids[0]), (4, "mine-1"), "{name}: {lines:?}");
        let mut lines: Vec<_> = lines.iter().map(|line| object(line)).collect();
        // A line comes behind the answer, and another thread may be first.
        let order = ["/echo?a=b", "/text", "/a", "GET / a b HTTP/1.1"];
        lines.sort_by_key(|line| order.iter().position(|target| line["target"] == *target));
        for line in &lines {
            assert_eq!(line["client"], "127.0.0.1");
            let time = line["time"].as_str().unwrap();
            assert!(time.len() == 24 && time.ends_with('Z') && time.contains('T'), "{time}");
            let keys = ["time", "client", "method", "target", "version", "status", "request_octets", "response_octets"];
            let more = ["duration", "referer", "user_agent", "request_id", "ended", "reason"];
            assert_eq!(line.as_object().unwrap().len(), 14);
            assert!(keys.iter().chain(&more).all(|key| line.get(key).is_some()), "{line}");
        }
        let echo = &lines[0];
        for (key, value) in [
            ("method", "POST"),
            ("target", "/echo?a=b"),
            ("version", "HTTP/1.1"),
            ("referer", "http://r/"),
            ("user_agent", "x \"y\""),
            ("request_id", "mine-1"),
            ("ended", "complete"),
        ] {
            assert_eq!(echo[key], value, "{name}");
        }
        assert_eq!(
            (&echo["status"], &echo["request_octets"], &echo["response_octets"]),
            (&200.into(), &3.into(), &3.into())
        );
        assert!(echo["duration"].as_f64().is_some_and(|seconds| (0.0..60.0).contains(&seconds)), "{echo}");
        assert_eq!(lines[1]["request_id"].as_str(), Some(&*ids[1]), "{name}");
        assert_eq!(
            (&lines[2]["status"], &lines[2]["target"], &lines[2]["ended"]),
            (&400.into(), &"/a".into(), &"refused".into())
        );
        assert_eq!(
            (&lines[3]["method"], &lines[3]["target"]),
            (&serde_json::Value::Null, &"GET / a b HTTP/1.1".into())
        );
    }
}

/// Each of these is a line in each format, with the peer's address.
#[test]
fn all_that_is_refused_leaves_a_line() {
    let mut config = wire::config();
    config.limits.body_bytes = Some(1024);
    config.limits.head_bytes = 8192;
    config.timeouts.header_read = Some(Duration::from_millis(100));
    let large = format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n{}\r\n0\r\n\r\n",
        "x".repeat(2048)
    );
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9000));
    for server in adapter_web::servers() {
        for format in [Format::Common, Format::Combined, Format::Json] {
            let lines = whole_lines(server, config.clone(), format, application, |addr| {
                for octets in ["GET /a HTTP/1.1\r\n\r\n", "GET /late HTTP/1.1\r\nHost: a\r\n", &large, &long] {
                    exchange(addr, octets.as_bytes());
                }
            });
            let status = |line: &String| match format {
                Format::Json => object(line)["status"].to_string(),
                _ => line.split("\" ").nth(1).unwrap().split(' ').next().unwrap().to_owned(),
            };
            let mut statuses: Vec<_> = lines.iter().map(status).collect();
            // A line comes behind the answer, and another thread may be first.
            statuses.sort_unstable();
            let name = server.info().name;
            assert_eq!(statuses, ["400", "408", "413", "431"], "{name} {format:?}: {lines:?}");
            assert!(lines.iter().all(|line| line.contains("127.0.0.1")), "{lines:?}");
        }
    }
}

#[test]
fn a_503_of_a_full_queue_leaves_a_line() {
    const CLIENTS: usize = 8;
    for server in adapter_web::servers() {
        let name = server.info().name;
        let mut config = wire::config().threads(1);
        (config.blocking_threads, config.blocking_queue) = (1, 1);
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let at = gate.clone();
        let (begun, begins) = mpsc::sync_channel(CLIENTS);
        let application = adapter_web::blocking(move |_request, _environ| {
            begun.send(()).unwrap();
            let mut is_open = at.0.lock().unwrap();
            while !*is_open {
                is_open = at.1.wait(is_open).unwrap();
            }
            Ok::<_, Error>(Response::new(Body::from("done")))
        });
        let mut busy = 0;
        let lines = whole_lines(server, config, Format::Common, application, |addr| {
            let (answered, answers) = mpsc::channel();
            std::thread::scope(|scope| {
                for client in 0..CLIENTS {
                    let answered = answered.clone();
                    scope.spawn(move || {
                        answered.send(exchange(addr, b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
                    });
                    if client == 0 {
                        // Until it runs, it is the one that waits.
                        begins.recv_timeout(wire::PATIENCE).unwrap();
                    }
                }
                // One runs, one waits; nobody else is let in.
                let mut all: Vec<String> =
                    (0..CLIENTS - 2).map(|_| answers.recv_timeout(wire::PATIENCE).unwrap()).collect();
                *gate.0.lock().unwrap() = true;
                gate.1.notify_all();
                all.extend((0..2).map(|_| answers.recv_timeout(wire::PATIENCE).unwrap()));
                busy = all.iter().filter(|answer| answer.starts_with("HTTP/1.1 503 ")).count();
            });
        });
        assert_eq!(busy, CLIENTS - 2, "{name}");
        let of =
            |status: &str| lines.iter().filter(|line| line.contains(&format!("\"GET /x HTTP/1.1\" {status} "))).count();
        assert_eq!((of("503"), of("200"), lines.len()), (busy, 2, CLIENTS), "{name}: {lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("127.0.0.1 - - [")), "{lines:?}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_tls_handshake_that_fails_leaves_a_line() {
    use adapter_web::tls::TlsConfig;

    let tls = TlsConfig::self_signed(["localhost"]).unwrap().load().unwrap();
    for server in adapter_web::servers() {
        for format in [Format::Common, Format::Combined, Format::Json] {
            let mut config = wire::config();
            config.tls = Some(tls.clone());
            let lines = whole_lines(server, config, format, application, |addr| {
                exchange(addr, &[0x16, 3, 1, 0, 4, 0xff, 0, 0, 0]);
            });
            let name = server.info().name;
            assert_eq!(lines.len(), 1, "{name}: {lines:?}");
            if format == Format::Json {
                let line = object(&lines[0]);
                assert_eq!((&line["client"], &line["ended"]), (&"127.0.0.1".into(), &"handshake_failed".into()));
                assert!(line["reason"].as_str().is_some_and(|why| !why.is_empty()), "{line}");
            } else {
                assert!(lines[0].starts_with("127.0.0.1 - - [") && lines[0].contains("] \"-\" - -"), "{lines:?}");
            }
        }
    }
}

/// What a subscriber is told of a request at its end.
fn told(drive: impl FnOnce(&Client)) -> String {
    let sink = Shared::default();
    let to = sink.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || to.clone()).finish();
    let client = Client::new(AccessLog::new(DynApplication::new(application), Format::Events, None));
    tracing::subscriber::with_default(subscriber, || drive(&client));
    drop(client);
    String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn spans_have_the_fields_of_the_conventions() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let said = told(|client| {
        let request = client.get("/users/7?secret=1").header("user-agent", "curl/8").header("x-request-id", "an-id");
        let answer = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).send();
        assert_eq!(answer.headers()["x-request-id"], "an-id");
    });
    for field in [
        "http.request.method=\"GET\"",
        "url.path=\"/users/7\"",
        "url.scheme=\"http\"",
        "client.address=127.0.0.1",
        "network.peer.address=127.0.0.1",
        "user_agent.original=\"curl/8\"",
        "request_id=\"an-id\"",
        &format!("trace_id=\"{trace}\""),
        "otel.kind=\"server\"",
        "otel.name=GET /users/{id}",
        "http.route=\"/users/{id}\"",
        "http.response.status_code=200",
    ] {
        assert!(said.contains(field), "{field} in {said}");
    }
    assert!(!said.contains("secret") && !said.contains("otel.status_code"), "{said}");
    assert_eq!(said.matches("otel.name").count(), 1, "{said}");
    let said = told(|client| {
        client.method("BREW", "/panic").send();
    });
    for field in [
        "http.request.method=\"_OTHER\"",
        "http.request.method_original=\"BREW\"",
        "otel.name=\"HTTP\"",
        "otel.status_code=\"ERROR\"",
        "http.response.status_code=500",
    ] {
        assert!(said.contains(field), "{field} in {said}");
    }
    assert!(!said.contains("trace_id") && !said.contains("http.route"), "{said}");
    let said = told(|client| {
        client.get("/error").send();
    });
    assert!(said.contains("http.response.status_code=418") && !said.contains("otel.status_code"), "{said}");
}

/// \[ERR-04c\] Whose response it was, whoever is called at night can tell.
#[test]
fn a_response_that_broke_off_is_told_of_in_its_span() {
    for path in ["/broken", "/broken/blocking", "/short", "/short/full"] {
        let said = told(|client| {
            assert!(!client.get(path).header("x-request-id", "an-id").send().is_complete());
        });
        let line = said.lines().find(|line| line.contains("a response broke off")).expect(path);
        assert!(line.contains("ERROR") && line.contains("request_id=\"an-id\"") && line.contains(path), "{line}");
    }
}

#[test]
fn an_id_of_the_applications_own_is_left_alone() {
    let client = Client::new(AccessLog::new(DynApplication::new(application), Format::Events, None));
    let answer = client.get("/own-id").header("x-request-id", "theirs").send();
    let ids: Vec<_> = answer.headers().get_all("x-request-id").iter().collect();
    assert_eq!(ids, ["own"]);
    // What is made here the application finds in the request.
    let answer = client.get("/asked-id").send();
    assert_eq!(answer.text().as_bytes(), answer.headers()["x-request-id"].as_bytes());
}
