//! Responses without a body: HEAD, 204, 205, 304, 1xx. NOB-01 to NOB-11

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::wire::Connection;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "no_body",
    title: "Responses without a body",
    cases: &[
        Case::must(
            "head_has_no_octets",
            "nothing follows the head of an answer to HEAD",
            &["NOB-01a", "NOB-04"],
            head_empty,
        ),
        Case::must("head_has_the_length", "Content-Length as for GET where it is known", &["NOB-01b"], head_length),
        Case::must("head_reaches_application", "HEAD arrives as HEAD", &["NOB-02"], head_is_head),
        Case::must(
            "head_body_is_dropped_unasked",
            "the body is dropped once and never asked",
            &["NOB-03", "BOD-12", "BOD-13"],
            head_dropped,
        ),
        Case::must(
            "head_of_unknown_length",
            "no chunk, no terminator, and the connection goes on",
            &["NOB-04", "NOB-01a"],
            head_unknown,
        ),
        Case::must(
            "no_content_has_nothing",
            "204 without body, Content-Length and Transfer-Encoding",
            &["NOB-05", "BOD-12"],
            no_content,
        ),
        Case::must(
            "not_modified_has_no_body",
            "304 without body and Transfer-Encoding",
            &["NOB-06a", "BOD-12"],
            not_modified,
        ),
        Case::must(
            "not_modified_keeps_fields",
            "304 keeps Content-Length and validators as set",
            &["NOB-06b"],
            not_modified_fields,
        ),
        Case::must(
            "connection_survives",
            "204 and 304 leave the connection usable, also in HTTP/1.0",
            &["NOB-07"],
            survives,
        ),
        Case::must("interim_status_is_500", "a 1xx as the final status is answered 500", &["NOB-08"], interim),
        Case::must(
            "reset_content_is_empty",
            "205 has Content-Length: 0 and nothing else",
            &["NOB-10", "BOD-12"],
            reset_content,
        ),
        Case::must(
            "head_keeps_the_applications_length",
            "a Content-Length the application set on HEAD stays",
            &["NOB-11"],
            head_own_length,
        ),
    ],
};

/// The next response on the connection is "next": nothing of a body lies between.
fn goes_on(cx: &Context, connection: &mut Connection) -> Result<(), Failure> {
    connection.send(cx.get("body next").bytes())?;
    let response = connection.response("GET")?;
    ensure_eq!(response.text(), "next", "the next response on the connection");
    Ok(())
}

const BODIES: [&str; 6] = [
    "body hello",
    "size 100000",
    "stream text:hello",
    "iter text:hello",
    "hinted 5 5 text:hello",
    "channel 1 thread text:hello",
];

fn head_empty(cx: &mut Context) -> Result<(), Failure> {
    for body in BODIES {
        let mut connection = cx.connect()?;
        for status in [200, 404, 500] {
            connection.send(cx.request("HEAD", "/").script(&format!("status {status}; {body}")).bytes())?;
            ensure_eq!(connection.response("HEAD")?.status(), status, "the status ({body})");
            goes_on(cx, &mut connection).map_err(|failure| Failure(format!("after HEAD ({body}): {failure}")))?;
        }
    }
    // The server's own answers have none either.
    let mut connection = cx.connect()?;
    connection.send(cx.request("HEAD", "/").script("error no").close().bytes())?;
    ensure_eq!(connection.response("HEAD")?.status(), 500, "the status of an error");
    connection.closed()
}

fn head_length(cx: &mut Context) -> Result<(), Failure> {
    for body in [
        "body hello",
        "body",
        "size 1000",
        "hinted 5 5 text:hello",
        "file 100 0 - -",
        "header content-length 5; stream text:hello",
        "stream text:a",
        "iter text:a",
    ] {
        let (_, get) = cx.exchange(&cx.get(body))?;
        let (_, head) = cx.exchange(&cx.request("HEAD", "/").script(body))?;
        ensure_eq!(
            head.head.get("content-length"),
            get.head.get("content-length"),
            "Content-Length for HEAD and GET ({body})"
        );
        ensure_eq!(head.status(), get.status(), "the status ({body})");
    }
    Ok(())
}

fn head_is_head(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.request("HEAD", "/"), 200)?;
    ensure_eq!(cx.seen()?.call()?.method, "HEAD", "the method");
    Ok(())
}

/// The body under this token was dropped once and never asked for an item.
fn dropped_unasked(cx: &Context, what: &str) -> Result<(), Failure> {
    let seen = cx.wait_for("body-dropped").map_err(|failure| Failure(format!("{what}: {failure}")))?;
    ensure_eq!(seen.count("body-dropped"), 1, "{what}: how often the body was dropped");
    ensure!(!seen.has("asked"), "{what}: the body was asked for an item");
    Ok(())
}

fn head_dropped(cx: &mut Context) -> Result<(), Failure> {
    for body in [
        "stream text:a text:b",
        "iter text:a text:b",
        "hinted 2 2 text:a text:b",
        "iter gate:never",
        "stream pending",
        "blocking; iter text:a",
    ] {
        cx.again();
        cx.answered(&cx.request("HEAD", "/").script(body), 200)?;
        dropped_unasked(cx, body)?;
    }
    Ok(())
}

fn head_unknown(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    for body in ["stream text:hello", "iter text:hello", "channel 1 task text:hello"] {
        connection.send(cx.request("HEAD", "/").script(body).bytes())?;
        let response = connection.response("HEAD")?;
        ensure!(!response.head.has("content-length"), "a Content-Length was invented for HEAD ({body})");
        goes_on(cx, &mut connection)?;
    }
    Ok(())
}

/// Responses of `status` with every kind of body have none, and drop it.
fn bodiless(cx: &mut Context, status: u16) -> Result<(), Failure> {
    for body in [
        "body hello",
        "body",
        "stream text:hello",
        "iter text:hello",
        "hinted 5 5 text:hello",
        "header content-length 5; body hello",
    ] {
        let mut connection = cx.connect()?;
        cx.again();
        connection.send(cx.get(&format!("status {status}; {body}")).bytes())?;
        let response = connection.response("GET")?;
        ensure_eq!(response.status(), status, "the status ({body})");
        ensure!(!response.head.has("transfer-encoding"), "Transfer-Encoding in a {status} ({body})");
        ensure!(status != 204 || !response.head.has("content-length"), "Content-Length in a 204 ({body})");
        if body.contains("text:") {
            dropped_unasked(cx, body)?;
        }
        goes_on(cx, &mut connection).map_err(|failure| Failure(format!("after a {status} ({body}): {failure}")))?;
    }
    Ok(())
}

fn no_content(cx: &mut Context) -> Result<(), Failure> {
    bodiless(cx, 204)
}

fn not_modified(cx: &mut Context) -> Result<(), Failure> {
    bodiless(cx, 304)
}

fn not_modified_fields(cx: &mut Context) -> Result<(), Failure> {
    let script = "status 304; header content-length 1234; header etag %22x%22; header last-modified Sun,%2006%20Nov%201994%2008:49:37%20GMT";
    let (mut connection, response) = cx.answered(&cx.get(script), 304)?;
    ensure_eq!(response.head.all("content-length"), ["1234"], "the Content-Length");
    ensure_eq!(response.head.all("etag"), ["\"x\""], "the ETag");
    ensure_eq!(response.head.all("last-modified"), ["Sun, 06 Nov 1994 08:49:37 GMT"], "Last-Modified");
    goes_on(cx, &mut connection)
}

fn survives(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    for status in [204, 304, 204, 304] {
        connection.send(cx.get(&format!("status {status}")).bytes())?;
        ensure_eq!(connection.response("GET")?.status(), status, "the status");
    }
    goes_on(cx, &mut connection)?;
    for status in [204, 304] {
        let mut connection = cx.connect()?;
        let request = cx.get(&format!("status {status}")).http10().field("connection", "keep-alive");
        for _ in 0..3 {
            connection.send(request.bytes())?;
            let response = connection.response("GET")?;
            ensure_eq!(response.status(), status, "the status to HTTP/1.0");
            ensure!(
                response.head.lists("connection", "keep-alive"),
                "no Connection: keep-alive with a {status} to HTTP/1.0"
            );
        }
    }
    Ok(())
}

fn interim(cx: &mut Context) -> Result<(), Failure> {
    for status in [100, 101, 102, 103, 199] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("status {status}; body x")).bytes())?;
        let head = connection.head()?;
        ensure_eq!(head.status, 500, "the status where the application returns {status}");
    }
    Ok(())
}

fn reset_content(cx: &mut Context) -> Result<(), Failure> {
    for body in ["body hello", "body", "stream text:hello", "iter text:hello", "header content-length 5; body hello"] {
        cx.again();
        let (mut connection, response) = cx.answered(&cx.get(&format!("status 205; {body}")), 205)?;
        ensure_eq!(response.head.all("content-length"), ["0"], "the Content-Length of a 205 ({body})");
        ensure!(response.body.is_empty(), "a 205 with a body ({body})");
        if body.contains("text:") {
            dropped_unasked(cx, body)?;
        }
        goes_on(cx, &mut connection)?;
    }
    Ok(())
}

fn head_own_length(cx: &mut Context) -> Result<(), Failure> {
    for body in ["body", "body abc", "stream text:abc", "hinted 3 3 text:abc"] {
        let script = format!("header content-length 1234; {body}");
        let (mut connection, response) = cx.answered(&cx.request("HEAD", "/").script(&script), 200)?;
        ensure_eq!(response.head.all("content-length"), ["1234"], "the Content-Length ({body})");
        goes_on(cx, &mut connection)?;
    }
    Ok(())
}
