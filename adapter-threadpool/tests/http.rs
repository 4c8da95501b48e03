//! HTTP/1.1 over loopback: framing, persistence, bodies, trailers, Expect, limits.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::Write;
use std::time::Duration;

use adapter_core::http::{HeaderMap, StatusCode};
use adapter_core::{BlockingBody, Body, Environ, Error, Request, Response, ServerConfig, blocking};
use support::{serve, serve_with};

async fn app(request: Request, environ: Environ) -> Result<Response, Error> {
    let path = request.uri().path().to_owned();
    let mut response = Response::new(Body::empty());
    match path.as_str() {
        "/echo" => return Ok(Response::new(Body::from(request.into_body()))),
        "/collect" => {
            let mut body = request.into_body();
            let data = body.bytes(1 << 30).await?;
            let sum = body.trailers().and_then(|trailers| trailers.get("x-sum")).cloned();
            if let Some(sum) = sum {
                response.headers_mut().insert("x-sum", sum);
            }
            *response.body_mut() = Body::from(data);
        }
        "/length" => {
            let mut total = 0;
            let mut body = request.into_body();
            while let Some(chunk) = body.chunk().await {
                total += chunk?.len();
            }
            *response.body_mut() = Body::from(total.to_string());
        }
        "/empty" => *response.status_mut() = StatusCode::NO_CONTENT,
        "/304" => *response.status_mut() = StatusCode::NOT_MODIFIED,
        "/iter" => *response.body_mut() = Body::from_iterator(["one", "", "two", "three"]),
        "/broken" => *response.body_mut() = Body::from_iterator([Ok("half"), Err("no more")]),
        "/short" => {
            response.headers_mut().insert("content-length", "100".parse()?);
            *response.body_mut() = Body::from_iterator(["short"]);
        }
        "/long" => {
            response.headers_mut().insert("content-length", "4".parse()?);
            *response.body_mut() = Body::from("longer");
        }
        "/large" => *response.body_mut() = Body::from(vec![b'x'; 20_000_000]),
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-after", "yes".parse()?);
            *response.body_mut() = Body::from_iterator(["data"]).with_trailers(trailers);
        }
        "/hints" => {
            let hints = environ.early_hints().cloned();
            if let Some(hints) = &hints {
                let mut headers = HeaderMap::new();
                headers.insert("link", "</a.css>; rel=preload".parse()?);
                hints.send(&headers)?;
                hints.send(&headers)?;
            }
            *response.body_mut() = Body::from(if hints.is_some() { "hinted" } else { "silent" });
        }
        "/panic" => panic!("on purpose"),
        "/error" => Err("on purpose")?,
        _ => *response.body_mut() = Body::from(format!("{} {path}", request.method())),
    }
    Ok(response)
}

#[test]
fn a_refused_head_gets_no_body() {
    let server = serve(app);
    let mut client = server.connect();
    client.send("HEAD / HTTP/1.1\r\n\r\n");
    let text = String::from_utf8(client.rest()).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with("\r\n\r\n"), "[NOB-01] {text}");
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let server = serve(app);
    let mut client = server.connect();
    for n in 0..100 {
        client.get(&format!("/{n}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, format!("GET /{n}").as_str()));
        assert!(answer.header("date").is_some());
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = serve(app);
    let mut client = server.connect();
    let mut wire = String::new();
    for n in 0..500 {
        if n % 3 == 0 {
            wire += &format!("POST /collect HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n{n:03}");
        } else {
            wire += &format!("GET /p{n} HTTP/1.1\r\nHost: t\r\n\r\n");
        }
    }
    client.send(&wire);
    for n in 0..500 {
        let expected = if n % 3 == 0 { format!("{n:03}") } else { format!("GET /p{n}") };
        assert_eq!(client.answer().text(), expected);
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = serve(app);
    let mut client = server.connect();
    for byte in
        b"POST /collect HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n"
    {
        client.send([*byte]);
    }
    let answer = client.answer();
    assert_eq!((answer.text(), answer.header("x-sum")), ("abc", Some("7")));
}

#[test]
fn bodies_go_through_in_both_framings() {
    let server = serve(app);
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    for path in ["/echo", "/collect"] {
        let mut client = server.connect();
        let mut writer = client.stream.try_clone().unwrap();
        let sent = data.clone();
        let thread = std::thread::spawn(move || {
            write!(writer, "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", sent.len()).unwrap();
            writer.write_all(&sent).unwrap();
            write!(writer, "POST {path} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            for piece in sent.chunks(70_001) {
                write!(writer, "{:X}\r\n", piece.len()).unwrap();
                writer.write_all(piece).unwrap();
                writer.write_all(b"\r\n").unwrap();
            }
            writer.write_all(b"0\r\n\r\nGET /after HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        });
        assert!(client.answer().body == data);
        assert!(client.answer().body == data);
        assert_eq!(client.answer().text(), "GET /after");
        thread.join().unwrap();
    }
}

/// A report of input that came while the worker was looking at its connection was lost, and the body stalled.
#[test]
fn input_that_comes_while_its_connection_is_run_is_not_overlooked() {
    /// Bytes each client sends, in bursts of [`BURST`]; the last one of a burst has no successor to be seen with.
    const BYTES: u32 = 30_000;
    const BURST: u32 = 3;
    let server = serve(|request: Request, _environ: Environ| async move {
        if request.uri().path() == "/slow" {
            // Keeps a second thread at the poller, so that reports come at any time.
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok::<_, Error>(Response::new(Body::from(request.into_body())))
    });
    std::thread::scope(|scope| {
        let echoes: Vec<_> = (0..2)
            .map(|seed| {
                let mut client = server.connect();
                scope.spawn(move || {
                    client.send(format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {BYTES}\r\n\r\n"));
                    client.head();
                    let mut random: u32 = seed;
                    for n in 1..=BYTES {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (0..random >> 23).for_each(|_| std::hint::spin_loop());
                        client.send(b"x");
                        if n % BURST == 0 {
                            client.exactly(BURST as usize);
                        }
                    }
                })
            })
            .collect();
        let mut slow = server.connect();
        while !echoes.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            slow.get("/slow");
            slow.answer();
        }
    });
}

#[test]
fn a_blocking_application_reads_and_answers() {
    fn upper(request: Request<BlockingBody>, _environ: Environ) -> Result<Response, Error> {
        let chunks = request.into_body().chunks();
        Ok(Response::new(Body::from_iterator(chunks.map(|chunk| chunk.map(|chunk| chunk.to_ascii_uppercase())))))
    }
    let server = serve(blocking(upper));
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().0, 200);
    for word in ["hello", "world"] {
        client.send(format!("5\r\n{word}\r\n"));
        assert_eq!(client.chunk().unwrap(), word.to_uppercase().as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk(), None);
}

#[test]
fn responses_without_a_body_leave_the_connection_usable() {
    let server = serve(app);
    let mut client = server.connect();
    for (method, path, status) in [
        ("HEAD", "/x", 200),
        ("HEAD", "/iter", 200),
        ("GET", "/empty", 204),
        ("GET", "/304", 304),
        ("HEAD", "/large", 200),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: t\r\n\r\n"));
        let answer = client.answer_to(method);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-length").is_some(), path == "/x" || path == "/large", "{}", answer.head);
    }
    client.get("/iter");
    assert_eq!(client.answer().text(), "onetwothree");
    client.get("/large");
    assert_eq!(client.answer().body.len(), 20_000_000);
    client.get("/long");
    assert_eq!(client.answer().text(), "long");
    client.get("/last");
    assert_eq!(client.answer().text(), "GET /last");
}

#[test]
fn broken_responses_are_seen_to_be_broken() {
    let server = serve(app);
    let mut client = server.connect();
    client.get("/broken");
    assert_eq!(client.head().0, 200);
    assert_eq!(client.rest(), b"4\r\nhalf\r\n");
    let mut client = server.connect();
    client.get("/short");
    assert_eq!(client.head().0, 200);
    assert_eq!(client.rest(), b"short");
    for path in ["/panic", "/error"] {
        let mut client = server.connect();
        client.get(path);
        let answer = client.answer();
        assert_eq!(answer.status, 500);
        assert!(!answer.text().contains("purpose"));
        client.get("/next");
        assert_eq!(client.answer().text(), "GET /next");
    }
}

#[test]
fn trailers_go_to_those_who_take_them() {
    let server = serve(app);
    let mut client = server.connect();
    client.send("GET /trailers HTTP/1.1\r\nHost: t\r\nTE: trailers\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.text(), answer.trailers.as_str()), ("data", "x-after: yes\n"));
    assert_eq!(answer.header("trailer"), Some("x-after"));
    client.get("/trailers");
    let answer = client.answer();
    assert_eq!((answer.text(), answer.trailers.as_str()), ("data", ""));
}

#[test]
fn continue_is_sent_when_the_body_is_read_and_not_else() {
    let server = serve(app);
    let mut client = server.connect();
    client.send("POST /collect HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n");
    assert_eq!(client.head().0, 100);
    client.send("abc");
    assert_eq!(client.answer().text(), "abc");
    client.send("POST /ignore HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    client.closed();
    let mut client = server.connect();
    client.send("POST /collect HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: tea\r\n\r\n");
    assert_eq!(client.answer().status, 417);
}

#[test]
fn an_unread_body_is_drained_or_the_connection_closed() {
    let server = serve(app);
    let mut client = server.connect();
    client.send("POST /ignore HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.send(vec![b'x'; 100_000]);
    client.get("/next");
    assert_eq!(client.answer().text(), "GET /next");
    client.send("POST /ignore HTTP/1.1\r\nHost: t\r\nContent-Length: 10000000\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    // [REQ-14] the client goes on sending and is not cut off by a reset before it has read.
    client.send(vec![b'x'; 5_000_000]);
    client.half_close();
    client.closed();
}

#[test]
fn early_hints_precede_the_response() {
    let server = serve(app);
    let mut client = server.connect();
    client.get("/hints");
    for _ in 0..2 {
        let (status, head) = client.head();
        assert_eq!(status, 103);
        assert!(head.contains("link: </a.css>; rel=preload"), "{head}");
    }
    assert_eq!(client.answer().text(), "hinted");
    client.send("GET /hints HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().text(), "silent");
}

#[test]
fn old_clients_get_what_they_understand() {
    let server = serve(app);
    let mut client = server.connect();
    client.send("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.answer().header("connection"), Some("keep-alive"));
    client.send("GET /iter HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.text(), answer.header("connection")), ("onetwothree", Some("close")));
    let mut client = server.connect();
    client.send("GET /broken HTTP/1.0\r\n\r\n");
    assert_eq!(client.head().0, 200);
}

#[test]
fn limits_are_kept() {
    let mut config = ServerConfig::default();
    config.limits.body_bytes = Some(10);
    config.limits.requests_per_connection = Some(2);
    let server = serve_with(app, config);
    let mut client = server.connect();
    client.send("POST /length HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(client.answer().status, 413);
    let mut client = server.connect();
    client.send("POST /length HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n123456\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    client.closed();
    let mut client = server.connect();
    client.get("/1");
    assert_eq!(client.answer().header("connection"), None);
    client.get("/2");
    assert_eq!(client.answer().header("connection"), Some("close"));
    client.closed();
    let mut client = server.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: t\r\nA: {}\r\n", "x".repeat(70_000)));
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (431, Some("close")));
    client.closed();
}

#[test]
fn long_heads_in_small_pieces_are_parsed_and_limited() {
    let server = serve(app);
    let mut client = server.connect();
    let value = "x".repeat(9_000);
    let head = format!("GET /long-head HTTP/1.1\r\nHost: t\r\nA: {value}\r\nB: {value}\r\n\r\n");
    for piece in head.as_bytes().chunks(100) {
        client.send(piece);
    }
    assert_eq!(client.answer().text(), "GET /long-head");
    for (start, status) in [("GET /", 414), ("GET / HTTP/1.1\r\nHost: t\r\nA: ", 431)] {
        let mut client = server.connect();
        client.send(start);
        let mut sent = 0;
        while sent < 66_000 && client.stream.write_all(&[b'x'; 500]).is_ok() {
            sent += 500;
        }
        assert_eq!(client.answer().status, status);
    }
}

#[test]
fn errors_of_the_client_are_told_apart() {
    let server = serve(app);
    let mut client = server.connect();
    client.send("POST /length HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
    assert_eq!(client.answer().status, 400);
    client.closed();
    let mut client = server.connect();
    client.send("POST /length HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nabc");
    client.half_close();
    // [ERR-12] there is nobody to answer
    client.closed();
    let mut config = ServerConfig::default();
    config.timeouts.body_read = Some(Duration::from_millis(50));
    let server = serve_with(app, config);
    let mut client = server.connect();
    client.send("POST /length HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
}
