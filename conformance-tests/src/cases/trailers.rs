//! Trailer fields, both ways. TRL-01 to TRL-06

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::text;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "trailers",
    title: "Trailers",
    cases: &[
        Case::must(
            "request_trailers_arrive",
            "after the body, apart from the header fields",
            &["TRL-01"],
            request_trailers,
        ),
        Case::must(
            "forbidden_trailers_do_not",
            "framing, routing and authentication are dropped or refused",
            &["TRL-02"],
            forbidden,
        ),
        Case::must(
            "malformed_trailers_are_an_error",
            "a malformed trailer section is a read error",
            &["TRL-03"],
            malformed,
        ),
        Case::must("response_trailers_are_sent", "where the client asked for them", &["TRL-04"], sent)
            .needs("trailers"),
        Case::must("trailers_follow_an_empty_body", "whatever it says of its length", &["TRL-04"], empty)
            .needs("trailers"),
        Case::must("unasked_trailers_are_dropped", "the body is complete without them", &["TRL-05a"], unasked),
        Case::must("http10_has_no_trailers", "nor has HTTP/1.0", &["TRL-05b"], http10),
        Case::must("capability_is_true", "trailers are sent exactly where declared", &["TRL-06"], capability),
    ],
};

/// The trailer fields the application saw.
fn seen(cx: &Context) -> Result<Vec<String>, Failure> {
    Ok(cx.seen()?.details("trailer").iter().map(|field| text::decode_text(field)).collect())
}

fn request_trailers(cx: &mut Context) -> Result<(), Failure> {
    let wire = "5\r\nhello\r\n0\r\nx-sum: abc\r\nX-Two:  1 \r\nx-two: 2\r\n\r\n";
    let request = cx.request("POST", "/").script("read; body done").field("transfer-encoding", "chunked");
    let (mut connection, _) = cx.answered(&request.field("trailer", "x-sum").tail(wire), 200)?;
    cx.seen()?.read_all(b"hello")?;
    ensure_eq!(seen(cx)?, ["x-sum abc", "x-two 1", "x-two 2"], "the trailers");
    ensure!(cx.seen()?.call()?.field("x-sum").is_empty(), "a trailer among the header fields");
    connection.send(cx.get("body next").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    // Nothing is left of them for the next request, and a body without has none.
    cx.again();
    connection.send(cx.request("POST", "/").script("read; body done").chunked(&["x"]).bytes())?;
    connection.response("POST")?;
    ensure_eq!(seen(cx)?, Vec::<String>::new(), "the trailers of a request without");
    Ok(())
}

fn forbidden(cx: &mut Context) -> Result<(), Failure> {
    for name in [
        "content-length",
        "transfer-encoding",
        "host",
        "authorization",
        "trailer",
        "connection",
        "cookie",
        "expect",
        "te",
        "content-type",
    ] {
        cx.again();
        let wire = format!("5\r\nhello\r\n0\r\nx-ok: 1\r\n{name}: 3\r\n\r\n");
        let request =
            cx.request("POST", "/").script("read; body done").field("transfer-encoding", "chunked").tail(wire);
        let (_, response) = cx.exchange(&request)?;
        ensure!(matches!(response.status(), 200 | 400), "expected 200 or 400, seen {}", response.status());
        let found = seen(cx)?;
        ensure!(!found.iter().any(|field| field.starts_with(name)), "the trailer {name} was delivered");
        let refused = response.status() == 400 || cx.seen()?.has("read-error");
        ensure!(refused || found == ["x-ok 1"], "the allowed trailer beside {name} is lost: {found:?}");
    }
    Ok(())
}

fn malformed(cx: &mut Context) -> Result<(), Failure> {
    for trailers in ["no colon\r\n", "x y: 1\r\n", ": 1\r\n", "x : 1\r\n", "x: a\0b\r\n"] {
        cx.again();
        let wire = format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
        let request =
            cx.request("POST", "/").script("read; body handled").field("transfer-encoding", "chunked").tail(wire);
        let mut connection = cx.connect()?;
        connection.send(request.bytes())?;
        ensure_eq!(connection.response("POST")?.text(), "handled", "the response ({trailers:?})");
        let found = cx.seen()?;
        ensure_eq!(found.details("read-error"), ["malformed"], "the read error ({trailers:?})");
        ensure!(!found.has("read-end"), "the application saw an end ({trailers:?})");
        connection.closed()?;
    }
    Ok(())
}

const SCRIPT: &str = "header trailer x-sum,%20x-two; stream text:hello; trailers x-sum abc x-two 2";

fn sent(cx: &mut Context) -> Result<(), Failure> {
    for te in ["trailers", "Trailers", "gzip;q=0.5, trailers"] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(SCRIPT).field("te", te).field("connection", "te").bytes())?;
        let response = connection.response("GET")?;
        ensure_eq!(response.text(), "hello", "the body");
        let trailers: Vec<String> = response
            .trailers
            .iter()
            .map(|(name, value)| format!("{name} {}", String::from_utf8_lossy(value)))
            .collect();
        ensure_eq!(trailers, ["x-sum abc", "x-two 2"], "the trailers (te: {te})");
        let named = response.head.all("trailer").join(",").to_ascii_lowercase();
        let mut named: Vec<_> = named.split(',').map(str::trim).collect();
        named.sort_unstable();
        ensure_eq!(named, ["x-sum", "x-two"], "what is named in Trailer (te: {te})");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    Ok(())
}

fn empty(cx: &mut Context) -> Result<(), Failure> {
    for hint in ["0", "-"] {
        let script = format!("header trailer x-sum; trailed {hint} x-sum abc");
        let mut connection = cx.connect()?;
        connection.send(cx.get(&script).field("te", "trailers").field("connection", "te").bytes())?;
        let response = connection.response("GET")?;
        ensure_eq!(response.text(), "", "the body");
        ensure_eq!(response.trailers, [("x-sum".to_owned(), b"abc".to_vec())], "the trailers (hint {hint})");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    Ok(())
}

fn unasked(cx: &mut Context) -> Result<(), Failure> {
    for te in ["", "gzip", "x-trailers", "trailersx"] {
        for body in [
            "stream text:hello",
            "iter text:hello",
            "body hello",
            "hinted 5 5 text:hello",
            "trailed 5 x-sum abc text:hello",
        ] {
            let script = format!("header trailer x-sum; {body}; trailers x-sum abc");
            let mut connection = cx.connect()?;
            connection.send(cx.get(&script).field("te", te).bytes())?;
            let response = connection.response("GET")?;
            ensure_eq!(response.text(), "hello", "the body ({body})");
            ensure!(response.trailers.is_empty(), "trailers nobody asked for (te: {te:?}, {body})");
            ensure!(!response.truncated, "the body is not complete ({body})");
            connection.send(cx.get("body next").bytes())?;
            ensure_eq!(connection.response("GET")?.text(), "next", "the next response ({body})");
        }
    }
    Ok(())
}

fn http10(cx: &mut Context) -> Result<(), Failure> {
    for body in ["stream text:hello", "body hello"] {
        let script = format!("header trailer x-sum; {body}; trailers x-sum abc");
        let (mut connection, response) = cx.answered(&cx.get(&script).http10().field("te", "trailers"), 200)?;
        ensure_eq!(response.text(), "hello", "the body, which is all there is");
        connection.closed()?;
    }
    Ok(())
}

fn capability(cx: &mut Context) -> Result<(), Failure> {
    let about = cx.control("about")?;
    let declared = about.lines().any(|line| line == "capability trailers true");
    let (_, response) = cx.answered(&cx.get(SCRIPT).field("te", "trailers"), 200)?;
    ensure_eq!(!response.trailers.is_empty(), declared, "whether trailers were sent, as declared");
    ensure_eq!(response.text(), "hello", "the body");
    Ok(())
}
