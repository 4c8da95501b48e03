//! Expect and 100 Continue. EXP-01 to EXP-05

use std::time::{Duration, Instant};

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::{Context, RequestBuilder};
use crate::wire::Connection;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "expect",
    title: "Expect",
    cases: &[
        Case::must(
            "continue_on_first_read",
            "100 is sent when the body is first read, and not before",
            &["EXP-01a", "EXP-01b"],
            on_first_read,
        ),
        Case::must("continue_for_a_blocking_read", "also for a blocking application", &["EXP-01a"], on_blocking_read),
        Case::must("continue_for_a_chunked_body", "also where the body is chunked", &["EXP-01a"], on_chunked),
        Case::must("no_continue_without_a_read", "no 100 where the application answers unread", &["EXP-02a"], unread),
        Case::must(
            "after_no_continue_nothing_is_lost",
            "then the connection closes, or the body is still a body",
            &["EXP-02b", "REQ-12"],
            after_unread,
        ),
        Case::must(
            "end_without_continue_is_announced",
            "a client that then leaves its body out was told of the end, or is waited for",
            &["EXP-02b", "REQ-29"],
            announced,
        ),
        Case::must("ignored_in_http10", "no 100 to HTTP/1.0", &["EXP-03a", "RSP-11"], http10),
        Case::must("value_ignores_case", "100-Continue and 100-CONTINUE count", &["EXP-03b"], any_case),
        Case::must("no_continue_without_a_body", "no 100 where there is no body", &["EXP-03c"], no_body),
        Case::must("unknown_expectation_is_417", "other expectations are answered 417", &["EXP-04"], unknown),
        Case::must("at_most_one_continue", "however often the application reads", &["EXP-05"], at_most_one),
        Case::must(
            "no_continue_after_the_body_came",
            "a client that did not wait loses nothing",
            &["EXP-01a", "EXP-05"],
            did_not_wait,
        ),
    ],
};

fn expecting(cx: &Context, script: &str) -> RequestBuilder {
    cx.request("POST", "/").script(script).field("expect", "100-continue").field("content-length", "5")
}

/// Reads the interim response, sends `body`, and reads the final response.
fn goes_on(connection: &mut Connection, body: &str) -> Result<(), Failure> {
    let interim = connection.head()?;
    ensure_eq!(interim.status, 100, "the interim status");
    ensure!(!interim.has("content-length") && !interim.has("transfer-encoding"), "framing fields in a 100");
    connection.send(body)?;
    let response = connection.response("POST")?;
    ensure!(response.interim.is_empty(), "a second interim response");
    ensure_eq!(response.text(), "done", "the final response");
    Ok(())
}

fn on_first_read(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(expecting(cx, "gate go; read; body done").bytes())?;
    cx.wait_for("at go")?;
    connection.nothing_arrived("before the application read the body")?;
    cx.open("go")?;
    goes_on(&mut connection, "hello")?;
    cx.seen()?.read_all(b"hello")?;
    // The connection goes on.
    connection.send(cx.get("body next").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    Ok(())
}

fn on_blocking_read(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(expecting(cx, "blocking; gate go; read; body done").bytes())?;
    cx.wait_for("at go")?;
    connection.nothing_arrived("before the application read the body")?;
    cx.open("go")?;
    goes_on(&mut connection, "hello")?;
    cx.seen()?.read_all(b"hello")
}

fn on_chunked(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let request = cx.request("POST", "/").script("gate go; read; body done").field("expect", "100-continue");
    connection.send(request.field("transfer-encoding", "chunked").bytes())?;
    cx.wait_for("at go")?;
    connection.nothing_arrived("before the application read the body")?;
    cx.open("go")?;
    goes_on(&mut connection, "5\r\nhello\r\n0\r\n\r\n")?;
    cx.seen()?.read_all(b"hello")
}

fn unread(cx: &mut Context) -> Result<(), Failure> {
    for script in ["status 403; body no", "drop-request; status 403; body no", "blocking; status 403; body no"] {
        let mut connection = cx.connect()?;
        connection.send(expecting(cx, script).bytes())?;
        let response = connection.response("POST")?;
        ensure_eq!(response.status(), 403, "the status");
        ensure!(response.interim.is_empty(), "a 100 though nobody read the body");
        ensure_eq!(response.text(), "no", "the body");
    }
    Ok(())
}

fn after_unread(cx: &mut Context) -> Result<(), Failure> {
    let body = cx.request("GET", "/smuggled").bytes();
    let mut connection = cx.connect()?;
    let request = cx.request("POST", "/").script("status 403; body no").field("expect", "100-continue");
    connection.send(request.field("content-length", body.len().to_string()).bytes())?;
    ensure_eq!(connection.response("POST")?.status(), 403, "the status");
    // The client may have begun to send the body before it saw the answer.
    let _ = connection.send(&body);
    let _ = connection.send(cx.request("GET", "/next").script("body next").bytes());
    if !connection.peek_end()? {
        ensure_eq!(connection.response("GET")?.text(), "next", "the response to the next request");
    }
    super::request_body::nothing_smuggled(cx)
}

fn announced(cx: &mut Context) -> Result<(), Failure> {
    /// Longer than a server waits that would close without having said so.
    const SILENCE: Duration = Duration::from_secs(7);
    let mut silent = Vec::new();
    for script in ["status 403; body no", "drop-request; status 403; body no", "blocking; status 403; body no"] {
        for framing in [("content-length", "5"), ("transfer-encoding", "chunked")] {
            let mut connection = cx.connect()?;
            let request = cx.request("POST", "/").script(script).field("expect", "100-continue");
            connection.send(request.field(framing.0, framing.1).bytes())?;
            let response = connection.response("POST")?;
            ensure_eq!(response.status(), 403, "the status");
            if response.head.lists("connection", "close") {
                connection.closed()?;
            } else {
                silent.push((connection, framing.0, Instant::now()));
            }
        }
    }
    for (mut connection, framing, since) in silent {
        connection.stays_silent(SILENCE.saturating_sub(since.elapsed()), "after a response that announced no end")?;
        connection.send(if framing == "content-length" { "hello" } else { "5\r\nhello\r\n0\r\n\r\n" })?;
        connection.send(cx.request("GET", "/next").script("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the response to the next request");
    }
    Ok(())
}

fn http10(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(expecting(cx, "chunks 5; body done").http10().bytes())?;
    cx.wait_for("call")?;
    connection.nothing_arrived("in answer to HTTP/1.0")?;
    connection.send("hello")?;
    let response = connection.response("POST")?;
    ensure!(response.interim.is_empty(), "an interim response to HTTP/1.0");
    ensure_eq!(response.text(), "done", "the final response");
    Ok(())
}

fn any_case(cx: &mut Context) -> Result<(), Failure> {
    for value in ["100-Continue", "100-CONTINUE", " 100-continue "] {
        let mut connection = cx.connect()?;
        let request = cx.request("POST", "/").script("read; body done").field("Expect", value);
        connection.send(request.field("content-length", "5").bytes())?;
        goes_on(&mut connection, "hello")?;
    }
    Ok(())
}

fn no_body(cx: &mut Context) -> Result<(), Failure> {
    for request in [
        cx.get("read; body done").field("expect", "100-continue"),
        cx.post("read; body done", "").field("expect", "100-continue"),
    ] {
        let (_, response) = cx.answered(&request, 200)?;
        ensure!(response.interim.is_empty(), "a 100 where there is no body");
    }
    Ok(())
}

fn unknown(cx: &mut Context) -> Result<(), Failure> {
    for value in ["foo", "200-ok", "100-continue, foo", "100-continue;a=b", "100-continued"] {
        cx.refused(
            format!("POST / HTTP/1.1\r\nhost: a\r\n{{t}}expect: {value}\r\ncontent-length: 3\r\n\r\nabc"),
            &[417],
        )
        .map_err(|failure| Failure(format!("expect {value:?}: {failure}")))?;
        cx.refused(format!("GET / HTTP/1.1\r\nhost: a\r\n{{t}}expect: {value}\r\n\r\n"), &[417])?;
    }
    Ok(())
}

fn at_most_one(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(expecting(cx, "chunks 2; chunks 2; read; read; body done").bytes())?;
    ensure_eq!(connection.head()?.status, 100, "the interim status");
    for octet in ["h", "e", "l", "l", "o"] {
        connection.send(octet)?;
    }
    let response = connection.response("POST")?;
    ensure!(response.interim.is_empty(), "a second interim response");
    ensure_eq!(response.text(), "done", "the final response");
    Ok(())
}

fn did_not_wait(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(expecting(cx, "read; body done").tail("hello").bytes())?;
    let response = connection.response("POST")?;
    ensure!(response.interim.len() <= 1, "several interim responses");
    ensure_eq!(response.text(), "done", "the final response");
    cx.seen()?.read_all(b"hello")
}
