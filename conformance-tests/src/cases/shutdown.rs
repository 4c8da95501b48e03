//! Stopping: gracefully, at the deadline, at once. SHU-01 to SHU-10, SHU-12 to SHU-15

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::application::TriggerSlot;
use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::lifecycle::{self, Lifecycle, Running, server_sockets};
use crate::wire::http2::Http2;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "shutdown",
    title: "Shutdown",
    cases: &[
        Case::owned(Level::Must, "accepting_stops", "no new connection is served", &["SHU-01"], accepting_stops),
        Case::owned(
            Level::Must,
            "requests_in_flight_complete",
            "handlers and bodies under way",
            &["SHU-02"],
            in_flight,
        ),
        Case::owned(Level::Must, "idle_connections_close", "promptly", &["SHU-03"], idle_close),
        Case::owned(
            Level::Must,
            "who_was_answered_just_now_is_served",
            "once more, on a connection that stays open between requests",
            &["SHU-14", "SHU-05"],
            just_answered,
        ),
        Case::owned(
            Level::Must,
            "who_is_in_the_middle_of_a_head_is_served",
            "when its rest comes behind the trigger",
            &["SHU-15", "SHU-05"],
            half_head_served,
        ),
        Case::owned(
            Level::Must,
            "fresh_connections_close",
            "those on which nothing has arrived",
            &["SHU-04"],
            fresh_close,
        ),
        Case::owned(
            Level::Must,
            "who_was_there_is_served",
            "those that were accepted, or could be, just before",
            &["SHU-13", "SHU-05"],
            who_was_there,
        ),
        Case::owned(
            Level::Must,
            "half_requests_close",
            "those on which part of a head or a preface has",
            &["SHU-04"],
            half_close,
        ),
        Case::owned(
            Level::Must,
            "deaf_http2_clients_close",
            "that acknowledge nothing and open streams",
            &["SHU-12"],
            deaf_close,
        )
        .needs("http2"),
        Case::owned(
            Level::Must,
            "last_response_says_close",
            "and no further request is served",
            &["SHU-05"],
            says_close,
        ),
        Case::owned(Level::Must, "deadline_forces", "endless responses do not block the end", &["SHU-06"], deadline),
        Case::owned(Level::Must, "second_trigger_forces", "at once", &["SHU-07"], second_trigger),
        Case::owned(
            Level::Must,
            "application_sees_the_shutdown",
            "in requests under way and by the flag",
            &["SHU-08"],
            seen_by_application,
        ),
        Case::owned(
            Level::Must,
            "nothing_is_left",
            "no socket, no task, and the port can be bound",
            &["SHU-09"],
            nothing_left,
        ),
        Case::owned(
            Level::Must,
            "trigger_works_in_a_handler",
            "and from any thread, as often as one likes",
            &["SHU-10"],
            trigger_anywhere,
        ),
        Case::owned(
            Level::Must,
            "blocked_application_does_not_block_the_end",
            "a thread that never returns holds no socket",
            &["SHU-06", "SHU-09"],
            blocked,
        ),
    ],
};

/// What is prompt, with room for a busy machine; far below the graceful timeout.
const PROMPT: Duration = Duration::from_secs(5);

/// Whether the server itself still accepts, whoever may stand in front of it.
fn is_open(running: &Running) -> bool {
    running.addresses.iter().any(|address| TcpStream::connect_timeout(address, Duration::from_secs(2)).is_ok())
}

/// Waits until the listener is gone.
fn refuses(running: &Running) -> Result<(), Failure> {
    let started = Instant::now();
    while is_open(running) {
        // A connection that is taken is not served: it is one without a request, which closes.
        ensure!(started.elapsed() < PROMPT, "the listener is still open {:?} after the trigger", started.elapsed());
        std::thread::yield_now();
    }
    Ok(())
}

fn accepting_stops(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut busy = cx.connect()?;
    busy.send(cx.get("gate go; body done").bytes())?;
    running.wait_for("at go")?;
    running.trigger();
    let (triggered, mut served) = (Instant::now(), 0);
    loop {
        refuses(&running)?;
        if let Ok(mut late) = cx.connect() {
            let _ = late.send(cx.request("GET", "/late").close().bytes());
            let _ = late.rest();
        }
        let before =
            std::mem::replace(&mut served, running.seen().calls().iter().filter(|call| call.uri == "/late").count());
        if served == before {
            break;
        }
        // Where a server has several listeners at its address, one that is being closed refuses while another one accepts.
        ensure!(triggered.elapsed() < PROMPT, "a connection was served after the trigger");
    }
    running.open("go");
    ensure_eq!(busy.response("GET")?.text(), "done", "the response under way");
    running.wait()?.map_err(|error| error.to_string().into())
}

fn in_flight(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut connections = Vec::new();
    for script in [
        "gate go; sleep 200; body ab",
        "stream text:a gate:go sleep:200 text:b",
        "iter text:a gate:go sleep:200 text:b",
        "blocking; gate go; sleep 200; body ab",
        "channel 1 task text:a gate:go sleep:200 text:b",
    ] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).close().bytes())?;
        connections.push(connection);
    }
    let mut upload = cx.connect()?;
    let request = cx.request("POST", "/").script("chunks 1; read; body ab").close();
    upload.send(request.field("content-length", "3").tail("x").bytes())?;
    running.wait_for("chunk")?;
    connections.push(upload);
    lifecycle::wait_for_times(&running.records, cx.token(), "at go", 5)?;
    running.trigger();
    refuses(&running)?;
    running.open("go");
    connections[5].send("yz")?;
    for (index, connection) in connections.iter_mut().enumerate() {
        let response = connection.response("GET").map_err(|failure| Failure(format!("response {index}: {failure}")))?;
        ensure_eq!(response.text(), "ab", "response {index}");
        ensure!(!response.truncated, "response {index} is not complete");
        connection.closed()?;
    }
    running.wait()?.map_err(|error| error.to_string().into())
}

fn idle_close(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut idle = Vec::new();
    for _ in 0..5 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("body x").bytes())?;
        connection.response("GET")?;
        idle.push(connection);
    }
    let started = Instant::now();
    running.trigger();
    for connection in &mut idle {
        connection.closed()?;
    }
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    ensure!(started.elapsed() < PROMPT, "with idle connections only the end took {:?}", started.elapsed());
    Ok(())
}

fn fresh_close(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut fresh = Vec::new();
    for _ in 0..5 {
        fresh.push(cx.connect()?);
    }
    // Accepted by now: a connection made after them is served.
    cx.answered(&cx.get("").close(), 200)?;
    let started = Instant::now();
    running.trigger();
    for connection in &mut fresh {
        ensure!(connection.rest()?.is_empty(), "octets on a connection without a request");
    }
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    ensure!(started.elapsed() < PROMPT, "with fresh connections only the end took {:?}", started.elapsed());
    Ok(())
}

fn who_was_there(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    // On a machine that is too slow for once the server may give up.
    for _ in 0..5 {
        let running = life.start(lifecycle::config())?;
        let cx = &running.context;
        // More than a server takes out of the queue between two looks at what else there is to do.
        let mut there = Vec::new();
        for _ in 0..40 {
            there.push(cx.connect()?);
        }
        running.trigger();
        let begun = Instant::now();
        // A packet later, so that the server knows by then.
        thread::sleep(Duration::from_millis(50));
        let sent = there.iter_mut().try_for_each(|connection| connection.send(cx.get("").bytes()));
        if begun.elapsed() > Duration::from_millis(400) {
            let _ = running.wait()?;
            continue;
        }
        sent?;
        for (n, connection) in there.iter_mut().enumerate() {
            let response =
                connection.response("GET").map_err(|failure| Failure(format!("connection {n}: {failure}")))?;
            ensure_eq!(response.status(), 200, "the status of the last answer");
            ensure!(response.head.lists("connection", "close"), "the last answer does not say so");
        }
        return running.wait()?.map_err(|error| Failure(error.to_string()));
    }
    Err(Failure("not once was this machine quick enough to tell".into()))
}

fn just_answered(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(cx.connect()?);
    }
    for connection in &mut kept {
        connection.send(cx.get("").bytes())?;
        connection.response("GET")?;
    }
    running.trigger();
    // A packet later, so that the server knows by then; the client can't yet.
    thread::sleep(Duration::from_millis(50));
    for (n, connection) in kept.iter_mut().enumerate() {
        let request = cx.request("POST", "/").script("read; body x").field("content-length", "3");
        let sent = connection.send(request.tail("abc").bytes());
        sent.map_err(|failure| Failure(format!("connection {n}: {failure}")))?;
        let response = connection.response("POST").map_err(|failure| Failure(format!("connection {n}: {failure}")))?;
        ensure_eq!(response.status(), 200, "the status of the last answer");
        ensure!(response.head.lists("connection", "close"), "the last answer does not say so");
        connection.closed()?;
    }
    running.wait()?.map_err(|error| Failure(error.to_string()))
}

fn half_head_served(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    // On a machine that is too slow for once the server may give up.
    for _ in 0..5 {
        let running = life.start(lifecycle::config())?;
        let cx = &running.context;
        let (mut fresh, mut kept) = (cx.connect()?, cx.connect()?);
        kept.send(cx.get("").bytes())?;
        kept.response("GET")?;
        let request = cx.get("body whole").bytes();
        let (begin, rest) = request.split_at(request.len() / 2);
        let begun = Instant::now();
        let mut both = [&mut fresh, &mut kept];
        both.iter_mut().try_for_each(|connection| connection.send(begin))?;
        // They are read by now.
        cx.answered(&cx.get("").close(), 200)?;
        running.trigger();
        // A packet later, so that the server knows by then.
        thread::sleep(Duration::from_millis(50));
        let sent = both.iter_mut().try_for_each(|connection| connection.send(rest));
        if begun.elapsed() > Duration::from_millis(400) {
            let _ = running.wait()?;
            continue;
        }
        sent?;
        for connection in both {
            let response = connection.response("GET")?;
            ensure_eq!(response.status(), 200, "the status of the last answer");
            ensure!(response.head.lists("connection", "close"), "the last answer does not say so");
            connection.closed()?;
        }
        return running.wait()?.map_err(|error| Failure(error.to_string()));
    }
    Err(Failure("not once was this machine quick enough to tell".into()))
}

fn half_close(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut halves = Vec::new();
    for begun in
        ["G", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n", "P", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM"]
    {
        let mut connection = cx.connect()?;
        connection.send(begun)?;
        halves.push(connection);
    }
    let mut second = cx.connect()?;
    second.send(cx.get("body first").bytes())?;
    second.response("GET")?;
    second.send("GET / HT")?;
    halves.push(second);
    // Read by now: a request that is sent after them is answered.
    cx.answered(&cx.get("").close(), 200)?;
    let started = Instant::now();
    running.trigger();
    for connection in &mut halves {
        connection.rest()?;
    }
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    ensure!(started.elapsed() < PROMPT, "with parts of heads only the end took {:?}", started.elapsed());
    Ok(())
}

fn deaf_close(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut silent = Http2::open(cx)?;
    let mut busy = Http2::open(cx)?;
    for client in [&mut silent, &mut busy] {
        let stream = client.get("/", "body hello")?;
        ensure_eq!(client.response(stream)?.body, b"hello", "the response before the trigger");
        client.answers_nothing();
    }
    let started = Instant::now();
    running.trigger();
    // Until one is refused, or the connection has ended.
    while let Ok(stream) = busy.get("/", "sleep 100; body more")
        && busy.response(stream).is_ok()
    {
        ensure!(started.elapsed() < 2 * PROMPT, "streams are served {:?} after the trigger", started.elapsed());
    }
    busy.ends()?;
    silent.ends()?;
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    ensure!(started.elapsed() < 2 * PROMPT, "with deaf clients only the end took {:?}", started.elapsed());
    Ok(())
}

fn says_close(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut connections = Vec::new();
    for script in ["gate go; body done", "gate go; stream text:done", "gate go; status 204", "gate go; error x"] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        // The next request is in the pipeline already.
        connection.send(cx.request("GET", "/further").bytes())?;
        connections.push(connection);
    }
    lifecycle::wait_for_times(&running.records, cx.token(), "at go", 4)?;
    running.trigger();
    running.open("go");
    for connection in &mut connections {
        let response = connection.response("GET")?;
        ensure!(
            response.head.lists("connection", "close"),
            "no Connection: close in a {} while draining",
            response.status()
        );
        connection.closed()?;
    }
    ensure!(running.seen().calls().iter().all(|call| call.uri != "/further"), "a further request was served");
    running.wait()?.map_err(|error| error.to_string().into())
}

/// A server with endless responses under way.
fn endless(life: &mut Lifecycle<'_>, graceful: Duration) -> Result<Running, Failure> {
    let mut config = lifecycle::config();
    config.timeouts.graceful_shutdown = graceful;
    let running = life.start(config)?;
    let cx = &running.context;
    for script in [
        "stream text:a pending",
        "gate never",
        "stream forever:size:65536",
        "iter forever:size:65536",
        "stream times:100000:sleep:5",
    ] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        if script.starts_with("stream") || script.starts_with("iter") {
            connection.head()?;
        } else {
            running.wait_for("at never")?;
        }
        // Kept open by being forgotten: the server has to end them.
        std::mem::forget(connection);
    }
    Ok(running)
}

fn deadline(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = endless(life, Duration::from_millis(400))?;
    let address = running.context.address();
    let started = Instant::now();
    running.trigger();
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    let took = started.elapsed();
    ensure!(took >= Duration::from_millis(300), "the server ended {took:?} after the trigger, before the deadline");
    ensure!(took < PROMPT, "the server ended {took:?} after the trigger");
    ensure_eq!(server_sockets(address), 0, "sockets of the server");
    Ok(())
}

fn second_trigger(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = endless(life, Duration::from_secs(60))?;
    let started = Instant::now();
    running.trigger();
    running.trigger();
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    ensure!(started.elapsed() < PROMPT, "the server ended {:?} after the second trigger", started.elapsed());
    Ok(())
}

fn seen_by_application(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut connection = cx.connect()?;
    connection.send(cx.get("watch-shutdown; record ready; shutting-down; body seen").bytes())?;
    let mut upload = cx.connect()?;
    upload.send(
        cx.request("POST", "/").script("chunks 1; shutting-down; body late").field("content-length", "1").bytes(),
    )?;
    running.wait_for("ready")?;
    lifecycle::wait_for_times(&running.records, cx.token(), "call", 2)?;
    ensure_eq!(running.seen().calls()[0].env("shutting-down"), "false", "the flag before the trigger");
    ensure!(!running.seen().has("saw-shutdown"), "the shutdown was seen before the trigger");
    running.trigger();
    ensure_eq!(connection.response("GET")?.text(), "seen", "the response of a handler that waited for the shutdown");
    upload.send("x")?;
    ensure_eq!(upload.response("POST")?.text(), "late", "the response of a handler that asked after it");
    running.wait_for("saw-shutdown")?;
    ensure!(running.seen().has("shutting-down true"), "the flag does not show the shutdown");
    running.wait()?.map_err(|error| error.to_string().into())
}

fn nothing_left(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.timeouts.graceful_shutdown = Duration::from_millis(500);
    let running = life.start(config)?;
    let cx = &running.context;
    let address = cx.address();
    let mut connections = Vec::new();
    for script in ["body x", "iter text:x", "blocking; body x", "spawn never; body x", "run-blocking go; body x"] {
        running.open("go");
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        connection.response("GET")?;
        connections.push(connection);
    }
    let records = running.records.clone();
    let token = cx.token().to_owned();
    running.trigger();
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    ensure_eq!(server_sockets(address), 0, "sockets of the server");
    let seen = crate::context::Seen::new(records.events(&token));
    ensure!(seen.has("spawned-cancelled"), "a spawned future is still there: {}", seen.summary());
    // Without SO_REUSEPORT, so that a listener that is left would be in the way.
    TcpListener::bind(address)
        .map(drop)
        .map_err(|error| Failure(format!("{address} can't be bound again: {error}")))?;
    let mut config = lifecycle::config();
    config.binds = vec![adapter_core::Bind::Tcp(address)];
    let again = life.start(config)?;
    again.context.answered(&again.context.get("").close(), 200)?;
    again.stop()
}

fn trigger_anywhere(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let slot: TriggerSlot = Arc::new(OnceLock::new());
    let running = life.start(lifecycle::config().value(slot.clone()))?;
    let _ = slot.set(running.trigger.clone());
    let cx = &running.context;
    let mut connection = cx.connect()?;
    connection.send(cx.get("trigger; body done").bytes())?;
    let response = connection.response("GET")?;
    ensure_eq!(response.text(), "done", "the response of the handler that triggered");
    running.wait()?.map_err(|error| Failure(error.to_string()))?;

    let running = life.start(lifecycle::config())?;
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let trigger = running.trigger.clone();
            std::thread::spawn(move || trigger.trigger())
        })
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    let trigger = running.trigger.clone();
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    // After the end it does nothing.
    trigger.trigger();
    Ok(())
}

fn blocked(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.timeouts.graceful_shutdown = Duration::from_millis(300);
    let running = life.start(config)?;
    let cx = &running.context;
    let address = cx.address();
    let mut connection = cx.connect()?;
    connection.send(cx.get("blocking; gate later; body x").bytes())?;
    running.wait_for("at later")?;
    let (records, token) = (running.records.clone(), cx.token().to_owned());
    let started = Instant::now();
    running.trigger();
    let ended = running.wait();
    let took = started.elapsed();
    records.open(&token, "later");
    ended?.map_err(|error| Failure(error.to_string()))?;
    ensure!(took < PROMPT, "the server ended {took:?} after the trigger");
    ensure_eq!(server_sockets(address), 0, "sockets of the server");
    connection.rest().map(drop)
}
