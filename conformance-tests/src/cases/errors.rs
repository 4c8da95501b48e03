//! What the client sees when the application fails. ERR-01 to ERR-13

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::setting;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "errors",
    title: "Errors and panics",
    cases: &[
        Case::must("error_is_500", "an error of the handler is answered 500", &["ERR-01a"], error),
        Case::should("connection_survives_an_error", "the connection goes on after that 500", &["ERR-01b"], survives),
        Case::must("panic_is_500", "a panic of the handler is answered 500", &["ERR-02a"], panic).needs("panic-unwind"),
        Case::must("panic_stays_where_it_is", "other connections and requests go on", &["ERR-02b"], panic_contained)
            .needs("http1")
            .needs("panic-unwind"),
        Case::must("error_text_stays_inside", "the text of an error or panic is not sent", &["ERR-03a"], generic),
        Case::must(
            "panic_in_a_body_aborts",
            "a panic after the head ends the connection",
            &["ERR-04a", "ERR-04b"],
            body_panic,
        )
        .needs("http1")
        .needs("panic-unwind"),
        Case::must("no_second_head", "a failed body is followed by nothing", &["ERR-04b"], no_second_head)
            .needs("http1"),
        Case::must(
            "parse_errors_are_the_servers",
            "what can't be parsed does not reach the application",
            &["ERR-05"],
            parse_errors,
        ),
        Case::must(
            "dead_client_is_an_error_for_the_writer",
            "the feeder of a channel learns that the client is gone",
            &["ERR-07a"],
            dead_client,
        ),
        Case::must(
            "dead_client_ends_nothing_else",
            "writing to reset connections harms nobody",
            &["ERR-07c"],
            dead_clients,
        ),
        Case::must(
            "panic_in_clean_up_is_contained",
            "drops of handlers, bodies and extensions, and hooks",
            &["ERR-08"],
            clean_up,
        )
        .needs("panic-unwind"),
        Case::must("report_never_fails", "environ.report works at any time", &["ERR-09"], report),
        Case::must(
            "peers_fault_keeps_its_status",
            "a malformed body passed on is a 400",
            &["ERR-11", "KAP-11"],
            malformed,
        ),
        Case::must(
            "too_large_keeps_its_status",
            "a body over the limit passed on is a 413",
            &["ERR-11", "KAP-11"],
            too_large,
        )
        .with(&setting::SMALL_LIMITS),
        Case::must(
            "timed_out_keeps_its_status",
            "a body that did not come, passed on, is a 408",
            &["ERR-11"],
            timed_out,
        )
        .with(&setting::SHORT_BODY),
        Case::must("gone_peer_gets_no_response", "a disconnect passed on closes the connection", &["ERR-12"], gone)
            .needs("http1"),
        Case::must(
            "chosen_status_is_sent",
            "an error with a status is answered with it",
            &["ERR-13", "ERR-03a"],
            chosen,
        ),
    ],
};

const FACES: [&str; 2] = ["", "blocking; "];

fn error(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        for request in [cx.get(&format!("{face}error no")), cx.get(&format!("{face}error no")).http10()] {
            let (_, response) = cx.answered(&request, 500)?;
            ensure!(response.head.has("content-length"), "a 500 without Content-Length");
            ensure!(!response.is_from_application(), "the 500 has fields of the application");
        }
        let mut connection = cx.connect()?;
        connection.send(cx.request("HEAD", "/").script(&format!("{face}error no")).close().bytes())?;
        ensure_eq!(connection.response("HEAD")?.status(), 500, "the status for HEAD");
        connection.closed()?;
    }
    // An error after part of the body was read, and with the body unread.
    cx.answered(&cx.post("chunks 3; error no", "abcdef"), 500)?;
    cx.answered(&cx.post("error no", "abcdef"), 500).map(drop)
}

fn survives(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    for face in FACES {
        connection.send(cx.get(&format!("{face}error no")).bytes())?;
        ensure_eq!(connection.response("GET")?.status(), 500, "the status");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    Ok(())
}

fn panic(cx: &mut Context) -> Result<(), Failure> {
    for script in ["panic", "blocking; panic", "sleep 1; panic", "gate go; panic"] {
        cx.again();
        cx.open("go")?;
        let (_, response) = cx.answered(&cx.get(script), 500)?;
        ensure!(!response.is_from_application(), "the 500 has fields of the application");
    }
    Ok(())
}

fn panic_contained(cx: &mut Context) -> Result<(), Failure> {
    let mut other = cx.connect()?;
    other.send(cx.get("gate other; body other").bytes())?;
    cx.wait_for("at other")?;
    // More panics than there are threads.
    for script in ["panic", "blocking; panic", "stream text:a panic", "iter text:a panic"] {
        for _ in 0..70 {
            cx.exchange(&cx.get(script))?;
        }
    }
    cx.open("other")?;
    ensure_eq!(other.response("GET")?.text(), "other", "the response on another connection");
    for script in ["body served", "blocking; body served", "iter text:served"] {
        ensure_eq!(cx.answered(&cx.get(script), 200)?.1.text(), "served", "a new request");
    }
    Ok(())
}

fn generic(cx: &mut Context) -> Result<(), Failure> {
    let mut scripts = vec!["error the-secret", "blocking; error the-secret"];
    if cfg!(panic = "unwind") {
        scripts.extend(["panic the-secret", "blocking; panic the-secret"]);
    }
    for script in scripts {
        let (_, response) = cx.answered(&cx.get(script), 500)?;
        let head = format!("{:?}", response.head);
        ensure!(
            !response.text().contains("secret") && !head.contains("secret"),
            "the text of the error was sent ({script})"
        );
    }
    Ok(())
}

fn body_panic(cx: &mut Context) -> Result<(), Failure> {
    for body in [
        "stream text:a panic",
        "iter text:a panic",
        "channel 1 thread text:a panic",
        "hinted 9 9 text:a panic",
        "stream panic",
        "iter panic",
    ] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(body).bytes())?;
        let response = connection.response("GET")?;
        ensure_eq!(response.status(), 200, "the status ({body})");
        ensure!(response.truncated, "a body that panicked looks complete ({body})");
        connection.closed()?;
    }
    cx.answered(&cx.get("body served"), 200).map(drop)
}

fn no_second_head(cx: &mut Context) -> Result<(), Failure> {
    for body in ["stream text:a error", "iter text:a error", "hinted 9 9 text:a error", "stream error"] {
        for http10 in [false, true] {
            let request = cx.get(&format!("{body}; status 201"));
            let request = if http10 { request.http10() } else { request };
            let mut connection = cx.connect()?;
            connection.send(request.bytes())?;
            let _ = connection.send(cx.get("status 202").bytes());
            let all = String::from_utf8_lossy(&connection.rest()?).into_owned();
            ensure_eq!(all.matches("HTTP/1.").count(), 1, "heads on the connection ({body}): {all:?}");
        }
    }
    Ok(())
}

fn parse_errors(cx: &mut Context) -> Result<(), Failure> {
    for bytes in
        ["GET\r\n{t}\r\n", "\0\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n{t}no colon\r\n\r\n", "GET / HTTP/x\r\n{t}\r\n"]
    {
        cx.refused(bytes, &[400, 505])?;
    }
    Ok(())
}

fn dead_client(cx: &mut Context) -> Result<(), Failure> {
    for feeder in ["thread", "task"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("channel 2 {feeder} forever:size:65536")).bytes())?;
        connection.take(1000, "the beginning")?;
        connection.reset();
        cx.wait_for("send-error").map_err(|failure| Failure(format!("{feeder}: {failure}")))?;
    }
    Ok(())
}

fn dead_clients(cx: &mut Context) -> Result<(), Failure> {
    for _ in 0..30 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("stream times:100:size:65536").bytes())?;
        connection.reset();
        let mut connection = cx.connect()?;
        connection.send(cx.get("size 5000000").bytes())?;
        connection.reset();
    }
    ensure_eq!(cx.answered(&cx.get("body served"), 200)?.1.text(), "served", "a new request");
    Ok(())
}

fn clean_up(cx: &mut Context) -> Result<(), Failure> {
    for script in [
        "drop-panic; body x",
        "body-drop-panic; stream text:x",
        "body-drop-panic; iter text:x",
        "extension-drop-panic; body x",
        "body x; hook-panic; hook",
        "stream text:x; hook-panic; hook",
        "blocking; body-drop-panic; iter text:x",
    ] {
        cx.again();
        // Where in the response the panic falls is the server's; that nothing else ends is what counts.
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        connection.head().map_err(|failure| Failure(format!("{script}: {failure}")))?;
        if script.contains("hook") {
            cx.wait_for("hook").map_err(|failure| Failure(format!("another hook ({script}): {failure}")))?;
        }
        for _ in 0..5 {
            ensure_eq!(cx.answered(&cx.get("body served"), 200)?.1.text(), "served", "a new request after {script:?}");
        }
    }
    // While the client is going away.
    for script in ["drop-panic; gate never", "body-drop-panic; stream text:a pending"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        cx.wait_for("call")?;
        connection.reset();
        cx.wait_for(if script.starts_with("body") { "body-dropped" } else { "handler-cancelled" })?;
        ensure_eq!(cx.answered(&cx.get("body served"), 200)?.1.text(), "served", "a new request after {script:?}");
    }
    Ok(())
}

fn report(cx: &mut Context) -> Result<(), Failure> {
    for script in ["report one; report two; body x", "report one; gate go; report after; body x"] {
        cx.again();
        cx.open("go")?;
        let (_, response) = cx.answered(&cx.get(script), 200)?;
        ensure_eq!(response.text(), "x", "the body");
    }
    // Also when the client is going away.
    cx.again();
    let mut connection = cx.connect()?;
    connection.send(cx.get("disconnected; report late; record reported; body x").bytes())?;
    cx.wait_for("call")?;
    connection.finish();
    cx.wait_for("reported").map(drop)
}

fn malformed(cx: &mut Context) -> Result<(), Failure> {
    for script in ["read?; body x", "blocking; read?; body x"] {
        let mut connection = cx.connect()?;
        let request = cx.request("POST", "/").script(script).field("transfer-encoding", "chunked").tail("zz\r\n");
        connection.send(request.bytes())?;
        let response = connection.response("POST")?;
        ensure_eq!(response.status(), 400, "the status ({script})");
        ensure!(response.head.lists("connection", "close"), "no Connection: close");
        connection.closed()?;
    }
    Ok(())
}

fn too_large(cx: &mut Context) -> Result<(), Failure> {
    for script in ["read?; body x", "blocking; read?; body x"] {
        let mut connection = cx.connect()?;
        let chunk = vec![b'x'; 10_000];
        let request = cx.request("POST", "/").script(script).chunked(&vec![chunk; 8]);
        let sending = connection.send_in_background(request.bytes())?;
        let response = connection.response("POST")?;
        ensure_eq!(response.status(), 413, "the status ({script})");
        sending.finish();
        connection.closed()?;
    }
    Ok(())
}

fn timed_out(cx: &mut Context) -> Result<(), Failure> {
    for script in ["read?; body x", "blocking; read?; body x"] {
        let mut connection = cx.connect()?;
        let request = cx.request("POST", "/").script(script).field("content-length", "10").tail("123");
        connection.send(request.bytes())?;
        let response = connection.response("POST")?;
        ensure_eq!(response.status(), 408, "the status ({script})");
        connection.closed()?;
    }
    Ok(())
}

fn gone(cx: &mut Context) -> Result<(), Failure> {
    for script in ["read?; body x", "blocking; read?; body x"] {
        cx.again();
        let mut connection = cx.connect()?;
        let request = cx.request("POST", "/").script(script).field("content-length", "10").tail("123");
        connection.send(request.bytes())?;
        connection.finish();
        cx.wait_for("read-error")?;
        let rest = connection.rest()?;
        ensure!(rest.is_empty(), "a response to a client that is gone: {}", crate::text::show(&rest, 200));
    }
    Ok(())
}

fn chosen(cx: &mut Context) -> Result<(), Failure> {
    for status in [400, 403, 404, 409, 418, 429, 500, 502, 503] {
        let (mut connection, response) = cx.answered(&cx.get(&format!("error-status {status} the-secret")), status)?;
        ensure!(!response.text().contains("secret"), "the text of the error was sent");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    Ok(())
}
