//! Field lines: how they are delivered and which are refused. HDR-01 to HDR-05, HDR-10 to HDR-18

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::setting;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "headers",
    title: "Request headers",
    cases: &[
        Case::must(
            "names_ignore_case",
            "a field is found whatever case the client used",
            &["HDR-01"],
            names_ignore_case,
        ),
        Case::must("values_are_octets", "octets from 0x80 arrive unaltered", &["HDR-02"], values_are_octets),
        Case::must(
            "repeated_fields_keep_order",
            "every line of a repeated field, in order",
            &["HDR-03"],
            repeated_fields,
        ),
        Case::must(
            "any_field_arrives_once",
            "Cookie, Authorization and long values arrive unchanged, once",
            &["HDR-04"],
            any_field,
        ),
        Case::must(
            "whitespace_is_trimmed",
            "outer whitespace goes, inner stays, empty is empty",
            &["HDR-05"],
            whitespace,
        ),
        Case::must(
            "space_before_colon_is_refused",
            "whitespace before a colon or the first field is answered 400",
            &["HDR-10"],
            space_before_colon,
        ),
        Case::must("folding_is_refused", "a folded value is answered 400", &["HDR-11"], folding),
        Case::must(
            "names_are_tokens",
            "empty names and names that are no tokens are answered 400",
            &["HDR-12"],
            names_are_tokens,
        ),
        Case::must(
            "controls_in_values_are_refused",
            "NUL, bare CR and controls in a value are answered 400",
            &["HDR-13"],
            controls,
        ),
        Case::must("tab_in_value_is_kept", "horizontal tab is no control character", &["HDR-13", "HDR-05"], tab),
        Case::must("bare_lf_is_never_delivered", "a bare LF is no part of anything delivered", &["HDR-14a"], bare_lf),
        Case::should("bare_lf_ends_a_line", "a bare LF ends a line of the head", &["HDR-14b"], bare_lf_ends),
        Case::must(
            "hop_by_hop_is_the_servers",
            "framing and persistence do not depend on the application",
            &["HDR-15"],
            hop_by_hop,
        ),
        Case::must("hyphen_and_underscore_differ", "x-user and x_user stay apart", &["HDR-16"], hyphen_underscore),
        Case::must(
            "strangers_forwarded_is_ignored",
            "forwarded fields of strangers change nothing",
            &["HDR-17a"],
            strangers_forwarded,
        ),
        Case::should(
            "trusted_forwarded_is_believed",
            "forwarded fields of a trusted proxy are read from the right",
            &["HDR-17b"],
            trusted_forwarded,
        )
        .with(&setting::BEHIND_PROXY),
        Case::must(
            "nothing_leaks_between_requests",
            "fields and extensions stay with their request",
            &["HDR-18", "ENV-08"],
            nothing_leaks,
        ),
    ],
};

fn names_ignore_case(cx: &mut Context) -> Result<(), Failure> {
    for name in ["x-case", "X-CASE", "X-Case", "x-cAsE"] {
        cx.again();
        cx.answered(&cx.get("").field(name, "here"), 200)?;
        ensure_eq!(cx.seen()?.call()?.texts("x-case"), ["here"], "the field sent as {name}");
    }
    // Framing fields too.
    cx.again();
    cx.answered(&cx.request("POST", "/").script("read").field("CONTENT-LENGTH", "3").tail("abc"), 200)?;
    cx.seen()?.read_all(b"abc")
}

fn values_are_octets(cx: &mut Context) -> Result<(), Failure> {
    let value: Vec<u8> = (0x80..=0xff).collect();
    cx.answered(&cx.get("").field("x-octets", &value), 200)?;
    ensure_eq!(cx.seen()?.call()?.field("x-octets"), vec![value], "octets from 0x80 to 0xFF");
    cx.again();
    let value: Vec<u8> = (0x21..=0x7e).collect();
    cx.answered(&cx.get("").field("x-octets", &value), 200)?;
    ensure_eq!(cx.seen()?.call()?.field("x-octets"), vec![value], "visible ASCII");
    Ok(())
}

fn repeated_fields(cx: &mut Context) -> Result<(), Failure> {
    let request = cx.get("").field("x-many", "1").field("X-Many", "3, 4").field("x-other", "o").field("x-MANY", "2");
    cx.answered(&request.field("x-many", ""), 200)?;
    ensure_eq!(cx.seen()?.call()?.texts("x-many"), ["1", "3, 4", "2", ""], "the lines of a repeated field");
    Ok(())
}

fn any_field(cx: &mut Context) -> Result<(), Failure> {
    let long = "v".repeat(7000);
    let fields = [
        ("cookie", "a=b; c=\"d, e\"; f"),
        ("authorization", "Basic dXNlcjpwYXNz"),
        ("referer", "http://a.example/?x#y"),
        ("content-type", "text/plain; charset=utf-8"),
        ("x-long", long.as_str()),
        ("proxy", "http://evil.example"),
        ("if-none-match", "W/\"x\", \"y\""),
    ];
    let mut request = cx.get("");
    for (name, value) in fields {
        request = request.field(name, value);
    }
    cx.answered(&request, 200)?;
    let call = cx.seen()?.call()?;
    for (name, value) in fields {
        ensure_eq!(call.texts(name), [value], "the field {name}");
    }
    Ok(())
}

fn whitespace(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.raw(
        "GET / HTTP/1.1\r\nhost: a\r\nx-a:none\r\nx-b: \t  both \t \r\nx-c: in  ner\tspace \r\nx-d:\r\nx-e:   \r\n{t}\r\n",
    ))?;
    ensure_eq!(connection.response("GET")?.status(), 200, "the status");
    let call = cx.seen()?.call()?;
    for (name, value) in [("x-a", "none"), ("x-b", "both"), ("x-c", "in  ner\tspace"), ("x-d", ""), ("x-e", "")] {
        ensure_eq!(call.texts(name), [value], "the value of {name}");
    }
    Ok(())
}

/// A head with these lines after its Host is refused with 400.
fn refused_lines(cx: &mut Context, lines: &[u8]) -> Result<(), Failure> {
    let mut bytes = b"GET / HTTP/1.1\r\nhost: a\r\n{t}".to_vec();
    bytes.extend_from_slice(lines);
    bytes.extend_from_slice(b"\r\n\r\n");
    let shown = lines.escape_ascii().to_string();
    cx.refused(bytes, &[400]).map(drop).map_err(|failure| Failure(format!("{shown:?}: {failure}")))
}

fn space_before_colon(cx: &mut Context) -> Result<(), Failure> {
    for line in [&b"x-a : b"[..], b"x-a\t: b", b"Content-Length : 3", b"transfer-encoding : chunked", b"x-a  : b"] {
        refused_lines(cx, line)?;
    }
    cx.refused("GET / HTTP/1.1\r\n host: a\r\n{t}\r\n", &[400])?;
    cx.refused("GET / HTTP/1.1\r\n\tx-a: b\r\nhost: a\r\n{t}\r\n", &[400]).map(drop)
}

fn folding(cx: &mut Context) -> Result<(), Failure> {
    for line in [&b"x-a: b\r\n c"[..], b"x-a: b\r\n\tc", b"x-a:\r\n b", b"x-a: b\r\n \r\nx-c: d"] {
        refused_lines(cx, line)?;
    }
    Ok(())
}

fn names_are_tokens(cx: &mut Context) -> Result<(), Failure> {
    for line in [
        &b": empty"[..],
        b"x(a: b",
        b"x a: b",
        b"x@a: b",
        b"\"x\": b",
        b"x/a: b",
        b"x\xe9: b",
        b"x\x00: b",
        b"[x]: b",
        b"x\x7f: b",
        b"no colon at all",
    ] {
        refused_lines(cx, line)?;
    }
    // All that a token may hold.
    cx.again();
    cx.answered(&cx.get("").field("!#$%&'*+-.^_`|~09az", "token"), 200)?;
    ensure_eq!(cx.seen()?.call()?.texts("!#$%&'*+-.^_`|~09az"), ["token"], "a name of every kind of token character");
    Ok(())
}

fn controls(cx: &mut Context) -> Result<(), Failure> {
    for octet in [0_u8, 1, 8, 0x0b, 0x0c, b'\r', 0x1b, 0x1f, 0x7f] {
        for place in [&b"b?c"[..], b"?c", b"b?"] {
            // Next to the end of the line a CR reads as CR CR LF, which is a bare CR as well.
            let value: Vec<u8> = place.iter().map(|byte| if *byte == b'?' { octet } else { *byte }).collect();
            refused_lines(cx, &[b"x-a: ", &value[..]].concat())?;
        }
    }
    Ok(())
}

fn tab(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get("").field("x-tab", "a\tb"), 200)?;
    ensure_eq!(cx.seen()?.call()?.texts("x-tab"), ["a\tb"], "a value with a tab");
    Ok(())
}

fn bare_lf(cx: &mut Context) -> Result<(), Failure> {
    for text in [
        "GET / HTTP/1.1\nhost: a\n{t}x-a: b\n\n",
        "GET / HTTP/1.1\r\nhost: a\r\n{t}x-a: b\nx-c: d\r\n\r\n",
        "GET /a\nb HTTP/1.1\r\nhost: a\r\n{t}\r\n",
        "GE\nT / HTTP/1.1\r\nhost: a\r\n{t}\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n{t}x\na: b\r\n\r\n",
    ] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.raw(text))?;
        connection.finish();
        let answer = connection.rest()?;
        let status = String::from_utf8_lossy(&answer).get(9..12).and_then(|code| code.parse::<u16>().ok());
        ensure!(
            matches!(status, None | Some(200 | 400 | 505)),
            "expected 200, 400 or nothing, seen {status:?} for {text:?}"
        );
        for call in cx.seen()?.calls() {
            let has_lf = |bytes: &[u8]| bytes.contains(&b'\n');
            let parts = [call.method.as_bytes(), call.uri.as_bytes()];
            ensure!(!parts.iter().any(|part| has_lf(part)), "a LF in the method or target of {text:?}");
            for (name, value) in &call.fields {
                ensure!(!has_lf(name.as_bytes()) && !has_lf(value), "a LF in the field {name} of {text:?}");
            }
        }
    }
    Ok(())
}

fn bare_lf_ends(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.raw("GET /lf HTTP/1.1\nhost: a\nx-a: b\n{t}\n"))?;
    ensure_eq!(connection.response("GET")?.status(), 200, "the status");
    let call = cx.seen()?.call()?;
    ensure_eq!(call.uri, "/lf", "the target");
    ensure_eq!(call.texts("x-a"), ["b"], "a field");
    Ok(())
}

fn hop_by_hop(cx: &mut Context) -> Result<(), Failure> {
    // The application looks at no field; the server acts on every one.
    let mut connection = cx.connect()?;
    connection
        .send(cx.request("POST", "/").script("read; body one").chunked(&["payload"]).field("te", "trailers").bytes())?;
    ensure_eq!(connection.response("POST")?.text(), "one", "the first response");
    connection.send(cx.get("body two").field("connection", "x-private, close").field("x-private", "1").bytes())?;
    let response = connection.response("GET")?;
    ensure_eq!(response.text(), "two", "the second response");
    ensure!(response.head.lists("connection", "close"), "no Connection: close in the last response");
    connection.closed()
}

fn hyphen_underscore(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get("").field("x-user", "hyphen").field("x_user", "underscore"), 200)?;
    let call = cx.seen()?.call()?;
    ensure_eq!(call.texts("x-user"), ["hyphen"], "x-user");
    // Dropping the other one is a way not to alias; delivering it apart is the other.
    ensure!(matches!(&call.texts("x_user")[..], [] | [_]), "x_user arrived several times");
    ensure!(call.texts("x_user").iter().all(|value| value == "underscore"), "x_user has another's value");
    cx.again();
    cx.answered(&cx.get("").field("x_user", "forged"), 200)?;
    ensure_eq!(cx.seen()?.call()?.texts("x-user"), Vec::<String>::new(), "x-user where only x_user was sent");
    Ok(())
}

fn strangers_forwarded(cx: &mut Context) -> Result<(), Failure> {
    let request = cx
        .get("")
        .field("forwarded", "for=9.9.9.9;proto=https;host=evil.example")
        .field("x-forwarded-for", "9.9.9.9")
        .field("x-forwarded-proto", "https")
        .field("x-forwarded-host", "evil.example")
        .field("x-real-ip", "9.9.9.9");
    let (connection, _) = cx.answered(&request, 200)?;
    let call = cx.seen()?.call()?;
    ensure_eq!(call.env("scheme"), cx.scheme(), "the scheme");
    ensure_eq!(call.env("peer"), connection.local_addr().map_or(String::new(), |peer| peer.to_string()), "the peer");
    ensure_eq!(call.texts("host"), ["conformance.test"], "the Host");
    ensure_eq!(call.texts("x-forwarded-for"), ["9.9.9.9"], "the field itself");
    Ok(())
}

fn trusted_forwarded(cx: &mut Context) -> Result<(), Failure> {
    let own = cx.scheme();
    for (fields, peer, scheme) in [
        (vec![("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.1"), ("x-forwarded-proto", "https")], "1.2.3.4:0", "https"),
        (vec![("x-forwarded-for", "1.2.3.4")], "1.2.3.4:0", own),
        (vec![("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4, 10.0.0.1")], "1.2.3.4:0", own),
        (
            vec![("x-forwarded-for", "::ffff:1.2.3.4, ::ffff:10.0.0.1"), ("x-forwarded-proto", "https, http")],
            "1.2.3.4:0",
            "https",
        ),
    ] {
        super::forwarded::behind(cx, &fields, peer, scheme)?;
    }
    Ok(())
}

fn nothing_leaks(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection
        .send(cx.post("extension; read; body one", "abc").field("x-first", "1").field("cookie", "secret").bytes())?;
    connection.response("POST")?;
    let before = cx.seen()?.call()?;
    cx.again();
    connection.send(cx.get("body two").field("x-second", "2").bytes())?;
    connection.response("GET")?;
    let call = cx.seen()?.call()?;
    ensure_eq!(call.texts("x-second"), ["2"], "the second request's own field");
    for name in ["x-first", "cookie", "content-length"] {
        ensure!(call.field(name).is_empty(), "{name} of the first request arrived with the second");
    }
    ensure_eq!(call.env("extensions"), before.env("extensions"), "the number of extensions");
    ensure_eq!(call.env("deployed"), "by the suite", "the deployed value");
    Ok(())
}
