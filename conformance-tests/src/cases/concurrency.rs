//! What runs beside what. CON-01 to CON-11

use std::time::Duration;

use crate::application::Records;
use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::Context;
use crate::lifecycle::{self, Lifecycle};
use crate::text;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "concurrency",
    title: "Concurrency",
    cases: &[
        Case::must(
            "slow_handler_holds_up_nobody",
            "others are served while a handler takes long",
            &["CON-01"],
            slow_handler,
        ),
        Case::must(
            "blocking_code_holds_up_nobody",
            "handlers, bodies and files that block",
            &["CON-02"],
            blocking_code,
        ),
        Case::must("timers_run_beside_blocking_code", "and timers fire meanwhile", &["CON-02", "RTM-01"], timers),
        Case::must("handler_is_woken_from_a_foreign_thread", "and runs to completion", &["CON-03"], woken),
        Case::must("thousand_handlers_wait", "1,000 pending handlers on few threads", &["CON-04"], thousand)
            .needs("asynchronous"),
        Case::owned(
            Level::Must,
            "at_capacity_requests_queue_or_are_refused",
            "and idle connections do not count",
            &["CON-05"],
            at_capacity,
        ),
        Case::must(
            "concurrency_is_as_declared",
            "calls run on several threads exactly where declared",
            &["CON-06"],
            flags,
        ),
        Case::owned(
            Level::Should,
            "one_thread_is_one_thread",
            "with one thread no two polls at once",
            &["CON-07"],
            one_thread,
        ),
        Case::must("streams_do_not_mix", "octets of a response stay in it", &["CON-08"], streams),
        Case::owned(Level::Must, "nothing_leaks", "threads and files return to where they were", &["CON-09"], leaks),
        Case::owned(
            Level::Must,
            "one_application",
            "all connections call one application",
            &["CON-10", "LIF-04"],
            one_application,
        ),
        Case::owned(
            Level::Must,
            "slow_readers_hold_no_thread",
            "blocking bodies that nobody reads leave the threads to others",
            &["CON-11", "BOD-21"],
            slow_readers,
        ),
    ],
};

fn slow_handler(cx: &mut Context) -> Result<(), Failure> {
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("gate go; body slow").bytes())?;
        slow.push(connection);
    }
    cx.wait_for_times("at go", 20)?;
    for _ in 0..20 {
        ensure_eq!(cx.answered(&cx.get("body quick"), 200)?.1.text(), "quick", "a response beside slow handlers");
    }
    cx.open("go")?;
    for connection in &mut slow {
        ensure_eq!(connection.response("GET")?.text(), "slow", "a slow response");
    }
    Ok(())
}

fn blocking_code(cx: &mut Context) -> Result<(), Failure> {
    let mut waiting = Vec::new();
    for script in [
        "blocking; gate go; body ab",
        "iter text:a gate:go text:b",
        "blocking; iter text:a gate:go text:b",
        "run-blocking go; body ab",
    ] {
        for _ in 0..4 {
            let mut connection = cx.connect()?;
            connection.send(cx.get(script).bytes())?;
            waiting.push(connection);
        }
    }
    cx.wait_for_times("at go", 16)?;
    for script in ["body x", "stream text:x", "iter text:x", "blocking; body x", "sleep 5; body x", "file 1 0 - -"] {
        cx.answered(&cx.get(script), 200)?;
    }
    cx.open("go")?;
    for connection in &mut waiting {
        ensure_eq!(connection.response("GET")?.text(), "ab", "a response of blocking code");
    }
    Ok(())
}

fn timers(cx: &mut Context) -> Result<(), Failure> {
    let mut ticking = cx.connect()?;
    ticking.send(cx.get("gate start; interval 5 10; body ticked").bytes())?;
    cx.wait_for("at start")?;
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("blocking; gate go; body done").bytes())?;
        waiting.push(connection);
    }
    cx.wait_for_times("at go", 6)?;
    cx.open("start")?;
    ensure_eq!(ticking.response("GET")?.text(), "ticked", "the response of a ticking handler");
    cx.open("go")?;
    for connection in &mut waiting {
        connection.response("GET")?;
    }
    Ok(())
}

fn woken(cx: &mut Context) -> Result<(), Failure> {
    for _ in 0..20 {
        cx.again();
        let (_, response) = cx.answered(&cx.get("woken-by-thread; woken-by-thread; body done"), 200)?;
        ensure_eq!(response.text(), "done", "the response");
        ensure_eq!(cx.seen()?.details("woken"), ["true", "true"], "what woke the handler");
    }
    Ok(())
}

fn thousand(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get("threads"), 200)?;
    let count = |cx: &Context| -> Result<usize, Failure> {
        cx.seen()?.details("threads").last().and_then(|count| count.parse().ok()).ok_or_else(|| "no count".into())
    };
    let before = count(cx)?;
    let mut connections = Vec::new();
    for _ in 0..1000 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("gate go; body done").bytes())?;
        connections.push(connection);
    }
    cx.wait_for_times("at go", 1000)?;
    cx.answered(&cx.get("threads"), 200)?;
    let grown = count(cx)?.saturating_sub(before);
    // Other cases run in this process at the same time, and their blocking work has threads too.
    ensure!(grown < 700, "1,000 pending handlers made {grown} threads");
    cx.open("go")?;
    for connection in &mut connections {
        ensure_eq!(connection.response("GET")?.text(), "done", "the response of a handler that waited");
    }
    Ok(())
}

fn at_capacity(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.threads = Some(2);
    config.blocking_threads = 2;
    let running = life.start(config)?;
    let cx = &running.context;
    let mut idle = Vec::new();
    for _ in 0..10 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("body idle").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "idle", "a response");
        idle.push(connection);
    }
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("blocking; gate go; body done").bytes())?;
        waiting.push(connection);
    }
    running.wait_for("at go")?;
    // The others are to come while there is no place; a server that is at capacity can't be asked whether they have.
    std::thread::sleep(Duration::from_millis(300));
    running.open("go");
    for connection in &mut waiting {
        let response = connection.response("GET")?;
        ensure!(
            response.status() == 503 || response.text() == "done",
            "expected the response or a 503, seen a {}",
            response.status()
        );
    }
    for connection in &mut idle {
        connection.send(cx.get("blocking; body again").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "again", "a response after the rush");
    }
    Ok(())
}

fn flags(cx: &mut Context) -> Result<(), Failure> {
    let about = cx.control("about")?;
    let declared = |name: &str| about.lines().any(|line| line == format!("capability {name} true"));
    ensure!(!declared("run-once"), "a server that serves many requests declares run-once");
    // Two blocking handlers that wait for each other can only end on two threads.
    let mut first = cx.connect()?;
    first.send(cx.get("blocking; gate one; body a").bytes())?;
    cx.wait_for("at one")?;
    let mut second = cx.connect()?;
    second.send(cx.get("blocking; gate two; body b").bytes())?;
    if declared("multithread") {
        cx.wait_for("at two")?;
        let seen = cx.seen()?;
        let threads: Vec<&str> = seen
            .events
            .iter()
            .filter(|event| event.text.starts_with("at "))
            .map(|event| event.thread.as_str())
            .collect();
        ensure!(threads.len() == 2 && threads[0] != threads[1], "two calls at once, but on the threads {threads:?}");
    }
    cx.open("one")?;
    cx.open("two")?;
    ensure_eq!(first.response("GET")?.text(), "a", "the first response");
    ensure_eq!(second.response("GET")?.text(), "b", "the second response");
    Ok(())
}

fn one_thread(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.threads = Some(1);
    config.blocking_threads = 1;
    let running = life.start(config)?;
    let cx = &running.context;
    let mut connections = Vec::new();
    for _ in 0..8 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("busy 5; sleep 1; busy 5; body done").bytes())?;
        connections.push(connection);
    }
    for connection in &mut connections {
        ensure_eq!(connection.response("GET")?.text(), "done", "a response on one thread");
    }
    // What is between a "busy" and its "idle" is one poll; another one's must not lie within.
    let seen = running.seen();
    let marks = seen.events.iter().filter(|event| matches!(event.text.as_str(), "busy" | "idle"));
    let marks: Vec<(usize, bool)> = marks.map(|event| (event.call, event.text == "busy")).collect();
    for pair in marks.chunks(2) {
        ensure!(
            pair.len() == 2 && pair[0].0 == pair[1].0 && pair[0].1,
            "two polls of the application at once: {marks:?}"
        );
    }
    Ok(())
}

fn slow_readers(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    const ITEM: usize = 65_536;
    const ITEMS: usize = 160;
    let mut config = lifecycle::config();
    config.threads = Some(2);
    config.blocking_threads = 2;
    let running = life.start(config)?;
    let cx = &running.context;
    let items = format!("iter times:{ITEMS}:size:{ITEM}");
    let mut slow = Vec::new();
    for script in [items.clone(), format!("blocking; {items}")].iter().cycle().take(6) {
        let mut connection = cx.connect()?;
        connection.small_window();
        connection.send(cx.get(script).bytes())?;
        connection.head()?;
        slow.push(connection);
    }
    for script in ["blocking; body quick", "iter text:quick", "blocking; iter text:quick"].iter().cycle().take(12) {
        ensure_eq!(cx.answered(&cx.get(script), 200)?.1.text(), "quick", "a response beside clients that read nothing");
    }
    let item = text::pattern(ITEM);
    for connection in &mut slow {
        let mut body = Vec::new();
        // The last one is empty.
        while let Some(chunk) = connection.chunk()?.filter(|chunk| !chunk.is_empty()) {
            body.extend(chunk);
        }
        let same = body.len() == ITEMS * ITEM && body.chunks(ITEM).all(|seen| seen == item);
        ensure!(same, "a body of {} octets that was read late is {} long, or differs", ITEMS * ITEM, body.len());
    }
    lifecycle::wait_for_times(&running.records, cx.token(), "body-dropped", 6 + 8)?;
    running.stop()
}

fn streams(cx: &mut Context) -> Result<(), Failure> {
    let mut connections = Vec::new();
    for index in 0..40 {
        let kind = ["stream", "iter", "channel 2 thread", "channel 2 task"][index % 4];
        let letter = char::from(b'a' + (index % 26) as u8);
        let script = format!("{kind} times:20:text:{letter}{index:02} sleep:1 times:20:text:{letter}{index:02}");
        let mut connection = cx.connect()?;
        connection.send(cx.get(&script).bytes())?;
        connection.send(cx.get(&script).bytes())?;
        connections.push((connection, format!("{letter}{index:02}").repeat(40)));
    }
    for (connection, expected) in &mut connections {
        for _ in 0..2 {
            ensure_eq!(connection.response("GET")?.text(), *expected, "the octets of a stream");
        }
    }
    Ok(())
}

fn leaks(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    for round in 0..200 {
        let mut connection = cx.connect()?;
        match round % 4 {
            0 => {}
            1 => connection.send("GET / HT")?,
            2 => connection.send(cx.get("stream text:a pending").bytes())?,
            _ => {
                connection.send(cx.get("body x").bytes())?;
                connection.response("GET")?;
            }
        }
        if round % 8 < 4 {
            connection.reset();
        }
    }
    // The clients are gone; the server's side follows within its bounds, which are shorter than this.
    for _ in 0..300 {
        let held = lifecycle::server_sockets(cx.address());
        let seen = running.seen();
        let pending = seen.count("asked").div_ceil(2) - seen.count("body-dropped").min(seen.count("asked").div_ceil(2));
        if held == 0 && pending == 0 {
            return Ok(());
        }
        // The pause is a request like any other.
        cx.answered(&cx.request("GET", "/").aside().script("sleep 10").close(), 200)?;
    }
    Err(format!(
        "{} sockets of the server are still open; {}",
        lifecycle::server_sockets(cx.address()),
        running.seen().summary()
    )
    .into())
}

fn one_application(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let records = Records::default();
    let running = life
        .start_with(records.clone(), crate::application::Hooks::default(), lifecycle::config())
        .map_err(|error| error.to_string())?;
    let cx = &running.context;
    let mut connections = Vec::new();
    for _ in 0..16 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("gate go; body done").bytes())?;
        connections.push(connection);
    }
    lifecycle::wait_for_times(&running.records, cx.token(), "at go", 16)?;
    running.open("go");
    for connection in &mut connections {
        connection.response("GET")?;
    }
    // One application has one counter of calls, and the state its startup hook made.
    let seen = running.seen();
    let mut numbers: Vec<usize> =
        seen.events.iter().filter(|event| event.text.starts_with("call ")).map(|event| event.call).collect();
    numbers.sort_unstable();
    ensure_eq!(numbers, (0..16).collect::<Vec<_>>(), "the numbers of the calls");
    let calls = seen.calls();
    ensure!(calls.iter().all(|call| call.env("instance") == calls[0].env("instance")), "calls of several applications");
    ensure!(calls.iter().all(|call| call.env("started") == "made at startup"), "state made at startup is not visible");
    Ok(())
}
