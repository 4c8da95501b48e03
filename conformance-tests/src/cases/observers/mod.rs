//! What a server tells its observers: every connection and every request once, and how it ended. OBS-01 to OBS-12

mod durations;

use std::time::Duration;

use adapter_core::ServerConfig;

use self::durations::{durations, durations_of_streams};
use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::lifecycle::{self, Lifecycle, Running};
use crate::observations::Observations;
use crate::setting::SHORT;
use crate::wire::Connection;
use crate::wire::http2::{AUTHORITY, Http2};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "observers",
    title: "Observers",
    cases: &[
        Case::owned(
            Level::Must,
            "connections_are_told_once",
            "opened and closed, and why",
            &["OBS-01", "OBS-02"],
            connections,
        ),
        Case::owned(
            Level::Must,
            "ends_by_time_are_told",
            "of connections that are idle, late or stalled",
            &["OBS-02", "OBS-10"],
            connection_limits,
        ),
        Case::owned(
            Level::Must,
            "requests_are_told_once",
            "started and ended, with status, octets and route",
            &["OBS-04", "OBS-05"],
            requests,
        ),
        Case::owned(
            Level::Must,
            "response_ends_with_its_last_octet",
            "and not with the handler",
            &["OBS-05", "OBS-06"],
            last_octet,
        )
        .needs("http1"),
        Case::owned(
            Level::Must,
            "durations_are_told",
            "with what the application computes, and to the last octet",
            &["OBS-12"],
            durations,
        ),
        Case::owned(
            Level::Must,
            "broken_requests_are_told",
            "by the application, the client, the clock or the operator",
            &["OBS-04", "OBS-06", "OBS-10"],
            broken,
        ),
        Case::owned(Level::Must, "refusals_are_told", "and are no requests that were started", &["OBS-07"], refusals),
        Case::owned(Level::Must, "upgrades_are_told", "and their ends", &["OBS-08", "OBS-02"], upgrades)
            .needs("upgrade"),
        Case::owned(Level::Must, "websockets_are_told", "as they are opened and closed", &["OBS-08"], websockets)
            .needs("websocket"),
        Case::owned(
            Level::Must,
            "blocking_work_is_told",
            "that it waits, begins and ends, or never does",
            &["OBS-09"],
            blocking,
        ),
        Case::owned(Level::Must, "time_limits_are_told", "of bodies and handlers", &["OBS-10"], time_limits),
        Case::owned(
            Level::Must,
            "drain_is_told",
            "before what it closes, and before the hook",
            &["OBS-11", "OBS-02"],
            drain,
        ),
        Case::owned(Level::Must, "forced_end_is_told", "as what it is", &["OBS-11", "OBS-06", "OBS-02"], forced),
        Case::owned(
            Level::Must,
            "refused_streams_are_told",
            "also where the library of HTTP/2 answers",
            &["OBS-07"],
            refused_streams,
        )
        .needs("http2"),
        Case::owned(
            Level::Must,
            "durations_of_streams_are_told",
            "those of HTTP/2, as of all requests",
            &["OBS-12"],
            durations_of_streams,
        )
        .needs("http2"),
        Case::owned(
            Level::Must,
            "streams_are_told",
            "each of HTTP/2 as a request of its own",
            &["OBS-04", "OBS-05", "OBS-06"],
            streams,
        )
        .needs("http2"),
    ],
};

/// A server that is observed.
fn start(life: &mut Lifecycle<'_>, change: fn(&mut ServerConfig)) -> Result<(Running, Observations), Failure> {
    let observations = Observations::default();
    let mut config = lifecycle::config();
    change(&mut config);
    Ok((life.start(config.observe(observations.observer()))?, observations))
}

/// Stops it; then everything that was begun has ended, and only once.
fn stop(running: Running, observations: &Observations) -> Result<(), Failure> {
    running.stop()?;
    settled(observations)
}

fn settled(observations: &Observations) -> Result<(), Failure> {
    for (begun, ended) in [("opened", "closed"), ("started", "ended"), ("upgraded", "upgrade-ended")] {
        observations.wait(ended, observations.count(begun))?;
    }
    ensure_eq!(
        observations.count("queued"),
        observations.count("began") + observations.count("unqueued"),
        "work that was queued, and then begun or dropped"
    );
    observations.wait("ran", observations.count("began"))?;
    let wrong = observations.of("ended").into_iter().find(|line| line.contains("last before first"));
    ensure!(wrong.is_none(), "the last octet came before the first: {wrong:?}");
    Ok(())
}

/// How the connections were closed, in alphabetical order.
fn ends(observations: &Observations, count: usize) -> Result<Vec<String>, Failure> {
    let mut ends: Vec<String> = observations.wait("closed", count)?.iter().map(|line| first(line)).collect();
    ends.sort();
    Ok(ends)
}

/// How these connections were closed; a server may have made others, to wake itself.
fn closed(observations: &Observations, why: &str, connections: &[&Connection]) -> Result<(), Failure> {
    let told = observations.of("closed");
    for connection in connections {
        let addr = connection.local_addr().map(|addr| addr.to_string()).unwrap_or_default();
        let line = format!("{why} {addr}");
        ensure!(told.contains(&line), "\"{line}\" is not among {told:?}");
    }
    Ok(())
}

fn first(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_owned()
}

fn connections(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    let mut kept = cx.connect()?;
    let own = kept.local_addr().map(|addr| addr.to_string()).unwrap_or_default();
    for _ in 0..3 {
        kept.send(cx.get("body x").bytes())?;
        kept.response("GET")?;
    }
    ensure_eq!(seen.of("opened"), std::slice::from_ref(&own), "connections that were opened");
    ensure!(seen.of("closed").is_empty(), "an open connection was told to be closed");
    kept.finish();
    kept.closed()?;
    ensure_eq!(seen.wait("closed", 1)?, [format!("client {own}")], "how the client's end was told");
    let mut closing = cx.connect()?;
    closing.send(cx.get("body x").close().bytes())?;
    closing.rest()?;
    drop(closing);
    ensure_eq!(ends(&seen, 2)?, ["client", "done"], "with a response that says close");
    let mut bad = cx.connect()?;
    bad.send("GET / HTTP/1.1\r\nbad header\r\n\r\n")?;
    bad.rest()?;
    drop(bad);
    ensure_eq!(ends(&seen, 3)?, ["client", "done", "refused"], "with a head that was refused");
    let mut failing = cx.connect()?;
    failing.send(cx.get("stream text:a error").bytes())?;
    let _ = failing.rest();
    drop(failing);
    ensure_eq!(ends(&seen, 4)?, ["client", "done", "failed", "refused"], "with a body that failed");
    let gone = cx.connect()?;
    gone.reset();
    ensure_eq!(ends(&seen, 5)?, ["client", "client", "done", "failed", "refused"], "without a request");
    stop(running, &seen)
}

fn connection_limits(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |config| {
        config.timeouts.keep_alive = Some(SHORT);
        config.timeouts.header_read = Some(SHORT);
        config.timeouts.write = Some(SHORT);
    })?;
    let cx = &running.context;
    let mut idle = cx.connect()?;
    idle.send(cx.get("body x").bytes())?;
    idle.response("GET")?;
    idle.closed()?;
    drop(idle);
    ensure_eq!(ends(&seen, 1)?, ["idle"], "a connection that was idle");
    ensure_eq!(seen.of("timeout"), ["keep_alive"], "the time limit");
    let mut late = cx.connect()?;
    late.send("GET / HTTP/1.1\r\n")?;
    late.rest()?;
    drop(late);
    ensure_eq!(ends(&seen, 2)?, ["idle", "late"], "a head that was late");
    ensure_eq!(seen.of("timeout"), ["keep_alive", "header_read"], "the time limits");
    // The first head is waited for from the beginning, and a later one is no idleness either once it has begun.
    let mut silent = cx.connect()?;
    silent.rest()?;
    drop(silent);
    let mut later = cx.connect()?;
    later.send(cx.get("body x").bytes())?;
    later.response("GET")?;
    later.send("GET / HTTP/1.1\r\n")?;
    later.rest()?;
    drop(later);
    ensure_eq!(
        ends(&seen, 4)?,
        ["idle", "late", "late", "late"],
        "a first head that never began, and a later one that was late"
    );
    let limits = ["keep_alive", "header_read", "header_read", "header_read"];
    ensure_eq!(seen.of("timeout"), limits, "the time limits");
    let mut stalled = cx.connect()?;
    stalled.small_window();
    stalled.send(cx.get("stream forever:size:65536").bytes())?;
    stalled.head()?;
    let how = seen.wait("ended", 3)?;
    ensure!(how[2].contains(" timed_out "), "how a request ended whose client takes nothing: {}", how[2]);
    ensure_eq!(ends(&seen, 5)?.last().map(String::as_str), Some("stalled"), "a client that takes nothing");
    ensure_eq!(seen.of("timeout").last().map(String::as_str), Some("write"), "the time limit");
    drop(stalled);
    stop(running, &seen)
}

fn requests(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    let mut connection = cx.connect()?;
    let mut expected = Vec::new();
    let cases = [
        (cx.get("body hello"), "GET HTTP/1.1 200 complete in=0 out=5 route=-"),
        (cx.get("route /users/{id}; body hello"), "GET HTTP/1.1 200 complete in=0 out=5 route=/users/{id}"),
        (cx.get("status 204"), "GET HTTP/1.1 204 complete in=0 out=0 route=-"),
        (cx.get("status 304; header etag \"x\""), "GET HTTP/1.1 304 complete in=0 out=0 route=-"),
        (cx.get("stream text:ab text:cd"), "GET HTTP/1.1 200 complete in=0 out=4 route=-"),
        (cx.get("iter text:ab text:cd size:1000"), "GET HTTP/1.1 200 complete in=0 out=1004 route=-"),
        (cx.get("blocking; iter text:ab size:70000"), "GET HTTP/1.1 200 complete in=0 out=70002 route=-"),
        (cx.get("error x"), "GET HTTP/1.1 500 complete in=0 out=21 route=-"),
        (cx.get("panic x"), "GET HTTP/1.1 500 complete in=0 out=21 route=-"),
        (cx.request("HEAD", "/").script("body hello"), "HEAD HTTP/1.1 200 complete in=0 out=0 route=-"),
        (cx.request("HEAD", "/").script("stream text:a"), "HEAD HTTP/1.1 200 complete in=0 out=0 route=-"),
        (cx.post("read; body x", "abc"), "POST HTTP/1.1 200 complete in=3 out=1 route=-"),
        (cx.post("read; body x", vec![b'a'; 100_000]), "POST HTTP/1.1 200 complete in=100000 out=1 route=-"),
        (cx.post("blocking; read; body x", vec![b'a'; 100_000]), "POST HTTP/1.1 200 complete in=100000 out=1 route=-"),
        (
            cx.request("PUT", "/")
                .script("read; body x")
                .field("transfer-encoding", "chunked")
                .tail("3\r\nabc\r\n0\r\n\r\n"),
            "PUT HTTP/1.1 200 complete in=3 out=1 route=-",
        ),
    ];
    for (request, told) in cases {
        connection.send(request.bytes())?;
        let method = first(told);
        connection.response(&method)?;
        expected.push(told);
        ensure_eq!(seen.wait("ended", expected.len())?, expected, "how the requests ended");
    }
    // In one piece.
    let three: Vec<u8> = (0..3).flat_map(|_| cx.get("body hello").bytes()).collect();
    connection.send(three)?;
    for _ in 0..3 {
        connection.response("GET")?;
        expected.push("GET HTTP/1.1 200 complete in=0 out=5 route=-");
    }
    ensure_eq!(seen.wait("ended", expected.len())?, expected, "how pipelined requests ended");
    ensure_eq!(seen.count("started"), expected.len(), "requests that were started");
    ensure_eq!(seen.count("refused"), 0, "requests that were refused");
    drop(connection);
    stop(running, &seen)
}

fn last_octet(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    for script in ["size 33554432", "stream times:512:size:65536", "iter times:512:size:65536"] {
        let before = seen.count("ended");
        let mut slow = cx.connect()?;
        slow.small_window();
        slow.send(cx.get(script).bytes())?;
        slow.head()?;
        slow.take(1000, "the first octets")?;
        // As long as it takes others to be answered.
        for _ in 0..20 {
            cx.answered(&cx.get("body x").close(), 200)?;
        }
        seen.wait("ended", before + 20)?;
        slow.take(20_000_000, "most of the rest")?;
        slow.reset();
        let ended = seen.wait("ended", before + 21)?;
        let last = ended.last().map(String::as_str).unwrap_or_default();
        ensure!(last.contains(" 200 client_gone "), "how a response ended that the client left ({script}): {last}");
    }
    stop(running, &seen)
}

fn broken(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    let mut count = 0;
    let mut last = |seen: &Observations| -> Result<String, Failure> {
        count += 1;
        Ok(seen.wait("ended", count)?.pop().unwrap_or_default())
    };
    for (script, out) in [
        ("stream text:a error", 1),
        ("stream text:a panic", 1),
        ("iter text:abc error", 3),
        ("blocking; iter text:abc panic", 3),
    ] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        let _ = connection.rest();
        ensure_eq!(last(&seen)?, format!("GET HTTP/1.1 200 failed in=0 out={out} route=-"), "how \"{script}\" ended");
    }
    let mut handler = cx.connect()?;
    handler.send(cx.get("gate never").bytes())?;
    running.wait_for("at never")?;
    handler.reset();
    ensure_eq!(last(&seen)?, "GET HTTP/1.1 - client_gone in=0 out=0 route=-", "a client that left the handler alone");
    let mut body = cx.connect()?;
    body.send(cx.get("stream text:abc pending").bytes())?;
    body.head()?;
    body.take(3, "the first item")?;
    body.reset();
    ensure_eq!(last(&seen)?, "GET HTTP/1.1 200 client_gone in=0 out=3 route=-", "a client that left a body alone");
    let mut upload = cx.connect()?;
    upload
        .send(cx.request("POST", "/").script("chunk; read; body x").field("content-length", "9").tail("abc").bytes())?;
    running.wait_for("read-data")?;
    upload.reset();
    let cut = last(&seen)?;
    ensure!(cut.contains(" client_gone in=3 "), "how an upload ended that was cut short: {cut}");
    stop(running, &seen)
}

fn refusals(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    let mut expected = Vec::new();
    let long = "a".repeat(20_000);
    for (head, status) in [
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), "414"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned(), "400"),
    ] {
        let mut connection = cx.connect()?;
        connection.send(&head)?;
        let answer = connection.response("GET")?;
        ensure_eq!(answer.status().to_string(), status, "the answer to {:?}", head.get(..40).unwrap_or(&head));
        expected.push(status);
        ensure_eq!(seen.wait("refused", expected.len())?, expected, "what was refused");
        drop(connection);
    }
    // A body that nobody reads is no second request.
    let mut unread = cx.connect()?;
    unread.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: tea\r\ncontent-length: 3\r\n\r\nabc")?;
    ensure_eq!(unread.response("POST")?.status(), 417, "the answer to an unknown expectation");
    expected.push("417");
    unread.rest()?;
    drop(unread);
    seen.wait("closed", expected.len())?;
    ensure_eq!(seen.of("refused"), expected, "what was refused");
    ensure_eq!(seen.count("started"), 0, "requests that were started");
    ensure_eq!(seen.count("ended"), 0, "requests that have ended");
    let ends = ends(&seen, expected.len())?;
    ensure!(ends.iter().all(|end| end == "refused"), "how the connections were closed: {ends:?}");
    stop(running, &seen)
}

fn upgrades(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    let mut stream = cx.stream("echo")?;
    seen.wait("upgraded", 1)?;
    let ended = seen.wait("ended", 1)?;
    ensure!(ended[0].starts_with("GET HTTP/1.1 101 complete"), "how the request ended: {}", ended[0]);
    stream.send("hello")?;
    stream.take(5, "the echo")?;
    ensure_eq!(seen.count("upgrade-ended"), 0, "ends of the stream");
    ensure_eq!(seen.count("closed"), 0, "connections that are closed");
    stream.finish();
    stream.rest()?;
    drop(stream);
    seen.wait("upgrade-ended", 1)?;
    ensure_eq!(ends(&seen, 1)?, ["upgraded"], "how the connection was closed");
    stop(running, &seen)
}

fn websockets(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    let mut socket = cx.websocket("echo")?;
    socket.text("hello")?;
    socket.expect_text("hello")?;
    ensure_eq!(seen.count("websocket-opened"), 1, "WebSockets that are open");
    ensure_eq!(seen.count("websocket-closed"), 0, "WebSockets that are closed");
    socket.finish()?;
    ensure_eq!(seen.wait("websocket-closed", 1)?, ["1000"], "the code of the Close");
    ensure_eq!(seen.wait("upgrade-ended", 1)?.len(), 1, "ends of the stream");
    stop(running, &seen)
}

fn blocking(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    running.open("go");
    for script in ["run-blocking go; body x", "blocking; body x", "iter text:a text:b"] {
        cx.answered(&cx.get(script).close(), 200)?;
    }
    ensure!(seen.count("queued") > 0, "no work that blocks was told");
    stop(running, &seen)
}

fn time_limits(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |config| {
        config.timeouts.body_read = Some(SHORT);
        config.timeouts.handler = Some(SHORT * 2);
    })?;
    let cx = &running.context;
    let mut slow = cx.connect()?;
    slow.send(cx.request("POST", "/").script("read; body x").field("content-length", "9").tail("abc").bytes())?;
    slow.response("POST")?;
    seen.wait("timeout", 1)?;
    ensure_eq!(seen.of("timeout"), ["body_read"], "the time limit of a body");
    drop(slow);
    let (_, late) = cx.exchange(&cx.get("gate never").close())?;
    ensure_eq!(late.status(), 503, "the answer to who waits too long");
    ensure_eq!(seen.wait("timeout", 2)?, ["body_read", "handler"], "the time limits");
    let ended = seen.wait("ended", 2)?;
    ensure!(ended[1].starts_with("GET HTTP/1.1 503 complete"), "how the request ended: {}", ended[1]);
    ensure_eq!(seen.count("refused"), 0, "requests that were refused");
    stop(running, &seen)
}

fn drain(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    let mut idle = cx.connect()?;
    idle.send(cx.get("body x").bytes())?;
    idle.response("GET")?;
    let mut busy = cx.connect()?;
    busy.send(cx.get("gate go; body x").bytes())?;
    running.wait_for("at go")?;
    ensure_eq!(seen.count("draining"), 0, "drains before the trigger");
    running.trigger();
    seen.wait("draining", 1)?;
    ensure_eq!(seen.count("drained"), 0, "drains that have ended");
    running.open("go");
    busy.rest()?;
    idle.rest()?;
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    ensure_eq!(seen.of("drained"), ["true"], "how the drain ended");
    settled(&seen)?;
    closed(&seen, "drained", &[&idle, &busy])
}

fn forced(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |config| config.timeouts.graceful_shutdown = Duration::from_millis(300))?;
    let cx = &running.context;
    let mut handler = cx.connect()?;
    handler.send(cx.get("gate never").bytes())?;
    running.wait_for("at never")?;
    let mut body = cx.connect()?;
    body.send(cx.get("stream text:a pending").bytes())?;
    body.head()?;
    body.take(1, "the first item")?;
    running.trigger();
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    ensure_eq!(seen.of("drained"), ["false"], "how the drain ended");
    let mut ended = seen.wait("ended", 2)?;
    ended.sort();
    let expected = ["GET HTTP/1.1 - forced in=0 out=0 route=-", "GET HTTP/1.1 200 forced in=0 out=1 route=-"];
    ensure_eq!(ended, expected, "how the requests ended");
    settled(&seen)?;
    closed(&seen, "forced", &[&handler, &body])
}

fn refused_streams(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |config| {
        config.limits.head_bytes = 8192;
        config.limits.header_count = 20;
    })?;
    let cx = &running.context;
    let mut client = Http2::open(cx)?;
    let usual = [(":method", "GET"), (":scheme", cx.scheme()), (":path", "/"), (":authority", AUTHORITY)];
    let large = "a".repeat(9000);
    let names: Vec<String> = (0..30).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let mut expected = Vec::new();
    for more in [&[("x-large", large.as_str())][..], &many, &[("x-large", large.as_str())]] {
        let fields: Vec<_> = usual.into_iter().chain(more.iter().copied()).collect();
        let stream = client.fields(&fields, true)?;
        ensure_eq!(client.response(stream)?.status(), 431, "the status");
        expected.push("431");
        ensure_eq!(seen.wait("refused", expected.len())?, expected, "what was refused");
    }
    // No answer but a reset.
    let malformed: Vec<_> = usual.into_iter().chain([("connection", "close")]).collect();
    client.fields(&malformed, true)?;
    expected.push("400");
    ensure_eq!(seen.wait("refused", expected.len())?, expected, "what was refused");
    ensure_eq!(seen.count("started"), 0, "requests that were started");
    drop(client);
    stop(running, &seen)
}

fn streams(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    let mut client = Http2::open(cx)?;
    let mut expected = Vec::new();
    for (script, told) in [
        ("body hello", "GET HTTP/2.0 200 complete in=0 out=5 route=-"),
        ("status 204", "GET HTTP/2.0 204 complete in=0 out=0 route=-"),
        ("route /x; stream text:ab text:cd", "GET HTTP/2.0 200 complete in=0 out=4 route=/x"),
        ("iter text:ab size:70000", "GET HTTP/2.0 200 complete in=0 out=70002 route=-"),
        ("error x", "GET HTTP/2.0 500 complete in=0 out=21 route=-"),
    ] {
        let stream = client.get("/", script)?;
        client.response(stream)?;
        expected.push(told);
        ensure_eq!(seen.wait("ended", expected.len())?, expected, "how the streams ended");
    }
    let stream = client.post("read; body x", b"abc")?;
    client.response(stream)?;
    expected.push("POST HTTP/2.0 200 complete in=3 out=1 route=-");
    ensure_eq!(seen.wait("ended", expected.len())?, expected, "how the streams ended");
    let stream = client.get("/", "stream text:abc error")?;
    let _ = client.end(stream);
    expected.push("GET HTTP/2.0 200 failed in=0 out=3 route=-");
    ensure_eq!(seen.wait("ended", expected.len())?, expected, "how a broken stream ended");
    let stream = client.get("/", "gate never")?;
    running.wait_for("at never")?;
    client.reset(stream)?;
    expected.push("GET HTTP/2.0 - client_gone in=0 out=0 route=-");
    ensure_eq!(seen.wait("ended", expected.len())?, expected, "how a stream ended that was reset");
    ensure_eq!(seen.count("opened"), 1, "connections");
    ensure_eq!(seen.count("started"), expected.len(), "streams that were started");
    drop(client);
    ensure_eq!(ends(&seen, 1)?, ["client"], "how the connection was closed");
    stop(running, &seen)
}
