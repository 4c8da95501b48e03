//! What is told of a request whose client leaves while code that blocks has it: the same on every server.

use std::net::Shutdown;
use std::thread;

use adapter_web::dispatch::GRACE;
use adapter_web::observe::Counters;

use super::*;

/// Until the server has told that the client is gone.
fn until_told(environ: &Environ) {
    let deadline = std::time::Instant::now() + wire::PATIENCE;
    while !environ.is_disconnected() {
        assert!(std::time::Instant::now() < deadline, "nobody tells");
        thread::sleep(Duration::from_millis(1));
    }
}

/// How a request ends in the log and in the counts, of an application that is told by `begun` when it has begun.
fn ended(
    server: &dyn adapter_web::Server,
    application: impl Application,
    begins: &mpsc::Receiver<()>,
    leave: fn(TcpStream),
) -> [String; 2] {
    let counters = Arc::new(Counters::new());
    let seen = counters.clone();
    let lines = whole_lines(server, wire::config().observe(counters), Format::Json, application, |addr| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        begins.recv_timeout(wire::PATIENCE).unwrap();
        leave(stream);
        let deadline = std::time::Instant::now() + wire::PATIENCE;
        while seen.snapshot().requests_ended == 0 {
            assert!(std::time::Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = object(&lines[0]);
    let request = &seen.snapshot().requests[0];
    let status = request.status.map_or(0, |status| status.as_u16());
    [
        format!("{} {} {}", line["status"], line["response_octets"], line["ended"].as_str().unwrap()),
        format!("{status} {}", request.how.name()),
    ]
}

fn resets(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn closes(stream: TcpStream) {
    drop(stream);
}

/// Once it has the first piece, which may be on its way while the second one is asked for.
fn closes_behind_one(mut stream: TcpStream) {
    stream.set_read_timeout(Some(wire::PATIENCE)).unwrap();
    let (mut seen, mut octet) = (Vec::new(), [0]);
    while !seen.ends_with(b"one") {
        stream.read_exact(&mut octet).unwrap();
        seen.extend(octet);
    }
}

/// \[DIS-04a\] It may be gone, or wait for its answer.
fn reads_on(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    stream.set_read_timeout(Some(wire::PATIENCE)).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn who_leaves_while_a_handler_blocks_has_no_answer() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        for (leave, takes, expected) in [
            (resets as fn(TcpStream), Duration::ZERO, ["499 0 client_gone", "0 client_gone"]),
            (closes, 2 * GRACE, ["499 0 client_gone", "0 client_gone"]),
            (reads_on, 2 * GRACE, ["499 0 client_gone", "0 client_gone"]),
            (reads_on, Duration::ZERO, ["200 4 complete", "200 complete"]),
        ] {
            let (begun, begins) = mpsc::channel();
            let application = adapter_web::blocking(move |_, environ: Environ| {
                let _ = begun.send(());
                until_told(&environ);
                thread::sleep(takes);
                Ok::<_, Error>(Response::new(Body::from("done")))
            });
            assert_eq!(ended(server, application, &begins, leave), expected, "{name}, {takes:?}");
        }
    }
}

#[test]
fn who_leaves_while_a_body_blocks_has_no_end_of_it() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        let (begun, begins) = mpsc::channel();
        let application = adapter_web::blocking(move |_, environ: Environ| {
            let begun = begun.clone();
            let mut pieces = ["one", "two"].into_iter();
            Ok::<_, Error>(Response::new(Body::from_iterator(std::iter::from_fn(move || {
                if pieces.len() == 1 {
                    let _ = begun.send(());
                    until_told(&environ);
                    thread::sleep(3 * GRACE);
                }
                pieces.next()
            }))))
        });
        assert_eq!(
            ended(server, application, &begins, closes_behind_one),
            ["200 3 client_gone", "200 client_gone"],
            "{name}"
        );
    }
}
