//! What happens when the client goes away. DIS-01 to DIS-08

use std::time::{Duration, Instant};

use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::Context;
use crate::lifecycle::{self, Lifecycle};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "disconnect",
    title: "Disconnects",
    cases: &[
        Case::must(
            "signal_comes_before_the_drop",
            "disconnected() is ready before anything is dropped",
            &["DIS-01a"],
            signal_first,
        ),
        Case::must(
            "pending_handler_is_dropped",
            "within 500 ms after the end of the client's stream",
            &["DIS-01b", "DIS-07a"],
            pending_dropped,
        ),
        Case::must("reset_drops_the_handler", "within 500 ms after a reset", &["DIS-01c", "DIS-07a"], reset_drops),
        Case::must("surplus_octets_are_no_disconnect", "nor are silence and slow reading", &["DIS-03"], no_disconnect),
        Case::must(
            "half_closed_client_gets_its_answer",
            "the response in full, a hundred times",
            &["DIS-04a"],
            half_closed,
        ),
        Case::must(
            "half_closed_client_gets_a_stream",
            "where something is sent every 250 ms",
            &["DIS-04a", "DIS-04b"],
            half_closed_stream,
        ),
        Case::must(
            "half_closed_client_gets_a_quick_answer_late",
            "an answer within the grace",
            &["DIS-04a", "DIS-01a"],
            within_grace,
        ),
        Case::must(
            "body_without_progress_is_dropped",
            "a stalled body is dropped and the connection closed",
            &["DIS-04c", "DIS-07a"],
            stalled_body,
        ),
        Case::must(
            "large_response_to_half_closed",
            "a client that reads slowly is served to the end",
            &["DIS-04a", "DIS-04c"],
            large_half_closed,
        ),
        Case::must(
            "blocking_code_can_learn",
            "by the flag and by an error of its next read",
            &["DIS-05a"],
            blocking_learns,
        ),
        Case::must(
            "reader_learns_before_it_is_dropped",
            "by the flag and by an error of its read, also after a silence longer than the grace",
            &["DIS-05e", "REQ-10"],
            reader_learns,
        ),
        Case::must(
            "blocking_code_is_not_interrupted",
            "a blocking call runs to its return",
            &["DIS-05b"],
            blocking_runs_on,
        ),
        Case::must(
            "blocked_iterator_is_dropped_when_it_returns",
            "and not asked again",
            &["DIS-05c"],
            blocked_iterator,
        ),
        Case::must(
            "signal_can_be_asked_again",
            "several times, by several tasks, before and after",
            &["DIS-06"],
            asked_again,
        ),
        Case::must("detached_work_goes_on", "a spawned future outlives the client", &["DIS-07b"], detached),
        Case::owned(
            Level::Must,
            "deadline_is_a_disconnect",
            "what is not complete at the deadline is signalled and dropped",
            &["DIS-08", "SHU-06"],
            deadline,
        ),
    ],
};

/// The bound of the specification, and room for a busy machine.
pub(super) const BOUND: Duration = Duration::from_millis(500 + 1500);

fn signal_first(cx: &mut Context) -> Result<(), Failure> {
    for reset in [false, true] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get("watch; gate never").bytes())?;
        cx.wait_for("at never")?;
        if reset {
            connection.reset();
        } else {
            connection.finish();
        }
        let seen = cx.wait_for_times("saw-disconnect true", 2)?;
        if !reset {
            // With the grace between them the order is certain.
            let seen = if seen.has("handler-cancelled") { seen } else { cx.wait_for("handler-cancelled")? };
            ensure!(
                seen.position("saw-disconnect") < seen.position("handler-cancelled"),
                "the handler was dropped before the signal: {}",
                seen.summary()
            );
        }
    }
    Ok(())
}

fn pending_dropped(cx: &mut Context) -> Result<(), Failure> {
    for script in ["gate never", "pending", "sleep 60000", "disconnected; pending"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        cx.wait_for("call")?;
        let started = Instant::now();
        connection.finish();
        cx.wait_for("handler-cancelled").map_err(|failure| Failure(format!("{script}: {failure}")))?;
        ensure!(started.elapsed() < BOUND, "{script}: the handler was dropped after {:?}", started.elapsed());
        ensure!(connection.rest()?.is_empty(), "a response without an answer");
    }
    Ok(())
}

fn reset_drops(cx: &mut Context) -> Result<(), Failure> {
    for script in ["gate never", "pending", "sleep 60000"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        cx.wait_for("call")?;
        let started = Instant::now();
        connection.reset();
        cx.wait_for("handler-cancelled").map_err(|failure| Failure(format!("{script}: {failure}")))?;
        ensure!(started.elapsed() < BOUND, "{script}: the handler was dropped after {:?}", started.elapsed());
    }
    Ok(())
}

fn no_disconnect(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("watch; sleep 800; gate go; body first").bytes())?;
    connection.send(cx.request("GET", "/next").script("body second").bytes())?;
    cx.wait_for("at go")?;
    let seen = cx.seen()?;
    ensure!(!seen.has("saw-disconnect"), "a pipelined request was taken for a disconnect");
    cx.open("go")?;
    ensure_eq!(connection.response("GET")?.text(), "first", "the first response");
    ensure_eq!(connection.response("GET")?.text(), "second", "the second response");
    // Silence, with a body half sent.
    cx.again();
    connection.send(
        cx.request("POST", "/")
            .script("watch; chunks 3; sleep 800; read; body done")
            .field("content-length", "6")
            .tail("abc")
            .bytes(),
    )?;
    cx.wait_for("slept")?;
    ensure!(!cx.seen()?.has("saw-disconnect"), "silence was taken for a disconnect");
    connection.send("def")?;
    ensure_eq!(connection.response("POST")?.text(), "done", "the response after a silence");
    // A client that reads slowly.
    cx.again();
    let mut connection = cx.connect()?;
    connection.small_window();
    connection.send(cx.get("watch; stream times:200:size:65536").bytes())?;
    connection.head()?;
    cx.pause(800)?;
    ensure!(!cx.seen()?.has("saw-disconnect"), "slow reading was taken for a disconnect");
    Ok(())
}

fn half_closed(cx: &mut Context) -> Result<(), Failure> {
    for round in 0..100 {
        let script =
            ["body hello", "stream text:hel text:lo", "sleep 2; body hello", "iter text:hello", "blocking; body hello"]
                [round % 5];
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        connection.finish();
        let response =
            connection.response("GET").map_err(|failure| Failure(format!("round {round} ({script}): {failure}")))?;
        ensure_eq!(response.text(), "hello", "the response to a half-closed client ({script})");
        ensure!(!response.truncated, "the response is not complete ({script})");
    }
    // Also with a body, and as the last of a pipeline.
    let mut connection = cx.connect()?;
    connection.send(cx.post("read; body one", "abc").bytes())?;
    connection.send(cx.get("body two").bytes())?;
    connection.finish();
    ensure_eq!(connection.response("POST")?.text(), "one", "the first response");
    ensure_eq!(connection.response("GET")?.text(), "two", "the second response");
    connection.closed()
}

fn half_closed_stream(cx: &mut Context) -> Result<(), Failure> {
    const PAUSE: Duration = Duration::from_millis(50);
    for kind in ["stream", "iter", "channel 1 task"] {
        // Longer than the grace in all, each pause far shorter.
        let letters = "abcdefghi".chars().map(|letter| format!(" text:{letter} sleep:{}", PAUSE.as_millis()));
        let script = format!("{kind}{}", letters.collect::<String>());
        for attempts_left in (0..3).rev() {
            let mut connection = cx.connect()?;
            connection.send(cx.get(&script).bytes())?;
            connection.finish();
            let begun = Instant::now();
            let response = connection.response("GET")?;
            // A machine that stood still for as long as the grace has sent nothing meanwhile.
            let expected = PAUSE * u32::try_from(response.body.len()).unwrap_or(0);
            if response.truncated && attempts_left > 0 && begun.elapsed() > expected + Duration::from_millis(200) {
                continue;
            }
            ensure_eq!(response.text(), "abcdefghi", "a stream to a half-closed client ({kind})");
            ensure!(!response.truncated, "the response is not complete ({kind})");
            break;
        }
    }
    Ok(())
}

fn within_grace(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("disconnected; sleep 60; body late").bytes())?;
    cx.wait_for("call")?;
    connection.finish();
    ensure_eq!(connection.response("GET")?.text(), "late", "an answer 60 ms after the end of the client's stream");
    Ok(())
}

fn stalled_body(cx: &mut Context) -> Result<(), Failure> {
    for body in [
        "stream text:a pending",
        "stream text:a sleep:50 text:b gate:never",
        "hinted 9 9 text:a pending",
        "channel 1 task text:a gate:never",
    ] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("{body}; hook")).bytes())?;
        connection.head()?;
        connection.take(1, "the first item")?;
        let started = Instant::now();
        connection.finish();
        cx.wait_for("hook aborted").map_err(|failure| Failure(format!("{body}: {failure}")))?;
        ensure!(started.elapsed() < BOUND, "{body}: the body was dropped after {:?}", started.elapsed());
        connection.rest()?;
        if body.starts_with("stream") {
            ensure_eq!(cx.wait_for("body-dropped")?.count("body-dropped"), 1, "how often the body was dropped");
        }
    }
    Ok(())
}

fn large_half_closed(cx: &mut Context) -> Result<(), Failure> {
    for body in ["size 8000000", "stream times:122:size:65536 size:4608"] {
        let mut connection = cx.connect()?;
        connection.small_window();
        connection.send(cx.get(body).bytes())?;
        connection.finish();
        connection.head()?;
        // The application is done long before the client has read: that is no stall of the application's.
        for _ in 0..4 {
            connection.take(100_000, "a piece of a large response")?;
            cx.answered(&cx.request("GET", "/").script("sleep 200"), 200)?;
        }
        let rest = connection.rest()?;
        ensure!(
            rest.len() > 7_500_000,
            "a large response to a half-closed client broke off: {} octets at its end ({body})",
            rest.len()
        );
    }
    Ok(())
}

fn blocking_learns(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("blocking; gate go; until-disconnected; body x").bytes())?;
    cx.wait_for("at go")?;
    connection.reset();
    cx.open("go")?;
    cx.wait_for("flag true")?;
    // By a read.
    cx.again();
    let mut connection = cx.connect()?;
    let request =
        cx.request("POST", "/").script("blocking; chunk; gate go; read; body x").field("content-length", "10");
    connection.send(request.tail("a").bytes())?;
    cx.wait_for("at go")?;
    connection.reset();
    cx.open("go")?;
    let seen = cx.wait_for("read-error")?;
    ensure_eq!(seen.details("read-error"), ["disconnected"], "the read error");
    Ok(())
}

fn reader_learns(cx: &mut Context) -> Result<(), Failure> {
    for reset in [false, true] {
        cx.again();
        let mut connection = cx.connect()?;
        let request =
            cx.request("POST", "/").script("chunk; read; disconnected?; body x").field("content-length", "10");
        connection.send(request.tail("a").bytes())?;
        cx.wait_for("read-data")?;
        cx.pause(600)?;
        if reset {
            connection.reset();
        } else {
            connection.finish();
        }
        let seen = cx.wait_for("read-error")?;
        ensure_eq!(seen.details("read-error"), ["disconnected"], "the read error, after a reset: {reset}");
        let seen = cx.wait_for("flag")?;
        ensure_eq!(seen.details("flag"), ["true"], "whether the client is gone, after a reset: {reset}");
    }
    Ok(())
}

fn blocking_runs_on(cx: &mut Context) -> Result<(), Failure> {
    for reset in [false, true] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get("blocking; gate go; body x").bytes())?;
        cx.wait_for("at go")?;
        if reset {
            connection.reset();
        } else {
            connection.finish();
        }
        cx.pause(600)?;
        ensure!(!cx.seen()?.has("handler-panicked"), "a blocking call was unwound");
        cx.open("go")?;
        cx.wait_for("handler-returned")?;
    }
    Ok(())
}

fn blocked_iterator(cx: &mut Context) -> Result<(), Failure> {
    for script in [
        "iter text:a gate:go text:b text:c text:d text:e text:f",
        "blocking; iter text:a gate:go text:b text:c text:d text:e text:f",
    ] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        connection.head()?;
        connection.take(1, "the first item")?;
        cx.wait_for("at go")?;
        connection.reset();
        cx.pause(600)?;
        let asked = cx.seen()?.count("asked");
        cx.open("go")?;
        let seen = cx.wait_for("body-dropped")?;
        ensure_eq!(seen.count("asked"), asked, "items asked for after the disconnect ({script})");
        ensure_eq!(seen.count("body-dropped"), 1, "how often the iterator was dropped");
    }
    Ok(())
}

fn asked_again(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("watch; disconnected; watch; disconnected; record twice; body x").bytes())?;
    cx.wait_for("call")?;
    connection.finish();
    let seen = cx.wait_for_times("saw-disconnect true", 4)?;
    ensure_eq!(seen.count("saw-disconnect"), 4, "tasks that saw it");
    let seen = cx.wait_for("twice")?;
    ensure_eq!(seen.count("disconnected"), 2, "how often the handler could await it");
    Ok(())
}

fn detached(cx: &mut Context) -> Result<(), Failure> {
    for reset in [false, true] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get("spawn go; gate never").bytes())?;
        cx.wait_for("at never")?;
        if reset {
            connection.reset();
        } else {
            connection.finish();
        }
        cx.wait_for("handler-cancelled")?;
        ensure!(!cx.seen()?.has("spawned-cancelled"), "the spawned future was dropped with the handler");
        cx.open("go")?;
        cx.wait_for("spawned-done")?;
    }
    Ok(())
}

fn deadline(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.timeouts.graceful_shutdown = Duration::from_millis(300);
    let running = life.start(config)?;
    let cx = &running.context;
    let mut handler = cx.connect()?;
    handler.send(cx.get("gate never").bytes())?;
    running.wait_for("at never")?;
    let mut body = cx.connect()?;
    body.send(cx.get("stream text:a pending; hook").bytes())?;
    body.head()?;
    let (records, token) = (running.records.clone(), cx.token().to_owned());
    running.trigger();
    let ended = running.wait()?;
    ensure!(ended.is_ok(), "the server ended with an error: {ended:?}");
    let seen = crate::context::Seen::new(records.events(&token));
    // What was spawned need not run once more; the handler itself is told before it is dropped.
    for event in ["cancelled-knowing true", "handler-cancelled", "body-dropped", "hook aborted"] {
        ensure!(seen.has(event), "\"{event}\" was not recorded: {}", seen.summary());
    }
    handler.rest()?;
    let rest = body.rest()?;
    ensure!(!rest.ends_with(b"0\r\n\r\n"), "a body dropped at the deadline looks complete");
    Ok(())
}
