//! Clients that leave, or end their half, with octets unread: a request body, or further requests. DIS-01, DIS-04a, DIS-05a

use std::time::{Duration, Instant};

use super::disconnect::BOUND;
use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::{Context, RequestBuilder};
use crate::text;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "departure",
    title: "Departures with octets unread",
    cases: &[
        Case::must(
            "reset_behind_an_unread_body",
            "is signalled, and drops the handler within 500 ms",
            &["DIS-01a", "DIS-01c", "DIS-07a"],
            reset_body,
        ),
        Case::must(
            "gone_behind_pieces_of_a_body",
            "of which the handler has read one",
            &["DIS-01a", "DIS-01b", "DIS-01c"],
            gone_behind_pieces,
        ),
        Case::must("reset_behind_a_pipelined_request", "as without it", &["DIS-01a", "DIS-01c"], reset_pipelined),
        Case::must("reset_behind_unread_octets_drops_the_body", "of the response", &["BOD-10"], reset_response),
        Case::must("blocking_code_learns_behind_an_unread_body", "by the flag", &["DIS-05a"], blocking_learns),
        Case::must("half_closed_behind_an_unread_body", "the response in full", &["DIS-04a", "REQ-12"], half_closed),
        Case::must(
            "half_closed_behind_a_pipeline",
            "every response in full",
            &["DIS-04a", "KAP-06"],
            half_closed_pipeline,
        ),
    ],
};

/// Requests that do `script` with bodies nobody reads: sent in full, in part, declared, in chunks.
fn unread(cx: &Context, script: &str) -> Vec<(&'static str, RequestBuilder)> {
    let request = || cx.request("POST", "/").script(script);
    vec![
        ("5 octets", request().body("hello")),
        ("100,000 octets", request().body(text::pattern(100_000))),
        ("a body in part", request().field("content-length", "1000").tail("hello")),
        ("none of a body", request().field("content-length", "1000")),
        ("chunks", request().chunked(&["hello", "world"])),
        ("chunks in part", request().field("transfer-encoding", "chunked").tail("5\r\nhel")),
    ]
}

fn reset_body(cx: &mut Context) -> Result<(), Failure> {
    for round in 0..unread(cx, "").len() {
        cx.again();
        let Some((what, request)) = unread(cx, "watch; gate never").into_iter().nth(round) else { break };
        let mut connection = cx.connect()?;
        let sending = connection.send_in_background(request.bytes())?;
        cx.wait_for("at never")?;
        sending.finish();
        let started = Instant::now();
        connection.reset();
        cx.wait_for("handler-cancelled").map_err(|failure| Failure(format!("{what}: {failure}")))?;
        ensure!(started.elapsed() < BOUND, "{what}: the handler was dropped after {:?}", started.elapsed());
        cx.wait_for_times("saw-disconnect true", 2)?;
    }
    Ok(())
}

/// The pieces come in one packet, while the handler waits for the first of them.
fn gone_behind_pieces(cx: &mut Context) -> Result<(), Failure> {
    for script in ["watch; chunk; gate never", "watch; chunk; drop-request; gate never"] {
        for resets in [true, false] {
            cx.again();
            let mut connection = cx.connect()?;
            let request = cx.request("POST", "/").script(script).field("transfer-encoding", "chunked");
            connection.send(request.bytes())?;
            cx.wait_for("call")?;
            cx.pause(50)?;
            connection.send(b"5\r\nhello\r\n".repeat(3))?;
            cx.wait_for("at never")?;
            let started = Instant::now();
            if resets {
                connection.reset();
            } else {
                drop(connection);
            }
            let what = format!("{script}, {}", if resets { "reset" } else { "closed" });
            cx.wait_for("handler-cancelled").map_err(|failure| Failure(format!("{what}: {failure}")))?;
            // Closed in order, the handler has its grace once more: who reads nothing is told late. [DIS-04]
            let bound = if resets { BOUND } else { 2 * BOUND };
            ensure!(started.elapsed() < bound, "{what}: the handler was dropped after {:?}", started.elapsed());
            cx.wait_for_times("saw-disconnect true", 2)?;
        }
    }
    Ok(())
}

fn reset_pipelined(cx: &mut Context) -> Result<(), Failure> {
    for count in [1, 1000] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get("watch; gate never").bytes())?;
        cx.wait_for("at never")?;
        let more = cx.request("GET", "/2").aside().script("body more").bytes().repeat(count);
        connection.send_what_fits(&more, Duration::from_millis(200));
        let started = Instant::now();
        connection.reset();
        cx.wait_for("handler-cancelled").map_err(|failure| Failure(format!("{count} more: {failure}")))?;
        ensure!(started.elapsed() < BOUND, "{count} more: the handler was dropped after {:?}", started.elapsed());
        cx.wait_for_times("saw-disconnect true", 2)?;
    }
    Ok(())
}

fn reset_response(cx: &mut Context) -> Result<(), Failure> {
    for script in ["stream text:x gate:never", "stream text:x forever:size:65536", "iter text:x forever:size:65536"] {
        for round in 0..unread(cx, "").len() {
            cx.again();
            let Some((what, request)) = unread(cx, script).into_iter().nth(round) else { break };
            let mut connection = cx.connect()?;
            connection.small_window();
            let sending = connection.send_in_background(request.bytes())?;
            cx.wait_for("asked 1")?;
            sending.finish();
            let started = Instant::now();
            connection.reset();
            cx.wait_for("body-dropped").map_err(|failure| Failure(format!("{what}, {script}: {failure}")))?;
            ensure!(started.elapsed() < BOUND, "{what}, {script}: dropped after {:?}", started.elapsed());
        }
    }
    Ok(())
}

fn blocking_learns(cx: &mut Context) -> Result<(), Failure> {
    for round in 0..unread(cx, "").len() {
        cx.again();
        let script = "blocking; gate go; until-disconnected; body late";
        let Some((what, request)) = unread(cx, script).into_iter().nth(round) else { break };
        let mut connection = cx.connect()?;
        let sending = connection.send_in_background(request.bytes())?;
        cx.wait_for("at go")?;
        sending.finish();
        connection.reset();
        cx.open("go")?;
        cx.wait_for("flag true").map_err(|failure| Failure(format!("{what}: {failure}")))?;
    }
    Ok(())
}

fn half_closed(cx: &mut Context) -> Result<(), Failure> {
    for script in ["body hello", "sleep 2; body hello", "stream text:hel sleep:2 text:lo", "blocking; body hello"] {
        for size in [1, 5000, 60_000] {
            let mut connection = cx.connect()?;
            connection.send(cx.post(script, text::pattern(size)).bytes())?;
            connection.finish();
            let response = connection
                .response("POST")
                .map_err(|failure| Failure(format!("{script}, {size} octets unread: {failure}")))?;
            ensure_eq!(response.text(), "hello", "the response ({script}, {size} octets unread)");
            ensure!(!response.truncated, "the response is not complete ({script}, {size} octets unread)");
        }
    }
    Ok(())
}

fn half_closed_pipeline(cx: &mut Context) -> Result<(), Failure> {
    for script in ["body hello", "sleep 2; body hello", "stream text:hel sleep:2 text:lo", "blocking; body hello"] {
        let mut connection = cx.connect()?;
        for _ in 0..5 {
            connection.send(cx.get(script).bytes())?;
        }
        connection.finish();
        for number in 0..5 {
            let response = connection
                .response("GET")
                .map_err(|failure| Failure(format!("{script}, response {number}: {failure}")))?;
            ensure_eq!(response.text(), "hello", "response {number} ({script})");
        }
    }
    Ok(())
}
