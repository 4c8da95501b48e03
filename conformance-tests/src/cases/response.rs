//! The head of a response. RSP-01 to RSP-15

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::wire::Framing;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "response",
    title: "Response head",
    cases: &[
        Case::must("status_is_as_set", "any status from 200 to 999", &["RSP-01"], status),
        Case::must("status_line_is_well_formed", "version, code, and the second space", &["RSP-02a"], status_line),
        Case::should("reason_is_registered", "registered codes have their phrase", &["RSP-02b"], reason),
        Case::must("repeated_fields_keep_order", "Set-Cookie lines stay lines, in order", &["RSP-03"], repeated),
        Case::must("fields_are_unchanged", "each field of the application's, as often as set", &["RSP-14"], unchanged),
        Case::should("no_fields_are_invented", "none that the application did not set", &["RSP-15"], none_invented),
        Case::must("no_line_breaks_from_values", "CR, LF and NUL never reach the wire", &["RSP-04"], line_breaks),
        Case::must(
            "hop_by_hop_fields_are_removed",
            "Transfer-Encoding, Keep-Alive, TE and Upgrade of the application",
            &["RSP-05a"],
            hop_by_hop,
        ),
        Case::must(
            "connection_options_are_removed",
            "options but close are not sent",
            &["RSP-05b"],
            connection_options,
        ),
        Case::must("one_date", "exactly one Date, the application's own where set", &["RSP-06"], date),
        Case::must("own_server_field_stays", "the application's Server field, and no other", &["RSP-07a"], own_server),
        Case::should("no_server_field", "no Server field of the server's own", &["RSP-07b"], no_server),
        Case::must(
            "no_content_type_is_invented",
            "a response without Content-Type stays without",
            &["RSP-08"],
            no_content_type,
        ),
        Case::must(
            "ok_commits_the_head",
            "the head is final before the body is asked",
            &["RSP-09", "RSP-10"],
            committed,
        )
        .needs("http1"),
        Case::must("head_does_not_wait", "the head arrives while the first item is pending", &["RSP-10"], head_first),
        Case::must(
            "http10_is_kept_simple",
            "no Transfer-Encoding and no interim response to HTTP/1.0",
            &["RSP-11"],
            http10,
        ),
        Case::must("one_final_response", "every request has exactly one", &["RSP-12"], one_final),
        Case::must("version_is_the_servers", "a version the application set is ignored", &["RSP-13"], version),
    ],
};

fn status(cx: &mut Context) -> Result<(), Failure> {
    for status in [200, 201, 202, 206, 207, 299, 300, 307, 399, 400, 404, 418, 451, 499, 500, 503, 599, 600, 799, 999] {
        let (_, response) = cx.exchange(&cx.get(&format!("status {status}; body x")))?;
        ensure_eq!(response.status(), status, "the status");
        ensure_eq!(response.text(), "x", "the body with {status}");
    }
    Ok(())
}

fn status_line(cx: &mut Context) -> Result<(), Failure> {
    // The reader of this suite takes nothing but "HTTP/1.1 SP 3DIGIT SP [reason]" and CRLF.
    for status in [200, 299, 404, 599, 600, 999] {
        let (_, response) = cx.exchange(&cx.get(&format!("status {status}")))?;
        ensure_eq!(response.head.version, "1.1", "the version");
        let clean = response.head.reason.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte));
        ensure!(clean, "control characters in the reason {:?}", response.head.reason);
    }
    Ok(())
}

fn reason(cx: &mut Context) -> Result<(), Failure> {
    for (status, reason) in [
        (200, "OK"),
        (201, "Created"),
        (302, "Found"),
        (404, "Not Found"),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
    ] {
        let (_, response) = cx.exchange(&cx.get(&format!("status {status}")))?;
        ensure_eq!(response.head.reason, reason, "the phrase of {status}");
    }
    Ok(())
}

fn repeated(cx: &mut Context) -> Result<(), Failure> {
    let script = "header set-cookie a=1; header x-other o; header set-cookie b=2%3B%20path=/; header x-many 1; header x-many 2; \
                  header set-cookie c=3";
    let (_, response) = cx.answered(&cx.get(script), 200)?;
    ensure_eq!(response.head.all("set-cookie"), ["a=1", "b=2; path=/", "c=3"], "the Set-Cookie lines");
    ensure_eq!(response.head.all("x-many"), ["1", "2"], "the lines of a repeated field");
    ensure_eq!(response.head.all("x-other"), ["o"], "the field among them");
    Ok(())
}

/// Fields that servers, middleware and proxies are known to touch, and some that nobody knows.
const FIELDS: [(&str, &str); 26] = [
    ("location", "/a%20B?q=%C3%A9&R#Frag"),
    ("cache-control", "private, Max-Age=60, no-cache=\"Set-Cookie\""),
    ("etag", "W/\"AbC, dEf\""),
    ("content-type", "Text/HTML; Charset=\"UTF-8\"; x=y"),
    ("content-language", "de-AT, EN"),
    ("content-encoding", "x-own"),
    ("content-location", "/Other"),
    ("content-disposition", "attachment; filename=\"a  b\"; filename*=UTF-8''%e2%82%ac"),
    ("vary", "Accept, X-Own"),
    ("www-authenticate", "Digest realm=\"A, b\", nonce=\"x\", Basic realm=\"C\""),
    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("expires", "0"),
    ("age", "007"),
    ("allow", "GET, Own"),
    ("accept-ranges", "none"),
    ("retry-after", "120"),
    ("link", "</a>; rel=\"Next\", </b>; rel=last"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("access-control-allow-origin", "https://Example.com"),
    ("via", "1.1 Somebody"),
    ("warning", "199 - \"old\""),
    ("x-powered-by", "Tea"),
    ("x-empty", ""),
    ("x-inner", "a \t b   c"),
    ("x_under-Score", "1"),
    ("x-utf-8", "\u{e9}\u{20ac}"),
];

/// RFC 9110 §5.5: a server of an application is no place to edit what it says.
fn unchanged(cx: &mut Context) -> Result<(), Failure> {
    let set = |(name, value): &(&str, &str)| format!("header {name} {}", percent_encoded(value));
    let script = FIELDS.iter().map(set).collect::<Vec<_>>().join("; ");
    let long = "Vv".repeat(2000);
    let script = format!("{script}; header x-twice Same; header x-twice Same; header x-long {long}; body x");
    for status in [200, 201, 302, 404, 503] {
        let mut connection = cx.connect()?;
        for method in ["GET", "HEAD"] {
            connection.send(cx.get(&format!("status {status}; {script}")).method_is(method).bytes())?;
            let response = connection.response(method)?;
            ensure_eq!(response.status(), status, "the status");
            for (name, value) in FIELDS {
                ensure_eq!(response.head.all(name), [value], "the field {name} of a {status} to {method}");
            }
            ensure_eq!(response.head.all("x-twice"), ["Same", "Same"], "a field that was set twice");
            ensure_eq!(response.head.all("x-long"), [long.as_str()], "a field of 4,000 octets");
        }
    }
    Ok(())
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn none_invented(cx: &mut Context) -> Result<(), Failure> {
    const OWN: [&str; 8] =
        ["connection", "content-length", "date", "keep-alive", "server", "trailer", "transfer-encoding", "upgrade"];
    for script in ["", "body x", "stream text:2", "status 204", "status 304", "status 404; body x", "header x-own 1"] {
        let (_, response) = cx.exchange(&cx.get(script))?;
        let invented: Vec<_> =
            response.head.fields.iter().map(|(name, _)| name).filter(|name| !is_known(name, &OWN)).collect();
        ensure!(invented.is_empty(), "fields that the application did not set ({script}): {invented:?}");
        let own: &[&str] = if script == "header x-own 1" { &["1"] } else { &[] };
        ensure_eq!(response.head.all("x-own"), own, "the one that it did set ({script})");
    }
    Ok(())
}

fn is_known(name: &str, own: &[&str]) -> bool {
    let is_of_suite = name.starts_with("x-conformance") || name == "x-own";
    is_of_suite || own.iter().any(|own| own.eq_ignore_ascii_case(name))
}

fn line_breaks(cx: &mut Context) -> Result<(), Failure> {
    // The types refuse such values; the application's attempt is an error of its own, answered 500.
    for value in ["a%0D%0Ax-injected:%20b", "a%0Ab", "a%0Db", "a%00b"] {
        let (_, response) = cx.exchange(&cx.get(&format!("header x-a {value}; body x")))?;
        ensure!(!response.head.has("x-injected"), "a value became a field");
        ensure_eq!(response.status(), 500, "the status for a value that is none");
    }
    Ok(())
}

fn hop_by_hop(cx: &mut Context) -> Result<(), Failure> {
    for field in [
        "transfer-encoding gzip",
        "transfer-encoding chunked",
        "transfer-encoding gzip,%20chunked",
        "keep-alive timeout=5",
        "proxy-connection keep-alive",
        "te trailers",
        "upgrade h2c",
    ] {
        let (name, value) = field.split_once(' ').unwrap_or_default();
        for body in ["body hello", "stream text:hello"] {
            let (mut connection, response) = cx.exchange(&cx.get(&format!("header {field}; {body}")))?;
            ensure_eq!(response.text(), "hello", "the body with {field}");
            let servers_own = name == "transfer-encoding" && response.framing == Framing::Chunked;
            let kept = response.head.all(name).into_iter().any(|found| !(servers_own && found == "chunked"));
            ensure!(!kept, "the application's {field} was sent ({value})");
            connection.send(cx.get("body next").bytes())?;
            ensure_eq!(connection.response("GET")?.text(), "next", "the next response after {field}");
        }
    }
    Ok(())
}

fn connection_options(cx: &mut Context) -> Result<(), Failure> {
    for value in ["keep-alive", "x-private", "x-private,%20keep-alive", "upgrade", "te"] {
        let (mut connection, response) = cx.answered(&cx.get(&format!("header connection {value}; body x")), 200)?;
        let sent = response.head.all("connection").join(", ");
        let others = sent.split(',').map(str::trim).any(|option| !matches!(option, "" | "close" | "keep-alive"));
        ensure!(!others, "Connection: {sent} was sent");
        ensure!(!response.head.lists("connection", "close"), "the connection was closed for {value}");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    let (mut connection, response) = cx.answered(&cx.get("header connection x-private,%20close; body x"), 200)?;
    ensure_eq!(response.head.all("connection"), ["close"], "the Connection field");
    connection.closed()
}

fn date(cx: &mut Context) -> Result<(), Failure> {
    for script in ["status 200", "status 404; stream text:x", "status 204", "status 304", "error no"] {
        let (_, response) = cx.exchange(&cx.get(script))?;
        let dates = response.head.all("date");
        ensure_eq!(dates.len(), 1, "the number of Date fields after {script:?}");
        let shape = dates[0].len() == 29 && dates[0].ends_with(" GMT") && dates[0].as_bytes()[3] == b',';
        ensure!(shape, "not an IMF-fixdate: {:?}", dates[0]);
    }
    let own = "Sun,%2006%20Nov%201994%2008:49:37%20GMT";
    let (_, response) = cx.answered(&cx.get(&format!("header date {own}")), 200)?;
    ensure_eq!(response.head.all("date"), ["Sun, 06 Nov 1994 08:49:37 GMT"], "the application's own Date");
    Ok(())
}

fn own_server(cx: &mut Context) -> Result<(), Failure> {
    let (_, response) = cx.answered(&cx.get("header server mine/1.0%20(x)"), 200)?;
    ensure_eq!(response.head.all("server"), ["mine/1.0 (x)"], "the Server field");
    Ok(())
}

fn no_server(cx: &mut Context) -> Result<(), Failure> {
    let (_, response) = cx.answered(&cx.get(""), 200)?;
    ensure_eq!(response.head.all("server"), Vec::<String>::new(), "the Server field");
    Ok(())
}

fn no_content_type(cx: &mut Context) -> Result<(), Failure> {
    for script in ["body <html>", "stream text:{}", "size 10", "status 404", "status 204"] {
        let (_, response) = cx.exchange(&cx.get(script))?;
        ensure!(!response.head.has("content-type"), "a Content-Type was added after {script:?}");
    }
    let (_, response) = cx.answered(&cx.get("header content-type text/x-own; body x"), 200)?;
    ensure_eq!(response.head.all("content-type"), ["text/x-own"], "the application's own");
    Ok(())
}

fn committed(cx: &mut Context) -> Result<(), Failure> {
    for body in ["stream error", "iter error", "stream panic", "iter panic", "channel 1 thread error"] {
        let (_, response) = cx.exchange(&cx.get(&format!("status 201; header x-a b; {body}")))?;
        ensure_eq!(response.status(), 201, "the status of a response whose first item fails ({body})");
        ensure_eq!(response.head.all("x-a"), ["b"], "its field ({body})");
        ensure!(response.truncated, "a failed body looks complete ({body})");
    }
    Ok(())
}

fn head_first(cx: &mut Context) -> Result<(), Failure> {
    for body in [
        "stream gate:go text:late",
        "iter gate:go text:late",
        "channel 1 thread gate:go text:late",
        "channel 1 task gate:go text:late",
    ] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("status 201; {body}")).bytes())?;
        let head = connection.head().map_err(|failure| Failure(format!("{body}: {failure}")))?;
        ensure_eq!(head.status, 201, "the status");
        cx.wait_for("at go")?;
        cx.open("go")?;
        ensure_eq!(connection.chunk()?.as_deref(), Some(&b"late"[..]), "the first chunk");
    }
    Ok(())
}

fn http10(cx: &mut Context) -> Result<(), Failure> {
    for (script, body) in [
        ("body hello", "hello"),
        ("stream text:hel text:lo", "hello"),
        ("iter text:hello", "hello"),
        ("status 404", ""),
    ] {
        for keep in [false, true] {
            let mut request = cx.get(script).http10().field("te", "trailers");
            if keep {
                request = request.field("connection", "keep-alive");
            }
            let (_, response) = cx.exchange(&request)?;
            ensure!(!response.head.has("transfer-encoding"), "Transfer-Encoding to HTTP/1.0 ({script})");
            ensure!(response.interim.is_empty(), "an interim response to HTTP/1.0");
            ensure_eq!(response.text(), body, "the body ({script})");
        }
    }
    Ok(())
}

fn one_final(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let scripts =
        ["body 0", "stream text:1", "error x", "status 204", "size 100", "status 304", "iter text:6", "body 7"];
    for script in scripts {
        connection.send(cx.get(script).bytes())?;
    }
    connection.send(cx.get("body last").close().bytes())?;
    let expected = [200, 200, 500, 204, 200, 304, 200, 200, 200];
    for (index, status) in expected.into_iter().enumerate() {
        let response = connection.response("GET").map_err(|failure| Failure(format!("response {index}: {failure}")))?;
        ensure_eq!(response.status(), status, "the status of response {index}");
    }
    connection.closed()
}

fn version(cx: &mut Context) -> Result<(), Failure> {
    for script in ["version 1.0; body x", "version 2; body x", "version 1.0; stream text:x"] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        let response = connection.response("GET")?;
        ensure_eq!(response.head.version, "1.1", "the version after {script:?}");
        ensure_eq!(response.text(), "x", "the body after {script:?}");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the connection goes on after {script:?}");
    }
    Ok(())
}
