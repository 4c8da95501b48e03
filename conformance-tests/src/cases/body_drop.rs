//! When a body is dropped, and what else ends with it. BOD-09 to BOD-15, BOD-18

use std::time::Instant;

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::{Context, Seen};
use crate::wire::Connection;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "body_drop",
    title: "Ends of bodies",
    cases: &[
        Case::must(
            "dropped_once_after_its_end",
            "a body is dropped exactly once after its last item",
            &["BOD-09", "BOD-13"],
            after_end,
        ),
        Case::must(
            "dropped_on_disconnect",
            "a reset drops a pending body within 500 ms",
            &["BOD-10", "DIS-07a"],
            on_reset,
        ),
        Case::must(
            "dropped_on_disconnect_while_flowing",
            "also one that is being sent",
            &["BOD-10", "ERR-07c"],
            on_reset_flowing,
        ),
        Case::must(
            "dropped_after_an_error",
            "a failed body is dropped once and not asked again",
            &["BOD-11a", "BOD-13", "BOD-14a"],
            after_error,
        )
        .needs("http1"),
        Case::must(
            "dropped_after_a_late_error",
            "also where what was yielded before has arrived, and the client can see it",
            &["BOD-11a", "BOD-13", "BOD-14a"],
            after_late_error,
        ),
        Case::must(
            "dropped_after_a_late_panic",
            "and where that was a panic",
            &["BOD-11b", "BOD-13", "ERR-04a"],
            after_late_panic,
        )
        .needs("panic-unwind"),
        Case::must(
            "dropped_after_a_panic",
            "a panicked body is dropped once and not asked again",
            &["BOD-11b", "BOD-13", "ERR-04a"],
            after_panic,
        )
        .needs("http1")
        .needs("panic-unwind"),
        Case::must(
            "panicked_sender_aborts",
            "a channel whose sender a panic dropped looks truncated",
            &["BOD-22", "FRM-07"],
            panicked_sender,
        )
        .needs("panic-unwind"),
        Case::must(
            "dropped_when_refused",
            "the body of a response that can't be sent is dropped once",
            &["BOD-12"],
            when_refused,
        ),
        Case::must(
            "failure_is_truncation",
            "what was yielded before is sent, and no end",
            &["BOD-14a", "FRM-07", "ERR-04b"],
            truncation,
        ),
        Case::must(
            "failure_of_a_sized_body_is_truncation",
            "a body with Content-Length ends short",
            &["BOD-14a", "ERR-04b"],
            sized_truncation,
        )
        .needs("http1"),
        Case::should(
            "failure_without_framing_is_a_reset",
            "a body that ends with the connection is reset",
            &["BOD-14b"],
            reset_truncation,
        ),
        Case::should(
            "half_closed_without_framing_is_a_reset",
            "and where it is dropped because its client has ended",
            &["BOD-14b"],
            reset_half_closed,
        ),
        Case::must(
            "blocking_iterator_holds_up_nobody",
            "others are served while iterators block",
            &["BOD-15", "CON-02"],
            blocking_iterator,
        ),
        Case::must("hook_runs_once_after_success", "the hook tells that all was sent", &["BOD-18"], hook_success),
        Case::must("hook_runs_once_after_failure", "and that it was not: error, disconnect", &["BOD-18"], hook_failure),
    ],
};

const KINDS: [&str; 4] = ["stream", "iter", "channel 1 thread", "channel 1 task"];

/// Dropped once, and not asked again.
fn once(seen: &Seen, what: &str) -> Result<(), Failure> {
    ensure_eq!(seen.count("body-dropped"), 1, "{what}: how often the body was dropped");
    ensure!(!seen.has("asked-after-end"), "{what}: the body was asked after its end");
    Ok(())
}

fn after_end(cx: &mut Context) -> Result<(), Failure> {
    for kind in [
        "stream",
        "iter",
        "hinted 2 2",
        "blocking; iter",
        "header content-length 2; stream",
        "header content-length 2; iter",
    ] {
        for http10 in [false, true] {
            cx.again();
            let request = cx.get(&format!("{kind} text:a text:b"));
            let request = if http10 { request.http10() } else { request };
            let (_, response) = cx.answered(&request, 200)?;
            ensure_eq!(response.text(), "ab", "the body");
            once(&cx.wait_for("body-dropped")?, kind)?;
        }
    }
    // Nothing more happens to it when the connection goes on.
    cx.again();
    let (mut connection, _) = cx.answered(&cx.get("stream text:a"), 200)?;
    cx.wait_for("body-dropped")?;
    connection.send(cx.get("body next").bytes())?;
    connection.response("GET")?;
    once(&cx.seen()?, "after the next request")
}

fn on_reset(cx: &mut Context) -> Result<(), Failure> {
    for body in [
        "stream text:a pending",
        "stream text:a gate:never text:b",
        "channel 1 task text:a gate:never",
        "hinted 9 9 text:a pending",
    ] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(body).bytes())?;
        connection.head()?;
        connection.take(1, "the first item")?;
        let reset = Instant::now();
        connection.reset();
        // A channel's own body is the server's; what the feeder holds is dropped when it is released.
        let event = if body.starts_with("channel") { "at never" } else { "body-dropped" };
        let seen = cx.wait_for(event)?;
        let took = reset.elapsed();
        ensure!(took.as_millis() < 1500, "{body}: the body was dropped {took:?} after the reset");
        if event == "body-dropped" {
            once(&seen, body)?;
        }
    }
    // A feeder of a channel learns of it from its sender.
    cx.again();
    let mut connection = cx.connect()?;
    connection.send(cx.get("channel 1 thread text:a gate:go times:50:text:b").bytes())?;
    connection.head()?;
    connection.reset();
    cx.pause(500)?;
    cx.open("go")?;
    cx.wait_for("send-error").map(drop)
}

fn on_reset_flowing(cx: &mut Context) -> Result<(), Failure> {
    for kind in ["stream forever:size:65536", "iter forever:size:65536", "channel 2 thread forever:size:65536"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(kind).bytes())?;
        connection.take(200_000, "the beginning")?;
        connection.reset();
        once(&cx.wait_for("body-dropped")?, kind)?;
        cx.answered(&cx.get("body served"), 200)?;
    }
    Ok(())
}

/// A body that breaks after its first item is dropped once, never asked again, and its connection ends.
fn breaks(cx: &mut Context, how: &str) -> Result<(), Failure> {
    for kind in KINDS {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("{kind} text:a {how} text:b")).bytes())?;
        let response = connection.response("GET")?;
        ensure!(response.truncated, "a body that broke off looks complete ({kind})");
        ensure_eq!(response.text(), "a", "what was yielded before ({kind})");
        connection.rest()?;
        once(&cx.wait_for("body-dropped")?, kind)?;
    }
    cx.again();
    cx.answered(&cx.get("body served"), 200).map(drop)
}

/// A body that breaks when what was yielded before has arrived: also behind who takes all of it back if it is known early enough.
fn breaks_late(cx: &mut Context, how: &str) -> Result<(), Failure> {
    for kind in KINDS {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("{kind} text:a gate:go {how} text:b")).close().bytes())?;
        let head = connection.head()?;
        ensure_eq!(head.status, 200, "the status ({kind})");
        cx.wait_for("at go")?;
        cx.open("go")?;
        let rest = connection.rest()?;
        let shown = crate::text::show(&rest, 200);
        ensure!(!rest.ends_with(b"0\r\n\r\n"), "a body that broke off looks complete ({kind}): {shown}");
        ensure!(!rest.contains(&b'b'), "what is behind the failure was sent ({kind}): {shown}");
        once(&cx.wait_for("body-dropped")?, kind)?;
    }
    cx.again();
    cx.answered(&cx.get("body served"), 200).map(drop)
}

fn after_late_error(cx: &mut Context) -> Result<(), Failure> {
    breaks_late(cx, "error")
}

fn after_late_panic(cx: &mut Context) -> Result<(), Failure> {
    breaks_late(cx, "panic")
}

fn after_error(cx: &mut Context) -> Result<(), Failure> {
    breaks(cx, "error")
}

fn after_panic(cx: &mut Context) -> Result<(), Failure> {
    breaks(cx, "panic")
}

fn panicked_sender(cx: &mut Context) -> Result<(), Failure> {
    for capacity in [1, 16] {
        for feeder in ["thread", "task"] {
            let script = format!("channel {capacity} {feeder} text:a text:b panic");
            let mut connection = cx.connect()?;
            connection.send(cx.get(&script).bytes())?;
            let response = connection.response("GET")?;
            ensure!(response.truncated, "half a body was taken for the whole ({feeder}, {capacity})");
            connection.closed()?;
        }
    }
    Ok(())
}

fn when_refused(cx: &mut Context) -> Result<(), Failure> {
    for script in
        ["header content-length x", "header content-length 1; header content-length 2", "status 101", "status 100"]
    {
        for kind in ["stream", "iter"] {
            cx.again();
            let mut connection = cx.connect()?;
            connection.send(cx.get(&format!("{script}; {kind} text:a")).bytes())?;
            ensure_eq!(connection.head()?.status, 500, "the status ({script})");
            let seen = cx.wait_for("body-dropped")?;
            once(&seen, script)?;
            ensure!(!seen.has("asked"), "{script}: the body was asked for an item");
        }
    }
    // The same where the handler itself fails after it made one: it is the application's own to drop.
    cx.again();
    cx.answered(&cx.get("stream text:a; error no"), 500)?;
    once(&cx.wait_for("body-dropped")?, "after an error")
}

fn truncation(cx: &mut Context) -> Result<(), Failure> {
    for kind in KINDS {
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("status 201; {kind} text:one text:two size:70000 error")).bytes())?;
        // Anything sent after it would be taken for the next request's.
        let _ = connection.send(cx.get("body next").bytes());
        truncated(connection, kind)?;
        // Octets that nobody reads must not destroy what is on its way. [KAP-13] RFC 9112 §9.6
        cx.again();
        let mut connection = cx.connect()?;
        connection.small_window();
        let request = cx.get(&format!("status 201; {kind} text:one text:two size:70000 error"));
        let behind = cx.get("body next").bytes().repeat(2_000);
        connection.send([request.bytes(), behind].concat())?;
        cx.wait_for("body-dropped")?;
        truncated(connection, kind)?;
        cx.again();
    }
    Ok(())
}

fn truncated(mut connection: Connection, kind: &str) -> Result<(), Failure> {
    let response = connection.response("GET")?;
    ensure!(response.truncated, "a failed body looks complete ({kind})");
    ensure_eq!(response.body.len(), 70_006, "octets yielded before the failure ({kind})");
    let rest = connection.rest()?;
    ensure!(rest.is_empty(), "octets after a failed body: {}", crate::text::show(&rest, 200));
    Ok(())
}

fn sized_truncation(cx: &mut Context) -> Result<(), Failure> {
    for script in [
        "hinted 10 10 text:abc error",
        "header content-length 10; stream text:abc error",
        "header content-length 10; iter text:abc error",
    ] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        let response = connection.response("GET")?;
        ensure!(response.truncated, "a failed body looks complete ({script})");
        ensure_eq!(response.text(), "abc", "octets yielded before the failure ({script})");
    }
    Ok(())
}

fn reset_truncation(cx: &mut Context) -> Result<(), Failure> {
    for kind in KINDS {
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("{kind} text:abc gate:go error")).http10().bytes())?;
        let head = connection.head()?;
        ensure_eq!(head.framing("GET")?, crate::wire::Framing::Close, "the framing");
        ensure_eq!(connection.take(3, "the items before")?, b"abc".to_vec(), "the items before the failure");
        cx.open("go")?;
        connection.rest()?;
        ensure_eq!(connection.was_reset(), Some(true), "whether the connection was reset ({kind})");
        cx.again();
    }
    Ok(())
}

fn reset_half_closed(cx: &mut Context) -> Result<(), Failure> {
    for kind in ["stream", "channel 1 task"] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("{kind} text:abc gate:never")).http10().bytes())?;
        connection.head()?;
        ensure_eq!(connection.take(3, "the items before")?, b"abc".to_vec(), "the items before the end");
        connection.finish();
        connection.rest()?;
        ensure_eq!(connection.was_reset(), Some(true), "whether the connection was reset ({kind})");
        cx.again();
    }
    Ok(())
}

fn blocking_iterator(cx: &mut Context) -> Result<(), Failure> {
    let mut waiting = Vec::new();
    for script in ["iter text:a gate:go text:b", "blocking; iter text:a gate:go text:b"] {
        for _ in 0..4 {
            let mut connection = cx.connect()?;
            connection.send(cx.get(script).bytes())?;
            waiting.push(connection);
        }
    }
    cx.wait_for_times("at go", 8)?;
    for script in ["body served", "sleep 10; body served", "iter text:served", "blocking; body served"] {
        let (_, response) = cx.answered(&cx.get(script), 200)?;
        ensure_eq!(response.text(), "served", "the response while iterators block");
    }
    cx.open("go")?;
    for connection in &mut waiting {
        ensure_eq!(connection.response("GET")?.text(), "ab", "the body of a blocking iterator");
    }
    Ok(())
}

fn hook_success(cx: &mut Context) -> Result<(), Failure> {
    for (script, bytes) in [
        ("body hello; hook", 5),
        ("stream text:he text:llo; hook", 5),
        ("iter text:he text:llo; hook", 5),
        ("size 300000; hook", 300_000),
        ("hinted 5 5 text:hello; hook", 5),
        ("header content-length 3; stream text:abc; hook", 3),
        ("body; hook", 0),
    ] {
        cx.again();
        cx.answered(&cx.get(script), 200)?;
        let seen = cx.wait_for("hook")?;
        ensure_eq!(seen.details("hook"), [format!("complete {bytes}")], "the hook ({script})");
    }
    Ok(())
}

fn hook_failure(cx: &mut Context) -> Result<(), Failure> {
    for body in ["stream text:a error", "iter text:a error"] {
        cx.again();
        // Who stands in front of a gateway may show nothing of it.
        let _ = cx.exchange(&cx.get(&format!("{body}; hook")));
        let seen = cx.wait_for("hook")?;
        ensure_eq!(seen.details("hook"), ["aborted 1"], "the hook after a failure ({body})");
    }
    for body in ["stream text:a pending", "stream forever:size:65536", "iter forever:size:65536"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("{body}; hook")).bytes())?;
        connection.take(100, "the beginning")?;
        connection.reset();
        let seen = cx.wait_for("hook")?;
        ensure_eq!(seen.count("hook"), 1, "how often the hook ran ({body})");
        ensure!(
            seen.details("hook")[0].starts_with("aborted"),
            "the hook after a reset said {:?}",
            seen.details("hook")
        );
    }
    Ok(())
}
