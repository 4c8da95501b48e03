//! How JSON says that a response was broken off, and why, on every server.

use super::*;

/// Says so when it is dropped.
struct Told(mpsc::SyncSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Octets of a body, while somebody has them.
struct Whole(Vec<u8>, #[allow(dead_code, reason = "for its drop")] Told);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The log and the metrics have one word for it.
#[test]
fn json_says_how_a_response_was_broken_off() {
    let mut config = wire::config();
    config.timeouts.write = Some(Duration::from_millis(300));
    config.timeouts.graceful_shutdown = Duration::from_millis(300);
    for server in adapter_web::servers() {
        let (dropped, drops) = mpsc::sync_channel(9);
        let application = move |request: Request, _: Environ| {
            let told = Told(dropped.clone());
            async move {
                let path = request.uri().path().to_owned();
                if path.starts_with("/whole") {
                    // More than the operating system takes, and handed over at once.
                    return Ok(Response::new(Body::from(Bytes::from_owner(Whole(vec![b'w'; 32 << 20], told)))));
                }
                if path == "/fails/blocking" {
                    let items = [Ok(b"one".to_vec()), Err(Error::new("no \"luck\""))];
                    return Ok(Response::new(Body::from_iterator(items.into_iter().inspect(move |_| {
                        let _ = &told;
                    }))));
                }
                let mut begun = false;
                Ok::<_, Error>(Response::new(Body::from_stream(futures_lite::stream::poll_fn(move |_| {
                    let _ = &told;
                    match (std::mem::replace(&mut begun, true), &*path) {
                        (_, "/endless") => Poll::Ready(Some(Ok(vec![b'e'; 65_536]))),
                        (false, _) => Poll::Ready(Some(Ok(b"one".to_vec()))),
                        (true, "/fails") => Poll::Ready(Some(Err(Error::new("no")))),
                        (true, _) => Poll::Pending,
                    }
                }))))
            }
        };
        let mut kept = Vec::new();
        let lines = whole_lines(server, config.clone(), Format::Json, application, |addr| {
            let ask = |path: &str| {
                let mut stream = TcpStream::connect(addr).unwrap();
                write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                stream.set_read_timeout(Some(wire::PATIENCE)).unwrap();
                let mut first = [0; 1];
                stream.read_exact(&mut first).unwrap();
                stream
            };
            for path in ["/fails", "/fails/blocking", "/left", "/endless", "/whole", "/whole/left"] {
                let stream = ask(path);
                if path.ends_with("/left") {
                    drop(stream);
                } else {
                    // It takes nothing more.
                    kept.push(stream);
                }
                drops.recv_timeout(wire::PATIENCE).unwrap_or_else(|_| panic!("{path} on {}", server.info().name));
            }
            kept.push(ask("/kept"));
        });
        let mut said: Vec<_> = lines
            .iter()
            .map(|line| object(line))
            .map(|line| format!("{} {} {}", line["target"], line["ended"], line["reason"]))
            .collect();
        said.sort_unstable();
        let expected = [
            r#""/endless" "timed_out" "the client took nothing in time (--timeout-write)""#,
            r#""/fails" "failed" "no""#,
            r#""/fails/blocking" "failed" "no \"luck\"""#,
            r#""/kept" "forced" null"#,
            r#""/left" "client_gone" null"#,
            r#""/whole" "timed_out" "the client took nothing in time (--timeout-write)""#,
            r#""/whole/left" "client_gone" null"#,
        ];
        assert_eq!(said, expected, "{}", server.info().name);
        drop(kept);
    }
}

/// \[FRM-03a\] The octets that were sent, and not those that the application had.
#[test]
fn a_body_that_is_longer_than_it_says_has_the_octets_that_were_sent() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        let application = |request: Request, _: Environ| async move {
            let body = match request.uri().path() {
                "/full" => Body::from("0123456789"),
                "/stream" => Body::from_stream(futures_lite::stream::iter(["012345", "6789"])),
                "/iterator" => Body::from_iterator(["012", "3456789"]),
                _ => Body::from_iterator(["0123456789"]),
            };
            Ok::<_, Error>(Response::builder().header("content-length", "5").body(body)?)
        };
        let lines = whole_lines(server, wire::config(), Format::Json, application, |addr| {
            for path in ["/full", "/stream", "/iterator", "/one"] {
                exchange(addr, format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
            }
        });
        let mut said: Vec<_> = lines
            .iter()
            .map(|line| object(line))
            .map(|line| format!("{} {} {}", line["target"], line["response_octets"], line["ended"]))
            .collect();
        said.sort_unstable();
        let expected = ["/full", "/iterator", "/one", "/stream"].map(|path| format!("{path:?} 5 \"complete\""));
        assert_eq!(said, expected, "{name}");
    }
}
