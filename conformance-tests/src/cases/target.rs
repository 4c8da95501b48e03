//! The request line, octet by octet. TGT-01 to TGT-09, TGT-18 to TGT-26

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::setting;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "target",
    title: "Request line and target",
    cases: &[
        Case::must("method_is_verbatim", "methods arrive as sent, case included", &["TGT-01"], method_is_verbatim),
        Case::must("unknown_method_reaches_application", "any token is a method", &["TGT-02"], unknown_method),
        Case::must(
            "invalid_method_is_refused",
            "a method that is no token is answered 400",
            &["TGT-03"],
            invalid_method,
        ),
        Case::must("path_is_raw", "the path arrives octet by octet", &["TGT-04"], path_is_raw),
        Case::must("path_is_not_decoded", "no view of the path is decoded twice", &["TGT-05"], path_is_not_decoded),
        Case::must(
            "escapes_are_harmless",
            "%00, %0d%0a and broken UTF-8 stay escapes",
            &["TGT-06"],
            escapes_are_harmless,
        ),
        Case::must("query_is_raw", "the query arrives undecoded, absent and empty apart", &["TGT-07"], query_is_raw),
        Case::must(
            "first_question_mark_splits",
            "only the first ? splits; ; and + stay",
            &["TGT-08"],
            first_question_mark,
        ),
        Case::must("path_is_not_normalised", "slashes, dots and escapes stay", &["TGT-09"], path_is_not_normalised),
        Case::must(
            "controls_are_refused",
            "space, controls, NUL and DEL are answered 400",
            &["TGT-18"],
            controls_are_refused,
        ),
        Case::must(
            "high_octets_pass_or_fail",
            "octets from 0x80 arrive unaltered or are refused",
            &["TGT-19"],
            high_octets,
        ),
        Case::must(
            "other_versions_are_refused",
            "versions but 1.0 and 1.1 are answered 400 or 505",
            &["TGT-20"],
            other_versions,
        ),
        Case::must(
            "http2_preface_is_closed",
            "the HTTP/2 preface never reaches the application as HTTP/1",
            &["TGT-21"],
            preface,
        ),
        Case::must(
            "leading_empty_line_is_ignored",
            "an empty line before the request line",
            &["TGT-22"],
            leading_empty_line,
        ),
        Case::must(
            "split_at_every_byte",
            "a request cut in two anywhere is the same request",
            &["TGT-23"],
            split_at_every_byte,
        ),
        Case::must("byte_by_byte", "a request sent octet by octet is the same request", &["TGT-23"], byte_by_byte),
        Case::must("overlong_target_is_414", "a target over its limit is answered 414", &["TGT-24"], overlong_target)
            .with(&setting::SMALL_LIMITS),
        Case::must(
            "target_at_its_limit_is_served",
            "a target of exactly the limit is served",
            &["TGT-24"],
            target_at_limit,
        )
        .with(&setting::SMALL_LIMITS),
        Case::must("separators_are_single_spaces", "double spaces and tabs are answered 400", &["TGT-25"], separators),
        Case::must("garbage_is_closed", "a TLS hello and other noise end the connection", &["TGT-26"], garbage),
    ],
};

fn method_is_verbatim(cx: &mut Context) -> Result<(), Failure> {
    for method in ["GET", "get", "Get", "POST", "OPTIONS", "DELETE", "PATCH", "TRACE"] {
        cx.again();
        cx.answered(&cx.request(method, "/"), 200)?;
        ensure_eq!(cx.seen()?.call()?.method, method, "the method of a {method} request");
    }
    Ok(())
}

fn unknown_method(cx: &mut Context) -> Result<(), Failure> {
    for method in ["PROPFIND", "BREW", "M-SEARCH", "!#$%&'*+-.^_`|~09", "X"] {
        cx.again();
        let (_, response) = cx.answered(&cx.request(method, "/"), 200)?;
        ensure!(response.is_from_application(), "the server answered {method} by itself");
        ensure_eq!(cx.seen()?.call()?.method, method, "an unknown method");
    }
    Ok(())
}

fn invalid_method(cx: &mut Context) -> Result<(), Failure> {
    for method in ["G(T", "G@T", "G\"T", "GE\x01T", "G{T}", "\u{c9}T", "G:T", "[GET]"] {
        cx.refused(format!("{method} / HTTP/1.1\r\nhost: a\r\n{{t}}\r\n"), &[400])?;
    }
    Ok(())
}

/// Sends `target` and compares what arrived with `path` and `query`.
fn arrives(cx: &mut Context, target: &str, path: &str, query: Option<&str>) -> Result<(), Failure> {
    cx.again();
    cx.answered(&cx.request("GET", target), 200)?;
    let call = cx.seen()?.call()?;
    ensure_eq!(String::from_utf8_lossy(&call.path), path, "the path of {target}");
    let seen = call.query.map(|query| String::from_utf8_lossy(&query).into_owned());
    ensure_eq!(seen.as_deref(), query, "the query of {target}");
    Ok(())
}

fn path_is_raw(cx: &mut Context) -> Result<(), Failure> {
    for path in
        ["/", "/a/b", "/a%20b", "/%E2%82%AC", "/%e2%82%ac", "/a;b=c/d,e:f@g&h=i+j$k!l'm(n)*o", "/~u/-._", "/%2F"]
    {
        arrives(cx, path, path, None)?;
    }
    Ok(())
}

fn path_is_not_decoded(cx: &mut Context) -> Result<(), Failure> {
    // The views the interface offers, the path and path_info, are raw; decoding is left to the application, once.
    for path in ["/%2541", "/%252e%252e/", "/%25%32%35"] {
        arrives(cx, path, path, None)?;
        ensure_eq!(cx.seen()?.call()?.env("path-info"), path, "path_info");
    }
    Ok(())
}

fn escapes_are_harmless(cx: &mut Context) -> Result<(), Failure> {
    for path in ["/%00", "/a%0d%0ax-injected:%201", "/%ff%fe", "/%C0%AF", "/%0A%0A", "/%7f"] {
        arrives(cx, path, path, None)?;
        ensure!(cx.seen()?.call()?.field("x-injected").is_empty(), "{path} became a field");
    }
    arrives(cx, "/?%00%0d%0a%ff", "/", Some("%00%0d%0a%ff"))
}

fn query_is_raw(cx: &mut Context) -> Result<(), Failure> {
    arrives(cx, "/a?x=1&y=%20%41", "/a", Some("x=1&y=%20%41"))?;
    arrives(cx, "/a", "/a", None)?;
    arrives(cx, "/a?", "/a", Some(""))?;
    arrives(cx, "/?=&&=", "/", Some("=&&="))
}

fn first_question_mark(cx: &mut Context) -> Result<(), Failure> {
    arrives(cx, "/a?b?c?d", "/a", Some("b?c?d"))?;
    arrives(cx, "/a;p=1?x;y+z", "/a;p=1", Some("x;y+z"))?;
    arrives(cx, "/a+b%3Fc?d%3Fe", "/a+b%3Fc", Some("d%3Fe"))?;
    arrives(cx, "/a?/b/../c", "/a", Some("/b/../c"))
}

fn path_is_not_normalised(cx: &mut Context) -> Result<(), Failure> {
    for path in ["//", "//a//b", "/a/../b", "/./a/.", "/..", "/a/%2e%2e/b", "/a/", "/%41", "/a//../b"] {
        arrives(cx, path, path, None)?;
    }
    Ok(())
}

fn controls_are_refused(cx: &mut Context) -> Result<(), Failure> {
    for octet in [b' ', 0, 1, 0x0b, 0x1f, 0x7f, b'\r'] {
        let mut bytes = b"GET /a".to_vec();
        bytes.push(octet);
        bytes.extend_from_slice(b"b HTTP/1.1\r\nhost: a\r\n{t}\r\n");
        cx.refused(bytes, &[400]).map_err(|failure| Failure(format!("octet {octet:#04x}: {failure}")))?;
    }
    Ok(())
}

fn high_octets(cx: &mut Context) -> Result<(), Failure> {
    for octets in [&b"/\xe2\x82\xac"[..], b"/\xff\xfe", b"/a?\xe9"] {
        cx.again();
        let mut connection = cx.connect()?;
        let mut bytes = b"GET ".to_vec();
        bytes.extend_from_slice(octets);
        bytes.extend_from_slice(b" HTTP/1.1\r\nhost: a\r\n{t}\r\n");
        connection.send(cx.raw(bytes))?;
        match connection.response("GET")?.status() {
            400 => cx.not_called()?,
            200 => {
                let call = cx.seen()?.call()?;
                let mut seen = call.path;
                if let Some(query) = call.query {
                    seen.push(b'?');
                    seen.extend_from_slice(&query);
                }
                ensure_eq!(seen.escape_ascii().to_string(), octets.escape_ascii().to_string(), "the target");
            }
            other => return Err(format!("expected 200 or 400, seen {other}").into()),
        }
    }
    Ok(())
}

fn other_versions(cx: &mut Context) -> Result<(), Failure> {
    for version in [
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/3.0",
        "HTTP/0.9",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/1.1.1",
        "http/1.1",
        "HTTPS/1.1",
        "HTTP/ 1.1",
        "HTTP/11",
        "X",
    ] {
        cx.refused(format!("GET / {version}\r\nhost: a\r\n{{t}}\r\n"), &[400, 505])
            .map_err(|failure| Failure(format!("{version}: {failure}")))?;
    }
    // HTTP/0.9 has no version; a server may also close without an answer, as it would not be understood.
    cx.refused_or_closed("GET /\r\n\r\n", &[400, 505])
}

fn preface(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    connection.send(preface)?;
    connection.send(b"\0\0\0\x04\0\0\0\0\0")?;
    // A server that speaks HTTP/2 answers with a SETTINGS frame: three octets of length, and the type 4.
    let first = connection.take(9, "an answer to the HTTP/2 preface")?;
    if first.get(3) == Some(&4) {
        return Ok(());
    }
    let mut answer = first;
    answer.extend_from_slice(&connection.rest()?);
    let status = String::from_utf8_lossy(&answer).get(9..12).and_then(|code| code.parse::<u16>().ok());
    ensure!(
        answer.is_empty() || status.is_some_and(|status| status == 505 || (400..500).contains(&status)),
        "expected 4xx, 505 or nothing, seen {}",
        crate::text::show(&answer, 100)
    );
    Ok(())
}

fn leading_empty_line(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(b"\r\n")?;
    // A round trip through the server on another connection, so that this one's octets are read by then.
    cx.seen()?;
    connection.send(cx.get("status 200; body one").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "one", "the response after an empty line");
    // RFC 9112 §2.2 tells of clients that add one after the body of a POST.
    connection.send(cx.post("read; body two", "x").tail("\r\n").bytes())?;
    ensure_eq!(connection.response("POST")?.text(), "two", "the response to a POST with an empty line behind");
    connection.send(cx.get("body three").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "three", "the response to the request after it");
    Ok(())
}

fn split_at_every_byte(cx: &mut Context) -> Result<(), Failure> {
    let request = |cx: &Context| {
        cx.request("POST", "/split?x").script("read; body done").field("x-a", "b").body("0123456789\r\n\r\n").bytes()
    };
    let length = request(cx).len();
    let mut connection = cx.connect()?;
    for at in 1..length {
        cx.again();
        let bytes = request(cx);
        ensure_eq!(bytes.len(), length, "the length of the request");
        connection.send(&bytes[..at])?;
        // Without a pause the two pieces arrive as one; a round trip through the server on another connection is a
        // pause that needs no clock.
        cx.seen()?;
        connection.send(&bytes[at..])?;
        let response = connection.response("POST").map_err(|failure| Failure(format!("split at {at}: {failure}")))?;
        ensure_eq!(response.text(), "done", "the response to the request split at {at}");
        let seen = cx.seen()?;
        seen.read_all(b"0123456789\r\n\r\n")?;
        let call = seen.call()?;
        ensure_eq!(call.uri, "/split?x", "the target split at {at}");
        ensure_eq!(call.texts("x-a"), ["b"], "a field split at {at}");
    }
    Ok(())
}

fn byte_by_byte(cx: &mut Context) -> Result<(), Failure> {
    let request = cx.request("POST", "/b").script("read; body done").chunked(&["01234", "5", "6789abcdef"]);
    let mut connection = cx.connect()?;
    for octet in request.bytes() {
        connection.send([octet])?;
        cx.seen()?;
    }
    ensure_eq!(connection.response("POST")?.text(), "done", "the response");
    cx.seen()?.read_all(b"0123456789abcdef")
}

fn overlong_target(cx: &mut Context) -> Result<(), Failure> {
    let path = "a".repeat(1100);
    cx.refused(format!("GET /{path} HTTP/1.1\r\nhost: a\r\n{{t}}\r\n"), &[414])?;
    cx.refused(format!("GET /?{path} HTTP/1.1\r\nhost: a\r\n{{t}}\r\n"), &[414]).map(drop)
}

fn target_at_limit(cx: &mut Context) -> Result<(), Failure> {
    let path = format!("/{}", "a".repeat(1023 - crate::mount::prefix().len()));
    arrives(cx, &path, &path, None)
}

fn separators(cx: &mut Context) -> Result<(), Failure> {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
    ] {
        cx.refused(format!("{line}\r\nhost: a\r\n{{t}}\r\n"), &[400])
            .map_err(|failure| Failure(format!("{line:?}: {failure}")))?;
    }
    Ok(())
}

fn garbage(cx: &mut Context) -> Result<(), Failure> {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xa5\x5a\r\n\r\n";
    cx.refused_or_closed(hello, &[400])?;
    cx.refused_or_closed(b"\0\0\0\0\r\n\r\n", &[400])?;
    cx.refused_or_closed(b"\x80\x81\x82 \xff\xfe\r\n{t}\r\n", &[400])?;
    // The connection beside it does not notice.
    cx.again();
    cx.answered(&cx.get("status 200"), 200).map(drop)
}
