//! Timeouts: that the reaction comes, never when exactly. LIM-04 to LIM-06, LIM-09

use std::time::Instant;

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::setting::{self, SHORT};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "timeouts",
    title: "Timeouts",
    cases: &[
        Case::must("silent_connection_ends", "a connection that never sends anything", &["LIM-04a"], silent)
            .with(&setting::SHORT_HEADER),
        Case::must("slow_head_ends", "a head that does not end, dripping or not", &["LIM-04a"], slow_head)
            .with(&setting::SHORT_HEADER),
        Case::must("slow_later_head_ends", "counted from the first octet of a later request", &["LIM-04a"], slow_later)
            .with(&setting::SHORT_HEADER),
        Case::should(
            "begun_head_is_408",
            "408 where part of a head had arrived, nothing where none had",
            &["LIM-04b"],
            begun,
        )
        .with(&setting::SHORT_HEADER),
        Case::must("header_timeout_is_for_heads", "bodies and handlers may take longer", &["LIM-04a"], only_heads)
            .with(&setting::SHORT_HEADER),
        Case::must(
            "slow_body_is_a_read_error",
            "where the application waits and nothing comes",
            &["LIM-05", "REQ-11"],
            slow_body,
        )
        .with(&setting::SHORT_BODY),
        Case::must(
            "dripped_framing_is_a_read_error",
            "octets that are no data set no time back",
            &["LIM-05"],
            dripped_framing,
        )
        .with(&setting::SHORT_BODY),
        Case::must("body_timeout_starts_anew", "a body that moves may take long", &["LIM-05"], moving_body)
            .with(&setting::SHORT_BODY),
        Case::must(
            "unread_body_does_not_time_out",
            "nor one the application does not wait for",
            &["LIM-05"],
            unread_body,
        )
        .with(&setting::SHORT_BODY),
        Case::must(
            "dripped_body_holds_no_thread",
            "who sends less than the rate to blocking code ends; who sends more does not, nor who holds no thread",
            &["LIM-12"],
            dripped_body,
        ),
        Case::must("client_that_takes_nothing_ends", "the body is dropped after the write timeout", &["LIM-06"], write)
            .with(&setting::SHORT_WRITE),
        Case::must(
            "stuck_pipelines_end",
            "answers to pipelined requests too, and they hold up nobody",
            &["LIM-06"],
            stuck_pipelines,
        )
        .needs("http1")
        .with(&setting::SHORT_WRITE),
        Case::must("write_timeout_starts_anew", "a slow application is no slow client", &["LIM-06"], slow_application)
            .with(&setting::SHORT_WRITE),
        Case::should("slow_handler_is_503", "503 and the handler dropped after its timeout", &["LIM-09"], handler)
            .with(&setting::SHORT_HANDLER),
        Case::should(
            "blocking_handler_is_503_in_time",
            "503 while blocking code still holds its thread",
            &["LIM-09"],
            blocking_handler,
        )
        .with(&setting::SHORT_HANDLER),
        Case::should("handler_timeout_is_for_handlers", "a body may take longer", &["LIM-09"], body_after_handler)
            .with(&setting::SHORT_HANDLER),
    ],
};

fn silent(cx: &mut Context) -> Result<(), Failure> {
    let started = Instant::now();
    let mut connection = cx.connect()?;
    connection.rest()?;
    ensure!(started.elapsed() >= SHORT / 2, "a silent connection ended after {:?} already", started.elapsed());
    Ok(())
}

/// The connection ends, with a 408 or nothing.
fn ends(cx: &Context, mut connection: crate::wire::Connection) -> Result<(), Failure> {
    let answer = String::from_utf8_lossy(&connection.rest()?).into_owned();
    ensure!(answer.is_empty() || answer.get(9..12) == Some("408"), "expected 408 or nothing, seen {answer:?}");
    cx.not_called()
}

fn slow_head(cx: &mut Context) -> Result<(), Failure> {
    for part in ["G", "GET / HT", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: a\r\n{t}", "\r\n"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.raw(part))?;
        ends(cx, connection).map_err(|failure| Failure(format!("{part:?}: {failure}")))?;
    }
    // One that drips: each octet is progress, the head as a whole is late.
    cx.again();
    let mut connection = cx.connect()?;
    for octet in
        cx.raw("GET / HTTP/1.1\r\nhost: a\r\n{t}x-drip: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
    {
        if connection.send([octet]).is_err() {
            break;
        }
        cx.pause(25)?;
        cx.again();
    }
    let answer = connection.rest()?;
    ensure!(!answer.starts_with(b"HTTP/1.1 2"), "a head that dripped was served");
    Ok(())
}

fn slow_later(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("body one").bytes())?;
    connection.response("GET")?;
    // Idle for longer than the timeout for heads: that is the keep-alive timeout's business.
    cx.answered(&cx.request("GET", "/").script("sleep 900"), 200)?;
    connection.send(cx.get("body two").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "two", "the response after a pause");
    cx.again();
    connection.send("GET / HTTP/1.1\r\nhost: a\r\n")?;
    ends(cx, connection)
}

fn begun(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send("GET / HTTP/1.1\r\nhost: a\r\n")?;
    ensure_eq!(connection.response("GET")?.status(), 408, "the status where a head had begun");
    connection.closed()?;
    let mut connection = cx.connect()?;
    ensure!(connection.rest()?.is_empty(), "octets to a client that never sent any");
    let mut connection = cx.connect()?;
    connection.send(cx.get("body one").bytes())?;
    connection.response("GET")?;
    connection.send("GET /")?;
    ensure_eq!(connection.response("GET")?.status(), 408, "the status where a later head had begun");
    Ok(())
}

fn only_heads(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("sleep 900; body late").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "late", "the response of a slow handler");
    connection.send(cx.request("POST", "/").script("read; body read").field("content-length", "3").bytes())?;
    cx.answered(&cx.request("GET", "/").script("sleep 900"), 200)?;
    connection.send("abc")?;
    ensure_eq!(connection.response("POST")?.text(), "read", "the response to a slow body");
    Ok(())
}

fn slow_body(cx: &mut Context) -> Result<(), Failure> {
    for face in ["", "blocking; "] {
        for which in 0..3 {
            cx.again();
            let request = cx.request("POST", "/").script(&format!("{face}read; body handled"));
            let request = match which {
                0 => request.field("content-length", "10"),
                1 => request.field("content-length", "10").tail("abc"),
                _ => request.field("transfer-encoding", "chunked").tail("5\r\nhe"),
            };
            let mut connection = cx.connect()?;
            connection.send(request.bytes())?;
            let seen = cx.wait_for("read-error")?;
            ensure_eq!(seen.details("read-error"), ["timed-out"], "the read error");
            ensure!(!seen.has("read-end"), "the application saw an end");
            ensure_eq!(connection.response("POST")?.text(), "handled", "the response");
            connection.closed()?;
        }
    }
    Ok(())
}

fn dripped_framing(cx: &mut Context) -> Result<(), Failure> {
    // More than what drips in the time there is for it.
    const DRIPS: usize = 100;
    for face in ["", "blocking; "] {
        for (before, drip) in [("", "0"), ("1", " "), ("1;", "x"), ("3\r\nabc\r\n", "0"), ("0\r\n", "x: y\r\n")] {
            cx.again();
            let script = format!("{face}read; body handled");
            let request = cx.request("POST", "/").script(&script).field("transfer-encoding", "chunked").tail(before);
            let mut connection = cx.connect()?;
            connection.send(request.bytes())?;
            let mut seen = cx.wait_for("call")?;
            for _ in 0..DRIPS {
                if connection.send(drip).is_err() || seen.has("read-error") {
                    break;
                }
                cx.pause(50)?;
                seen = cx.seen()?;
            }
            let what = |failure| Failure(format!("{before:?} and then {drip:?} ({face}): {failure}"));
            ensure_eq!(seen.details("read-error"), ["timed-out"], "the read error where {drip:?} drips ({face})");
            ensure_eq!(connection.response("POST").map_err(what)?.text(), "handled", "the response");
            connection.closed().map_err(what)?;
        }
    }
    Ok(())
}

fn moving_body(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.request("POST", "/").script("read; body read").field("content-length", "8").bytes())?;
    for octet in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        cx.answered(&cx.request("GET", "/").script("sleep 100"), 200)?;
        connection.send(octet)?;
    }
    ensure_eq!(connection.response("POST")?.text(), "read", "the response to a body that moves");
    Ok(())
}

fn unread_body(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection
        .send(cx.request("POST", "/").script("sleep 900; read; body read").field("content-length", "3").bytes())?;
    cx.wait_for("slept")?;
    connection.send("abc")?;
    ensure_eq!(connection.response("POST")?.text(), "read", "the response");
    cx.seen()?.read_all(b"abc")
}

fn dripped_body(cx: &mut Context) -> Result<(), Failure> {
    let open = |script: &str| {
        let mut connection = cx.connect()?;
        let request = cx.request("POST", "/").script(script).field("content-length", "1000000");
        connection.send(request.tail("a").bytes())?;
        Ok::<_, Failure>(connection)
    };
    let mut slow = open("blocking; read?; body slow")?;
    let mut fast = open("blocking; read?; body fast")?;
    let mut free = open("read?; body free")?;
    let deadline = Instant::now() + crate::wire::patience();
    while !cx.seen()?.has("read-error") {
        ensure!(Instant::now() < deadline, "a client that sends four octets a second is waited for");
        // It may have been ended just now.
        let _ = slow.send("a");
        fast.send("a".repeat(200))?;
        free.send("a")?;
        cx.pause(250)?;
    }
    ensure_eq!(slow.response("POST")?.status(), 408, "the answer to who was too slow");
    for connection in [&mut fast, &mut free] {
        connection.send("a")?;
        connection.finish();
    }
    let seen = cx.wait_for_times("read-error", 3)?;
    let mut kinds = seen.details("read-error");
    kinds.sort_unstable();
    ensure_eq!(kinds, ["disconnected", "disconnected", "timed-out"], "the read errors");
    Ok(())
}

fn write(cx: &mut Context) -> Result<(), Failure> {
    for body in ["stream forever:size:65536", "iter forever:size:65536", "channel 1 thread forever:size:65536"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.small_window();
        connection.send(cx.get(&format!("{body}; hook")).bytes())?;
        connection.head()?;
        // Nothing more is read: the window fills, and the server waits for it in vain.
        let seen = cx.wait_for("hook").map_err(|failure| Failure(format!("{body}: {failure}")))?;
        ensure!(seen.details("hook")[0].starts_with("aborted"), "the hook said {:?}", seen.details("hook"));
        cx.wait_for("body-dropped")?;
        connection.rest()?;
    }
    cx.again();
    let mut connection = cx.connect()?;
    connection.small_window();
    connection.send(cx.get("size 50000000; hook").bytes())?;
    connection.head()?;
    cx.wait_for("hook").map(drop)
}

fn stuck_pipelines(cx: &mut Context) -> Result<(), Failure> {
    /// More than a small server has threads.
    const CLIENTS: usize = 6;
    let mut connections = Vec::new();
    let mut sendings = Vec::new();
    for last in
        ["body last", "sleep 60000", "read; body last", "drop-request; body last", "stream forever:size:65536", ""]
    {
        for _ in 0..CLIENTS {
            let mut connection = cx.connect()?;
            connection.small_window();
            let mut bytes = cx.get("size 20000").bytes().repeat(1000);
            if !last.is_empty() {
                bytes.extend_from_slice(&cx.request("POST", "/").script(last).field("content-length", "10").bytes());
            }
            sendings.push(connection.send_in_background(bytes)?);
            connections.push(connection);
        }
        ensure_eq!(cx.answered(&cx.get("body other"), 200)?.1.text(), "other", "the response to another client");
    }
    for (index, connection) in connections.iter_mut().enumerate() {
        // What is sent on a connection that has ended is answered by a reset; the answers stay unread.
        let deadline = Instant::now() + crate::wire::patience();
        while connection.send("x").is_ok() {
            ensure!(Instant::now() < deadline, "client {index}, which takes nothing, is not ended");
            cx.pause(20)?;
        }
    }
    sendings.into_iter().for_each(crate::wire::Sending::finish);
    ensure_eq!(cx.answered(&cx.get("body after"), 200)?.1.text(), "after", "the response afterwards");
    Ok(())
}

fn slow_application(cx: &mut Context) -> Result<(), Failure> {
    for body in ["stream text:a sleep:900 text:b", "iter text:a sleep:900 text:b"] {
        let (_, response) = cx.answered(&cx.get(body), 200)?;
        ensure_eq!(response.text(), "ab", "the body of a slow application");
    }
    Ok(())
}

fn handler(cx: &mut Context) -> Result<(), Failure> {
    for script in ["gate never; body x", "sleep 20000; body x"] {
        cx.again();
        let (_, response) = cx.answered(&cx.get(script), 503)?;
        ensure!(!response.is_from_application(), "the 503 was made by the application");
        cx.wait_for("handler-cancelled")?;
    }
    // They run on, and their results are thrown away.
    for script in ["blocking; sleep 1500; body x", "busy 1500; body x"] {
        let (_, response) = cx.answered(&cx.get(script), 503)?;
        ensure!(!response.is_from_application(), "{script}: the answer of code that was late");
    }
    ensure_eq!(cx.answered(&cx.get("sleep 10; body quick"), 200)?.1.text(), "quick", "a quick handler's response");
    Ok(())
}

fn blocking_handler(cx: &mut Context) -> Result<(), Failure> {
    // Nothing lets it go before the answer is there.
    for (head, script) in [("GET", "blocking; gate go; body x"), ("POST", "blocking; read; gate go; body x")] {
        cx.again();
        let (_, response) = cx.answered(&cx.request(head, "/").script(script), 503)?;
        ensure!(!response.is_from_application(), "{script}: the 503 was made by the application");
        cx.wait_for("blocking")?;
        cx.open("go")?;
    }
    Ok(())
}

fn body_after_handler(cx: &mut Context) -> Result<(), Failure> {
    let (_, response) = cx.answered(&cx.get("stream text:a sleep:900 text:b"), 200)?;
    ensure_eq!(response.text(), "ab", "a slow body behind a quick handler");
    Ok(())
}
