//! What is said on a stream of HTTP/2, where other code of a server meets the same requirements. HDR-19 and those of other
//! chapters

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::setting::SMALL_LIMITS;
use crate::text;
use crate::wire::http2::{AUTHORITY, Http2};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2",
    title: "HTTP/2",
    cases: &[
        Case::must("authority_is_the_host", "one Host field, with or without another", &["HDR-19"], authority)
            .needs("http2"),
        Case::must("target_is_in_origin_form", "raw, as in HTTP/1.1", &["HDR-19", "TGT-04"], target).needs("http2"),
        Case::must("cookies_are_one_field", "also where the client sends crumbs", &["HDR-20"], cookies).needs("http2"),
        Case::must("bodies_are_exact", "both ways, with their length", &["REQ-01", "REQ-02a", "BOD-01"], bodies)
            .needs("http2"),
        Case::must("content_length_is_kept", "or the body is no whole one", &["REQ-03", "REQ-10"], lengths)
            .needs("http2"),
        Case::must(
            "head_has_no_octets",
            "the body is dropped unread, its length is told",
            &["NOB-01a", "NOB-01b", "NOB-02", "NOB-03"],
            head,
        )
        .needs("http2"),
        Case::must("bodiless_statuses_have_no_body", "204, 304, 205", &["NOB-05", "NOB-06a", "NOB-10"], bodiless)
            .needs("http2"),
        Case::must("trailers_go_both_ways", "where they are asked for", &["TRL-01", "TRL-04"], trailers).needs("http2"),
        Case::must("trailers_follow_any_length", "none, a known one, an unknown one", &["TRL-04"], own_trailers)
            .needs("http2"),
        Case::should("another_host_is_malformed", "than the authority", &["HDR-24"], another_host).needs("http2"),
        Case::must("hop_by_hop_fields_are_removed", "those of HTTP/1 too", &["RSP-05a", "RSP-05b"], hop_by_hop)
            .needs("http2"),
        Case::must("failures_are_500", "and end nothing else", &["ERR-01a", "ERR-02a", "ERR-02b", "MUX-01"], failures)
            .needs("http2"),
        Case::must(
            "failing_body_is_a_reset",
            "of its stream alone, without a proper end",
            &["BOD-14a", "ERR-04a", "ERR-04b", "BOD-11a", "MUX-01"],
            failing_body,
        )
        .needs("http2"),
        Case::must("excess_is_clamped", "and the body dropped", &["FRM-03a", "FRM-03b"], excess).needs("http2"),
        Case::must("shortfall_is_a_reset", "and never a proper end", &["FRM-04a", "MUX-01"], shortfall).needs("http2"),
        Case::must("failures_wait_for_nothing", "many streams side by side", &["FRM-04a", "BOD-14a"], side_by_side)
            .needs("http2"),
        Case::must(
            "limits_hold",
            "413, and a read error for a body that grows",
            &["LIM-03a", "LIM-03b", "MUX-01"],
            limits,
        )
        .with(&SMALL_LIMITS)
        .needs("http2"),
    ],
};

fn authority(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for host in [None, Some(AUTHORITY), Some("other.test")] {
        cx.again();
        http2.again(cx);
        let fields: Vec<(&str, &str)> = host.iter().map(|host| ("host", *host)).collect();
        let stream = http2.request("GET", "/", "body hello", &fields, true)?;
        let answer = http2.response(stream)?;
        // RFC 9113 §8.3.1: a Host that differs may be refused
        if host == Some("other.test") && answer.status() == 400 {
            cx.not_called()?;
            continue;
        }
        ensure_eq!((answer.status(), &answer.body[..]), (200, &b"hello"[..]), "the response (host: {host:?})");
        ensure_eq!(cx.seen()?.call()?.texts("host"), [AUTHORITY], "the Host field (host: {host:?})");
    }
    Ok(())
}

fn target(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for (method, target) in [("GET", "/"), ("GET", "/a%20b/%2F//..?q=%41?&"), ("GET", "/?"), ("OPTIONS", "*")] {
        cx.again();
        http2.again(cx);
        let stream = http2.request(method, target, "body ok", &[], true)?;
        ensure_eq!(http2.response(stream)?.status(), 200, "the status ({target})");
        let call = cx.seen()?.call()?;
        ensure_eq!(call.uri, target, "the target");
        ensure_eq!(call.version, "HTTP/2.0", "the version");
        ensure_eq!(call.env("scheme"), cx.scheme(), "the scheme");
    }
    Ok(())
}

fn cookies(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for (crumbs, expected) in
        [(&["a=b"][..], &["a=b"][..]), (&["a=b", "c=d; e=f", "g=\"h, i\""], &["a=b; c=d; e=f; g=\"h, i\""]), (&[], &[])]
    {
        cx.again();
        http2.again(cx);
        let mut fields = vec![("x-first", "1")];
        crumbs.iter().for_each(|crumb| fields.extend([("cookie", *crumb), ("x-between", "2")]));
        let stream = http2.request("GET", "/", "body ok", &fields, true)?;
        ensure_eq!(http2.response(stream)?.status(), 200, "the status ({crumbs:?})");
        let seen = cx.seen()?;
        ensure_eq!(seen.call()?.texts("cookie"), expected, "the Cookie field ({crumbs:?})");
        ensure_eq!(seen.call()?.texts("x-between").len(), crumbs.len(), "other fields ({crumbs:?})");
    }
    Ok(())
}

fn lengths(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for (length, rest) in [("10", 2), ("5", 7), ("4", 0)] {
        cx.again();
        http2.again(cx);
        // Blocking code is not interrupted by the reset of the stream, and sees the end.
        let script = "blocking; chunk; read; body read";
        let stream = http2.request("POST", "/", script, &[("content-length", length)], false)?;
        http2.data(stream, b"abc", false)?;
        cx.wait_for("chunk")?;
        http2.data(stream, &text::pattern(rest), true)?;
        // RFC 9113 §8.1.1: such a request is malformed
        let seen =
            cx.wait_for("read-error").map_err(|failure| Failure(format!("3 + {rest} of {length}: {failure}")))?;
        ensure!(!seen.has("read-end"), "a body of another length came to a proper end: {}", seen.summary());
    }
    let stream = http2.get("/", "body next")?;
    ensure_eq!(http2.response(stream)?.body, b"next", "the next response");
    Ok(())
}

fn bodies(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for size in [0, 1, 16_384, 96 << 10, 1 << 20] {
        let body = text::pattern(size);
        for script in ["read; size", "blocking; read; size"] {
            cx.again();
            http2.again(cx);
            let stream = http2.post(&format!("{script} {size}"), &body)?;
            let answer = http2.response(stream)?;
            cx.seen()?.read_all(&body).map_err(|failure| Failure(format!("{size} octets: {failure}")))?;
            ensure!(answer.body == body, "a response of {size} octets was altered");
            let told = answer.head().map(|head| head.all("content-length")).unwrap_or_default();
            ensure_eq!(told, [size.to_string()], "Content-Length");
            ensure!(answer.head().is_some_and(|head| !head.has("transfer-encoding")), "Transfer-Encoding in HTTP/2");
        }
        let stream = http2.post("echo", &body)?;
        ensure!(http2.response(stream)?.body == body, "an echo of {size} octets was altered");
    }
    let stream = http2.get("/", "stream text:one empty text:two")?;
    let answer = http2.response(stream)?;
    ensure_eq!(answer.body, b"onetwo", "a stream");
    ensure!(answer.head().is_some_and(|head| !head.has("content-length")), "a length nobody knows");
    Ok(())
}

fn head(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for (script, length) in [
        ("body hello", Some("5")),
        ("iter text:hello", None),
        ("stream text:hello", None),
        ("header content-length 5; stream text:hello", Some("5")),
        ("header content-length 100", Some("100")),
        ("file 5 0 - -", Some("5")),
    ] {
        cx.again();
        http2.again(cx);
        let stream = http2.request("HEAD", "/", script, &[], true)?;
        let answer = http2.response(stream)?;
        ensure_eq!(
            (answer.status(), answer.frames, answer.body.len()),
            (200, 0, 0),
            "status, frames, octets ({script})"
        );
        let told = answer.head().and_then(|head| head.get("content-length"));
        ensure_eq!(told.as_deref(), length, "Content-Length ({script})");
        let seen = cx.seen()?;
        ensure_eq!(seen.call()?.method, "HEAD", "the method");
        ensure!(!seen.has("asked"), "the body of a HEAD was asked for an item ({script})");
        if script.contains("text:") {
            cx.wait_for("body-dropped")?;
        }
    }
    Ok(())
}

fn bodiless(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for status in [204, 304, 205] {
        for body in ["", "body hello", "stream text:hello", "iter text:hello"] {
            let stream = http2.get("/", format!("status {status}; {body}").trim_end())?;
            let answer = http2.response(stream)?;
            ensure_eq!(answer.status(), status, "the status");
            ensure_eq!(answer.body.len(), 0, "octets of a {status} ({body})");
            let length = answer.head().and_then(|head| head.get("content-length"));
            ensure!(status != 204 || length.is_none(), "a 204 with Content-Length ({body})");
        }
    }
    let stream = http2.get("/", "body alive")?;
    ensure_eq!(http2.response(stream)?.body, b"alive", "the next response");
    Ok(())
}

fn trailers(cx: &mut Context) -> Result<(), Failure> {
    const SCRIPT: &str = "read; header trailer x-sum; stream text:hello; trailers x-sum abc";
    let mut http2 = Http2::open(cx)?;
    let about = cx.control("about")?;
    let declared = about.lines().any(|line| line == "capability trailers true");
    for te in [&[("te", "trailers")][..], &[]] {
        cx.again();
        http2.again(cx);
        let stream = http2.request("POST", "/", SCRIPT, te, false)?;
        http2.data(stream, b"question", false)?;
        http2.trailers(stream, &[("x-check", "1")])?;
        let answer = http2.response(stream)?;
        ensure_eq!(answer.body, b"hello", "the body");
        // [TRL-05a] is about HTTP/1.1: here they cost nobody the framing
        let expected = if declared { vec![("x-sum".to_owned(), b"abc".to_vec())] } else { vec![] };
        ensure!(te.is_empty() || answer.trailers == expected, "the trailers: {:?}", answer.trailers);
        let seen = cx.seen()?;
        seen.read_all(b"question")?;
        ensure_eq!(seen.details("trailer"), ["x-check 1"], "the trailers of the request");
        ensure!(seen.call()?.field("x-check").is_empty(), "a trailer among the header fields");
    }
    Ok(())
}

fn own_trailers(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let about = cx.control("about")?;
    if !about.lines().any(|line| line == "capability trailers true") {
        return Ok(());
    }
    for (hint, items, body) in [
        ("0", "", ""),
        ("-", "", ""),
        ("5", " text:hello", "hello"),
        ("-", " text:hello", "hello"),
        ("2", " text:o text:k", "ok"),
    ] {
        // No length of the application's own: it is the hint that must not cost them.
        let stream =
            http2.request("GET", "/", &format!("trailed {hint} x-sum abc{items}"), &[("te", "trailers")], true)?;
        let answer = http2.response(stream)?;
        ensure_eq!(answer.body, body.as_bytes(), "the body (hint {hint})");
        ensure_eq!(answer.trailers, [("x-sum".to_owned(), b"abc".to_vec())], "the trailers (hint {hint}{items})");
    }
    Ok(())
}

/// Whether the request of `fields` was refused, by an answer or by a reset of its stream.
fn refused(cx: &mut Context, http2: &mut Http2, fields: &[(&str, &str)]) -> Result<bool, Failure> {
    cx.again();
    http2.again(cx);
    let stream = http2.request("GET", "/", "body ok", fields, true)?;
    let answer = http2.response(stream)?;
    let refused = answer.head().is_none() || answer.status() == 400;
    if refused {
        cx.not_called()?;
    }
    Ok(refused)
}

fn another_host(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let port = format!("{AUTHORITY}:81");
    for host in ["other.test", port.as_str(), ""] {
        ensure!(
            refused(cx, &mut http2, &[("host", host)])?,
            "a request for {AUTHORITY} with a Host of {host:?} was served"
        );
    }
    // RFC 9110 §4.2.3: the same in capitals, or with the port that the scheme stands for
    let usual = if cx.scheme() == "https" { 443 } else { 80 };
    for host in [AUTHORITY.to_uppercase(), format!("{AUTHORITY}:{usual}"), format!("{AUTHORITY}:")] {
        ensure!(
            !refused(cx, &mut http2, &[("host", &host)])?,
            "a request for {AUTHORITY} with a Host of {host:?} was refused"
        );
    }
    Ok(())
}

fn hop_by_hop(cx: &mut Context) -> Result<(), Failure> {
    const FIELDS: [&str; 6] = ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection", "te"];
    let mut http2 = Http2::open(cx)?;
    let script = "header connection keep-alive,x-private; header keep-alive timeout=5; header upgrade h2c; header \
                  proxy-connection close; header te trailers; header x-private 1; header x-public 2; ";
    for body in
        ["body hello", "header connection close; stream text:hello", "header transfer-encoding chunked; body hello"]
    {
        let stream = http2.get("/", &format!("{script}{body}"))?;
        let answer = http2.response(stream)?;
        ensure_eq!(answer.body, b"hello", "the body ({body})");
        let head = answer.head().ok_or("no head")?;
        // RFC 9113 §8.2.2
        for name in FIELDS {
            ensure!(!head.has(name), "{name} in HTTP/2 ({body})");
        }
        ensure_eq!(head.all("x-public"), ["2"], "a field of the application's ({body})");
    }
    Ok(())
}

fn failures(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let beside = http2.get("/", "gate go; body beside")?;
    cx.wait_for("at go")?;
    for script in cx.survivable(&["error boom", "panic boom", "blocking; error boom", "blocking; panic boom"])? {
        let stream = http2.get("/", script)?;
        let answer = http2.response(stream)?;
        ensure_eq!(answer.status(), 500, "the status ({script})");
        ensure!(!String::from_utf8_lossy(&answer.body).contains("boom"), "the error is told ({script})");
    }
    cx.open("go")?;
    ensure_eq!(http2.response(beside)?.body, b"beside", "the response beside them");
    Ok(())
}

fn failing_body(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let beside = http2.get("/", "stream text:one gate:go text:two")?;
    http2.take(beside, 3)?;
    let scripts = [
        "stream text:hello error",
        "stream text:hello panic",
        "iter text:hello error",
        "iter text:hello panic",
        "channel 1 task text:hello error",
        "header content-length 10; stream text:hello error",
    ];
    for script in cx.survivable(&scripts)? {
        cx.again();
        http2.again(cx);
        let stream = http2.get("/", script)?;
        let answer = http2.end(stream)?;
        // A reset overtakes what is queued before it, the head too.
        ensure!(matches!(answer.status(), 0 | 200), "a {} ({script})", answer.status());
        ensure!(answer.reset.is_some() && !answer.ended, "a body that failed came to a proper end ({script})");
        ensure!(b"hello".starts_with(&answer.body[..]), "other octets ({script}): {:?}", answer.body);
        cx.wait_for("body-dropped").map_err(|failure| Failure(format!("{script}: {failure}")))?;
        ensure_eq!(cx.seen()?.count("body-dropped"), 1, "drops of the body ({script})");
    }
    Ok(())
}

fn excess(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for body in
        ["body hello%20world", "stream text:hel text:lo%20w forever:text:x", "iter text:hel text:lo%20w forever:text:x"]
    {
        cx.again();
        http2.again(cx);
        let stream = http2.get("/", &format!("header content-length 5; {body}"))?;
        let answer = http2.response(stream)?;
        ensure_eq!(answer.body, b"hello", "a body that is too long ({body})");
        if body.contains("forever") {
            let seen = cx.wait_for("body-dropped")?;
            ensure!(seen.count("asked") <= 2, "items asked for beyond Content-Length ({body}): {}", seen.summary());
        }
    }
    Ok(())
}

fn shortfall(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for body in ["body hello", "stream text:hel text:lo", "iter text:hel text:lo"] {
        let stream = http2.get("/", &format!("header content-length 10; {body}"))?;
        let answer = http2.end(stream)?;
        ensure!(answer.reset.is_some() && !answer.ended, "a body that is too short came to a proper end ({body})");
        ensure_eq!(answer.body, b"hello", "the octets of a body that is too short ({body})");
    }
    let stream = http2.get("/", "body alive")?;
    ensure_eq!(http2.response(stream)?.body, b"alive", "the next response");
    Ok(())
}

fn side_by_side(cx: &mut Context) -> Result<(), Failure> {
    const SCRIPTS: [&str; 4] = [
        "header content-length 10; body hello",
        "size 20000",
        "header content-length 10; stream text:hel text:lo",
        "stream text:hello error",
    ];
    let mut http2 = Http2::open(cx)?;
    for _ in 0..20 {
        let streams: Result<Vec<u32>, Failure> = (0..32).map(|number| http2.get("/", SCRIPTS[number % 4])).collect();
        for (number, stream) in streams?.into_iter().enumerate() {
            let (script, answer) = (SCRIPTS[number % 4], http2.end(stream)?);
            let whole = script.starts_with("size");
            ensure!(answer.ended == whole && answer.reset.is_none() == whole, "another end ({script}): {answer:?}");
            ensure!(whole || answer.body == b"hello", "other octets ({script}): {:?}", answer.body);
        }
    }
    Ok(())
}

fn limits(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let stream = http2.request("POST", "/", "read; body done", &[("content-length", "65537")], false)?;
    ensure_eq!(http2.head(stream)?.status, 413, "the status of a body declared too large");
    cx.not_called()?;
    cx.again();
    http2.again(cx);
    let stream = http2.request("POST", "/", "read; body done", &[], false)?;
    http2.data(stream, &text::pattern(65_536), false)?;
    http2.data(stream, b"x", true)?;
    cx.wait_for("read-error")?;
    ensure_eq!(cx.seen()?.details("read-error"), ["too-large"], "the read error of a body that grows");
    ensure_eq!(http2.response(stream)?.body, b"done", "the response");
    cx.again();
    http2.again(cx);
    let stream = http2.post("read; body done", &text::pattern(65_536))?;
    ensure_eq!(http2.response(stream)?.body, b"done", "the response to a body at the limit");
    cx.seen()?.read_all(&text::pattern(65_536))
}
