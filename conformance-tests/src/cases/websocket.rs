//! Handshakes: what is one, how it is accepted, denied and refused. UPG-01 to UPG-05, UPG-07, UPG-08, UPG-15a, UPG-16,
//! UPG-21, UPG-24, UPG-26

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::{ACCEPT, Context, KEY, RequestBuilder, switched};
use crate::wire::http2::Http2;
use crate::wire::websocket::{Frame, WebSocket, opcode};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "websocket",
    title: "WebSocket handshakes",
    cases: &[
        Case::must("handshake_is_accepted", "101 with the accept of the key", &["UPG-01"], accepted).needs("websocket"),
        Case::must("handshakes_are_recognised", "in any case, among other members", &["UPG-02"], recognised)
            .needs("websocket"),
        Case::must("bad_key_is_400", "missing, repeated, or not 16 octets in base64", &["UPG-03a"], bad_key)
            .needs("websocket"),
        Case::must("other_version_is_426", "and says which one is spoken", &["UPG-03b"], other_version)
            .needs("websocket"),
        Case::must("denial_is_sent", "an ordinary response with its body", &["UPG-04"], denied).needs("websocket"),
        Case::must("plain_requests_are_told_apart", "and answered as the application says", &["UPG-05"], plain)
            .needs("websocket"),
        Case::must("subprotocol_is_the_chosen_one", "and there only if one was chosen", &["UPG-07"], subprotocol)
            .needs("websocket"),
        Case::must("fields_are_added_to_the_accept", "those the application sets", &["UPG-08"], fields)
            .needs("websocket"),
        Case::must("failure_before_the_accept_is_500", "an error and a panic", &["UPG-15a"], fails_before)
            .needs("websocket"),
        Case::must("frames_with_the_handshake_arrive", "those right behind the head", &["UPG-16", "UPG-09"], early)
            .needs("websocket"),
        Case::must("environment_is_that_of_a_request", "addresses, fields, target", &["UPG-21a"], environment)
            .needs("websocket"),
        Case::must("scheme_is_http", "not ws", &["UPG-21b"], scheme).needs("websocket"),
        Case::must("extensions_are_not_negotiated", "the offer is not echoed", &["UPG-24"], extensions)
            .needs("websocket"),
        Case::may("websocket_over_http2", "by extended CONNECT", &["UPG-26"], over_http2).needs("http2"),
    ],
};

fn accepted(cx: &mut Context) -> Result<(), Failure> {
    for script in ["websocket echo", "websocket future echo", "websocket blocking echo", "blocking; websocket echo"] {
        let (mut socket, head) = cx.accepted(&cx.handshake(script))?;
        ensure_eq!(head.all("sec-websocket-accept"), [ACCEPT], "the accept of {KEY} ({script})");
        ensure_eq!(head.all("upgrade").join(",").to_ascii_lowercase(), "websocket", "Upgrade ({script})");
        ensure!(head.lists("connection", "upgrade"), "no upgrade in Connection ({script})");
        ensure!(!head.has("content-length") && !head.has("transfer-encoding"), "framing in a 101 ({script})");
        socket.text("hello")?;
        socket.expect_text("hello")?;
        socket.finish()?;
    }
    // Another key. RFC 6455 leaves it to the client which octets they are.
    let request = cx.get("websocket echo").field("upgrade", "websocket").field("connection", "upgrade");
    let request = request.field("sec-websocket-key", "x3JJHMbDL1EzLkh9GBhXDw==").field("sec-websocket-version", "13");
    let (_, head) = cx.accepted(&request)?;
    ensure_eq!(head.all("sec-websocket-accept"), ["HSmrc0sMlYUkAGmm5OPpG2HaGWk="], "the accept of another key");
    Ok(())
}

/// A GET that does `script`, with fields as written.
fn with(cx: &Context, script: &str, fields: &[(&str, &str)]) -> RequestBuilder {
    fields.iter().fold(cx.get(script), |request, (name, value)| request.field(name, value))
}

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

fn recognised(cx: &mut Context) -> Result<(), Failure> {
    for (upgrade, connection) in [
        ("websocket", "upgrade"),
        ("WebSocket", "Upgrade"),
        ("WEBSOCKET", "UPGRADE"),
        ("h2c, websocket", "keep-alive, Upgrade"),
        ("websocket", "upgrade,keep-alive"),
    ] {
        let fields = [("Upgrade", upgrade), ("Connection", connection), ("Sec-WebSocket-Key", KEY), VERSION];
        let (mut socket, _) = cx
            .accepted(&with(cx, "websocket echo", &fields))
            .map_err(|failure| Failure(format!("Upgrade: {upgrade}, Connection: {connection}: {failure}")))?;
        socket.text("x")?;
        socket.expect_text("x")?;
    }
    // In two lines.
    let fields = [
        ("upgrade", "foo"),
        ("upgrade", "websocket"),
        ("connection", "keep-alive"),
        ("connection", "upgrade"),
        ("sec-websocket-key", KEY),
        VERSION,
    ];
    cx.accepted(&with(cx, "websocket echo", &fields))?;
    Ok(())
}

fn bad_key(cx: &mut Context) -> Result<(), Failure> {
    for keys in [
        &[][..],
        &[KEY, KEY],
        &[""],
        &["c2hvcnQ="],
        &["dG9vIGxvbmcgZm9yIGEgbm9uY2U="],
        &["!!!!!!!!!!!!!!!!!!!!!!=="],
        &["dGhlIHNhbXBsZSBub25jZQ"],
    ] {
        let mut fields = vec![("upgrade", "websocket"), ("connection", "upgrade"), VERSION];
        fields.extend(keys.iter().map(|key| ("sec-websocket-key", *key)));
        cx.again();
        let (_, response) = cx.exchange(&with(cx, "websocket? echo", &fields))?;
        ensure_eq!(response.status(), 400, "the status for the keys {keys:?}");
        ensure_eq!(cx.seen()?.details("websocket-error"), ["malformed"], "what the application is told ({keys:?})");
    }
    // An application that treats it as plain HTTP is served as such.
    let fields = [("upgrade", "websocket"), ("connection", "upgrade"), VERSION];
    let (_, response) = cx.answered(&with(cx, "websocket echo; body plain", &fields), 200)?;
    ensure_eq!(response.text(), "plain", "the application's own answer");
    Ok(())
}

fn other_version(cx: &mut Context) -> Result<(), Failure> {
    for version in ["8", "0", "14", "130", "x"] {
        cx.again();
        let fields = [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-key", KEY)];
        let request = with(cx, "websocket? echo", &fields).field("sec-websocket-version", version);
        let (_, response) = cx.exchange(&request)?;
        ensure_eq!(response.status(), 426, "the status for version {version}");
        ensure_eq!(response.head.all("sec-websocket-version"), ["13"], "the version that is spoken");
        ensure_eq!(cx.seen()?.details("websocket-error"), ["wrong-version"], "what the application is told");
    }
    Ok(())
}

fn denied(cx: &mut Context) -> Result<(), Failure> {
    for (body, text) in [
        ("body no%20entry", "no entry"),
        ("stream text:no text:%20entry", "no entry"),
        ("body", ""),
        ("iter text:no", "no"),
    ] {
        cx.again();
        let mut connection = cx.connect()?;
        let script = format!("handshake; status 403; header x-why because; {body}");
        connection.send(cx.handshake(&script).field("sec-websocket-protocol", "a, b").bytes())?;
        let response = connection.response("GET")?;
        ensure_eq!(response.status(), 403, "the status ({body})");
        ensure_eq!(response.text(), text, "the body ({body})");
        ensure_eq!(response.head.all("x-why"), ["because"], "a field of the denial ({body})");
        for name in ["upgrade", "sec-websocket-accept", "sec-websocket-protocol"] {
            ensure!(!response.head.has(name), "{name} in a denial ({body})");
        }
        ensure_eq!(cx.seen()?.details("handshake"), ["a,b"], "the subprotocols the application is told");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response ({body})");
    }
    Ok(())
}

fn plain(cx: &mut Context) -> Result<(), Failure> {
    const UPGRADE: (&str, &str) = ("upgrade", "websocket");
    const CONNECTION: (&str, &str) = ("connection", "upgrade");
    const THE_KEY: (&str, &str) = ("sec-websocket-key", KEY);
    for (what, method, fields) in [
        ("plain", "GET", &[][..]),
        ("without Upgrade", "GET", &[CONNECTION, THE_KEY, VERSION]),
        ("without Connection", "GET", &[UPGRADE, THE_KEY, VERSION]),
        ("another protocol", "GET", &[("upgrade", "websockets"), CONNECTION, THE_KEY, VERSION]),
        ("a POST", "POST", &[UPGRADE, CONNECTION, THE_KEY, VERSION, ("content-length", "0")]),
        ("HTTP/1.0", "1.0", &[UPGRADE, CONNECTION, THE_KEY, VERSION]),
    ] {
        cx.again();
        let request = with(cx, "websocket echo; body plain", fields);
        let request = if method == "1.0" { request.http10() } else { request.method_is(method) };
        let (_, response) = cx.answered(&request, 200)?;
        ensure_eq!(response.text(), "plain", "the response ({what})");
        ensure_eq!(cx.seen()?.details("websocket-error"), ["not-websocket"], "what the application is told ({what})");
    }
    Ok(())
}

fn subprotocol(cx: &mut Context) -> Result<(), Failure> {
    for (offers, choice, expected) in [
        (&["chat, superchat"][..], "protocols:superchat,chat", Some("superchat")),
        (&["chat, superchat"], "protocol:chat", Some("chat")),
        (&["a", "b"], "protocol:b", Some("b")),
        (&["Chat"], "protocols:chat", None),
        (&["chat"], "protocols:other", None),
        (&["chat"], "", None),
        (&[], "protocols:chat", None),
    ] {
        let request = cx.handshake(&format!("websocket {choice} echo"));
        let request = offers.iter().fold(request, |request, offer| request.field("sec-websocket-protocol", offer));
        let (mut socket, head) = cx.accepted(&request)?;
        ensure_eq!(
            head.all("sec-websocket-protocol"),
            Vec::from_iter(expected),
            "Sec-WebSocket-Protocol ({offers:?}, {choice})"
        );
        socket.text("x")?;
        socket.expect_text("x")?;
    }
    for offers in ["", "chat", "chat, superchat"] {
        cx.again();
        let request = cx.handshake("websocket? protocol:soap echo");
        let request = if offers.is_empty() { request } else { request.field("sec-websocket-protocol", offers) };
        let (_, response) = cx.exchange(&request)?;
        ensure_eq!(response.status(), 500, "the status where the application chose what is not in {offers:?}");
        ensure_eq!(cx.seen()?.details("websocket-error"), ["unsendable"], "what the application is told");
    }
    Ok(())
}

fn fields(cx: &mut Context) -> Result<(), Failure> {
    for face in ["", "blocking "] {
        let script = format!("websocket {face}header:x-one:1 header:set-cookie:a=b header:set-cookie:c=d echo");
        let (_, head) = cx.accepted(&cx.handshake(&script))?;
        ensure_eq!(head.all("x-one"), ["1"], "a field");
        ensure_eq!(head.all("set-cookie"), ["a=b", "c=d"], "a field in two lines");
    }
    Ok(())
}

fn fails_before(cx: &mut Context) -> Result<(), Failure> {
    for script in cx.survivable(&["error boom", "handshake; error boom", "panic boom", "blocking; error boom"])? {
        cx.again();
        let (_, response) = cx.exchange(&cx.handshake(script))?;
        ensure_eq!(response.status(), 500, "the status ({script})");
        ensure!(!response.text().contains("boom"), "the error is told ({script})");
    }
    Ok(())
}

fn early(cx: &mut Context) -> Result<(), Failure> {
    let frames = [
        Frame::new(opcode::TEXT, "one").bytes(),
        Frame::new(opcode::BINARY, crate::text::pattern(100_000)).bytes(),
        Frame::new(opcode::TEXT, "three").bytes(),
    ];
    for face in ["", "blocking "] {
        let mut connection = cx.connect()?;
        let octets = [cx.handshake(&format!("websocket {face}echo")).bytes(), frames.concat()].concat();
        let sending = connection.send_in_background(octets)?;
        switched(&mut connection)?;
        let mut socket = WebSocket::new(connection);
        socket.expect_text("one")?;
        ensure!(socket.message()?.1 == crate::text::pattern(100_000), "a message that came early was altered");
        socket.expect_text("three")?;
        sending.finish();
        socket.finish()?;
    }
    Ok(())
}

fn environment(cx: &mut Context) -> Result<(), Failure> {
    const FACTS: [&str; 8] = ["scheme", "local", "mount-prefix", "path-info", "interface", "server", "tls", "deployed"];
    let target = "/chat%20room/?q=%41&r";
    let extra =
        |request: RequestBuilder| request.target(target).field("cookie", "a=b").field("origin", "http://x.test");
    cx.answered(&extra(cx.get("body plain")), 200)?;
    let asked = cx.seen()?.call()?;
    for script in ["websocket echo", "blocking; websocket echo"] {
        cx.again();
        let (socket, _) = cx.accepted(&extra(cx.handshake(script)))?;
        let call = cx.seen()?.call()?;
        ensure_eq!((&call.method, &call.uri), (&asked.method, &asked.uri), "method and target ({script})");
        ensure_eq!(call.version, asked.version, "the version ({script})");
        for name in ["host", "cookie", "origin"] {
            ensure_eq!(call.texts(name), asked.texts(name), "the field {name} ({script})");
        }
        ensure_eq!(call.texts("sec-websocket-key"), [KEY], "a field of the handshake ({script})");
        for fact in FACTS {
            ensure_eq!(call.env(fact), asked.env(fact), "{fact} ({script})");
        }
        let own = socket.connection.local_addr().map(|address| address.to_string()).unwrap_or_default();
        ensure_eq!(call.env("peer"), own, "the peer ({script})");
    }
    Ok(())
}

fn scheme(cx: &mut Context) -> Result<(), Failure> {
    let _socket = cx.websocket("echo")?;
    ensure_eq!(cx.seen()?.call()?.env("scheme"), cx.scheme(), "the scheme of a handshake");
    Ok(())
}

fn extensions(cx: &mut Context) -> Result<(), Failure> {
    for offer in ["permessage-deflate", "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame", "foo"] {
        let request = cx.handshake("websocket echo").field("sec-websocket-extensions", offer);
        let (mut socket, head) = cx.accepted(&request)?;
        ensure!(!head.has("sec-websocket-extensions"), "an extension was negotiated: {offer}");
        // The client fails on reserved bits.
        let text = "compressible ".repeat(100);
        socket.text(&text)?;
        socket.expect_text(&text)?;
        socket.finish()?;
    }
    Ok(())
}

fn over_http2(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let settings = http2.settings()?;
    // RFC 8441 §3: SETTINGS_ENABLE_CONNECT_PROTOCOL
    if !settings.contains(&(8, 1)) {
        return Ok(());
    }
    let stream = http2.connect("websocket", "/chat", "websocket echo", &[VERSION])?;
    let head = http2.head(stream)?;
    ensure_eq!(head.status, 200, "the status of an extended CONNECT");
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        ensure!(!head.has(name), "{name} over HTTP/2");
    }
    http2.data(stream, &Frame::new(opcode::TEXT, "hello").bytes(), false)?;
    ensure_eq!(http2.take(stream, 7)?, b"\x81\x05hello", "the echo");
    http2.data(stream, &Frame::close(1000, "").bytes(), false)?;
    ensure_eq!(http2.take(stream, 4)?, b"\x88\x02\x03\xe8", "the answer to a close");
    // Plain requests go on beside it.
    let plain = http2.get("/", "body plain")?;
    ensure_eq!(http2.response(plain)?.body, b"plain", "a request on the same connection");
    Ok(())
}
