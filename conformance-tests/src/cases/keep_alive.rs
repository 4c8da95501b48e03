//! How long a connection lives, and in which order its requests are served. KAP-01 to KAP-13

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::{Context, RequestBuilder};
use crate::setting;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "keep_alive",
    title: "Persistence and pipelining",
    cases: &[
        Case::must("http11_persists", "many requests on one connection", &["KAP-01"], persists),
        Case::must("http10_closes", "HTTP/1.0 closes unless asked", &["KAP-02"], http10_closes),
        Case::must("http10_keep_alive", "HTTP/1.0 persists where asked, and says so", &["KAP-03"], http10_keeps),
        Case::must("client_closes", "Connection: close, anywhere in the list, in any case", &["KAP-04"], client_closes),
        Case::must("application_closes", "Connection: close of the application", &["KAP-05"], application_closes),
        Case::must("pipelined_in_order", "pipelined requests are answered in order", &["KAP-06", "RSP-12"], pipelined),
        Case::must("pipelined_at_any_split", "however they are cut", &["KAP-06", "TGT-23"], pipelined_split),
        Case::must("one_at_a_time", "the next request waits for the response before it", &["KAP-07"], one_at_a_time),
        Case::must("idle_connection_is_closed", "an idle connection ends silently", &["KAP-08"], idle)
            .with(&setting::SHORT_IDLE),
        Case::must("busy_connection_is_not_idle", "the idle timeout spares requests and data", &["KAP-09"], busy)
            .with(&setting::SHORT_IDLE),
        Case::must(
            "idle_connections_hold_no_thread",
            "new requests are served beside many idle connections",
            &["KAP-10", "CON-05"],
            idle_many,
        ),
        Case::must("slow_heads_hold_no_thread", "and beside many slow ones", &["KAP-10"], slow_many),
        Case::must(
            "not_reused_after_refusal",
            "nothing behind a refused request is served",
            &["KAP-11"],
            after_refusal,
        ),
        Case::should(
            "keep_alive_can_be_off",
            "every connection ends after its first response",
            &["KAP-12a"],
            turned_off,
        )
        .with(&setting::NO_KEEP_ALIVE),
        Case::may("requests_are_counted", "the last of the allowed requests closes", &["KAP-12b"], counted)
            .with(&setting::TWO_REQUESTS),
        Case::should("close_is_in_stages", "an orderly end for a client that is still sending", &["KAP-13"], in_stages),
        Case::should("own_end_comes_first", "also where an upgrade was not taken", &["KAP-13"], own_end),
        Case::should("slow_uploads_get_their_answer", "also for one that goes on for long", &["KAP-13"], slow_uploads)
            .with(&setting::SMALL_LIMITS),
    ],
};

fn persists(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    for round in 0..50 {
        for request in [
            cx.get("body one"),
            cx.post("read; body two", "abc"),
            cx.post("stream text:three", "abc"),
            cx.get("error x"),
        ] {
            connection.send(request.bytes())?;
            let response = connection
                .response(request.method())
                .map_err(|failure| Failure(format!("round {round}: {failure}")))?;
            ensure!(!response.head.lists("connection", "close"), "Connection: close in round {round}");
        }
    }
    ensure_eq!(cx.seen()?.calls().len(), 200, "calls of the application");
    Ok(())
}

fn http10_closes(cx: &mut Context) -> Result<(), Failure> {
    for script in ["body x", "stream text:x", "size 100000", "status 204"] {
        let (mut connection, _) = cx.exchange(&cx.get(script).http10())?;
        connection.closed()?;
    }
    Ok(())
}

fn http10_keeps(cx: &mut Context) -> Result<(), Failure> {
    for value in ["keep-alive", "Keep-Alive", "x-private, KEEP-ALIVE"] {
        let mut connection = cx.connect()?;
        for script in ["body one", "size 5000", "body"] {
            connection.send(cx.get(script).http10().field("connection", value).bytes())?;
            let response = connection.response("GET")?;
            ensure!(response.head.lists("connection", "keep-alive"), "no Connection: keep-alive ({script})");
        }
        connection.send(cx.get("body last").http10().bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "last", "the last response");
        connection.closed()?;
    }
    Ok(())
}

fn client_closes(cx: &mut Context) -> Result<(), Failure> {
    for value in ["close", "Close", "CLOSE", "x-private, close", "close, x-private", "keep-alive, close", "x,,close,"] {
        for script in ["body x", "stream text:x", "status 204"] {
            let (mut connection, response) = cx.exchange(&cx.get(script).field("Connection", value))?;
            ensure!(
                response.head.lists("connection", "close"),
                "no Connection: close in answer to {value:?} ({script})"
            );
            connection.closed()?;
        }
    }
    let request = cx.get("body x").field("connection", "x-private").field("connection", "close");
    let (mut connection, _) = cx.answered(&request, 200)?;
    connection.closed()?;
    // Names that only contain it do not count.
    let (mut connection, _) = cx.answered(&cx.get("body x").field("connection", "closed, x-close"), 200)?;
    connection.send(cx.get("body next").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    Ok(())
}

fn application_closes(cx: &mut Context) -> Result<(), Failure> {
    for value in ["close", "Close", "x-private,%20close"] {
        for body in ["body x", "stream text:x", "status 204"] {
            let (mut connection, response) = cx.exchange(&cx.get(&format!("header connection {value}; {body}")))?;
            ensure!(response.head.lists("connection", "close"), "no Connection: close ({value}, {body})");
            connection.closed()?;
        }
    }
    let request = cx.get("header connection close; body x").http10().field("connection", "keep-alive");
    let (mut connection, response) = cx.answered(&request, 200)?;
    ensure!(!response.head.lists("connection", "keep-alive"), "keep-alive though the application closes");
    connection.closed()
}

fn pipelined(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let mut bytes = Vec::new();
    for index in 0..32 {
        let script = match index % 4 {
            0 => format!("body {index}"),
            1 => format!("sleep 2; body {index}"),
            2 => format!("read; stream text:{index}"),
            _ => format!("blocking; body {index}"),
        };
        let request = if index % 4 == 2 { cx.post(&script, "abc") } else { cx.get(&script) };
        bytes.extend_from_slice(&request.bytes());
    }
    connection.send(bytes)?;
    for index in 0..32 {
        let response = connection.response("GET").map_err(|failure| Failure(format!("response {index}: {failure}")))?;
        ensure_eq!(response.text(), index.to_string(), "the body of response {index}");
    }
    connection.nothing_arrived("after the last response")
}

fn pipelined_split(cx: &mut Context) -> Result<(), Failure> {
    let both = |cx: &Context| {
        let mut bytes = cx.post("read; body one", "abc").bytes();
        bytes.extend_from_slice(&cx.request("POST", "/").script("read; body two").chunked(&["de", "f"]).bytes());
        bytes
    };
    for at in (1..both(cx).len()).step_by(3) {
        let bytes = both(cx);
        let mut connection = cx.connect()?;
        connection.send(&bytes[..at])?;
        cx.seen()?;
        connection.send(&bytes[at..])?;
        for expected in ["one", "two"] {
            let response = connection.response("POST").map_err(|failure| Failure(format!("cut at {at}: {failure}")))?;
            ensure_eq!(response.text(), expected, "the response cut at {at}");
        }
    }
    Ok(())
}

fn one_at_a_time(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let mut bytes = cx.request("GET", "/1").script("gate one; stream text:a gate:two text:b").bytes();
    bytes.extend_from_slice(&cx.request("GET", "/2").script("body second").bytes());
    connection.send(bytes)?;
    cx.wait_for("at one")?;
    ensure_eq!(cx.seen()?.calls().len(), 1, "calls while the first handler runs");
    cx.open("one")?;
    cx.wait_for("at two")?;
    ensure_eq!(cx.seen()?.calls().len(), 1, "calls while the first body is being sent");
    cx.open("two")?;
    ensure_eq!(connection.response("GET")?.text(), "ab", "the first response");
    ensure_eq!(connection.response("GET")?.text(), "second", "the second response");
    let seen = cx.seen()?;
    let second = seen.events.iter().position(|event| event.call == 1).unwrap_or(0);
    ensure!(
        seen.position("body-end").is_some_and(|end| end < second),
        "the second call began before the first body ended"
    );
    Ok(())
}

fn idle(cx: &mut Context) -> Result<(), Failure> {
    for request in [
        cx.get("body x"),
        cx.post("read; body x", "abc"),
        cx.get("stream text:x"),
        cx.get("body x").http10().field("connection", "keep-alive"),
    ] {
        let (mut connection, _) = cx.exchange(&request)?;
        // Silently: nothing but the end.
        connection.closed()?;
        ensure_eq!(connection.was_reset(), Some(false), "whether an idle connection was reset");
    }
    Ok(())
}

fn busy(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("body first").bytes())?;
    connection.response("GET")?;
    // Longer than the timeout in the handler, in the body, and between the pieces of a request.
    connection.send(cx.get("sleep 900; body late").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "late", "the response of a slow handler");
    connection.send(cx.get("stream text:a sleep:900 text:b").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "ab", "the response with a slow body");
    let request = cx.post("read; body read", "abcdef").bytes();
    connection.send(&request[..request.len() - 3])?;
    cx.answered(&cx.request("GET", "/").script("sleep 900"), 200)?;
    connection.send(&request[request.len() - 3..])?;
    ensure_eq!(connection.response("POST")?.text(), "read", "the response to a slow upload");
    let request = cx.get("body head").bytes();
    connection.send(&request[..20])?;
    cx.answered(&cx.request("GET", "/").script("sleep 900"), 200)?;
    connection.send(&request[20..])?;
    ensure_eq!(connection.response("GET")?.text(), "head", "the response to a slow head");
    Ok(())
}

/// More connections than any server here has threads by default.
const MANY: usize = 300;

fn idle_many(cx: &mut Context) -> Result<(), Failure> {
    let mut connections = Vec::new();
    for _ in 0..MANY {
        let mut connection = cx.connect()?;
        connection.send(cx.get("body x").bytes())?;
        connection.response("GET")?;
        connections.push(connection);
    }
    let (_, response) = cx.answered(&cx.get("body served"), 200)?;
    ensure_eq!(response.text(), "served", "a new connection beside idle ones");
    let last = &mut connections[MANY / 2];
    last.send(cx.get("body again").bytes())?;
    ensure_eq!(last.response("GET")?.text(), "again", "a request on one of them");
    Ok(())
}

fn slow_many(cx: &mut Context) -> Result<(), Failure> {
    let mut connections = Vec::new();
    let request = cx.get("body slow").bytes();
    for index in 0..MANY {
        let mut connection = cx.connect()?;
        connection.send(&request[..index % 40])?;
        connections.push((connection, index % 40));
    }
    let (_, response) = cx.answered(&cx.get("body served"), 200)?;
    ensure_eq!(response.text(), "served", "a new connection beside slow ones");
    let (last, sent) = &mut connections[MANY / 2];
    last.send(&request[*sent..])?;
    ensure_eq!(last.response("GET")?.text(), "slow", "one that was slow");
    Ok(())
}

fn after_refusal(cx: &mut Context) -> Result<(), Failure> {
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 4\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    ] {
        let mut bytes = bad.as_bytes().to_vec();
        bytes.extend_from_slice(&cx.request("GET", "/smuggled").bytes());
        let mut connection = cx.connect()?;
        connection.send(bytes)?;
        let response = connection.response("GET")?;
        ensure!(response.status() >= 400, "expected a refusal of {bad:?}, seen {}", response.status());
        connection.closed()?;
        super::request_body::nothing_smuggled(cx)?;
    }
    Ok(())
}

fn turned_off(cx: &mut Context) -> Result<(), Failure> {
    for request in
        [cx.get("body x"), cx.get("stream text:x"), cx.get("body x").http10().field("connection", "keep-alive")]
    {
        let (mut connection, response) = cx.answered(&request, 200)?;
        ensure!(!response.head.lists("connection", "keep-alive"), "keep-alive though it is turned off");
        connection.closed()?;
    }
    let (_, response) = cx.answered(&cx.get("body x"), 200)?;
    ensure!(response.head.lists("connection", "close"), "no Connection: close");
    Ok(())
}

fn counted(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("body one").bytes())?;
    ensure!(!connection.response("GET")?.head.lists("connection", "close"), "closed after the first of two");
    connection.send(cx.get("body two").bytes())?;
    ensure!(connection.response("GET")?.head.lists("connection", "close"), "no Connection: close on the last response");
    connection.closed()
}

fn in_stages(cx: &mut Context) -> Result<(), Failure> {
    for request in [
        cx.raw("POST / HTTP/1.1\r\n{t}content-length: 300000\r\n\r\n"),
        cx.post("status 403; header connection close; body no", "").tail("").head_bytes(),
    ] {
        let mut connection = cx.connect()?;
        let mut bytes = request;
        bytes.extend_from_slice(&vec![b'x'; 300_000]);
        let sending = connection.send_in_background(bytes)?;
        let response = connection.response("POST")?;
        ensure!(response.status() >= 400, "expected an error, seen {}", response.status());
        ensure!(!response.truncated, "the response is not complete");
        sending.finish();
        connection.closed()?;
        ensure_eq!(connection.was_reset(), Some(false), "whether the connection was reset instead of closed");
    }
    Ok(())
}

/// The client goes on sending, so that no server can mistake its silence for its end.
fn own_end(cx: &mut Context) -> Result<(), Failure> {
    let refused = |rest: &str| cx.raw(format!("GET / HTTP/1.1\r\n{{t}}{rest}\r\n"));
    let with_body = |request: RequestBuilder| request.field("content-length", "1000000").tail("x").bytes();
    let requests = [
        ("closed by the client", cx.get("body yes").close().bytes()),
        ("closed by the application", with_body(cx.get("status 403; header connection close; body no"))),
        ("a refusal", refused("connection: close\r\n")),
        ("an upgrade, closed by the client", {
            cx.get("body yes").field("connection", "upgrade, close").field("upgrade", "nothing").bytes()
        }),
        ("an upgrade, closed by the application", {
            let asks = cx.get("status 403; header connection close; body no").field("connection", "upgrade");
            with_body(asks.field("upgrade", "nothing"))
        }),
        ("an upgrade, refused", refused("connection: upgrade\r\nupgrade: nothing\r\n")),
        ("an upgrade of nobody's, refused", refused("connection: upgrade\r\nupgrade: h2c\r\n")),
    ];
    let mut connections = Vec::new();
    for (what, request) in requests {
        let mut connection = cx.connect()?;
        connection.send(request)?;
        let response = connection.response("GET").map_err(|failure| Failure(format!("{what}: {failure}")))?;
        ensure!(response.head.lists("connection", "close"), "{what}: no Connection: close");
        connections.push((what, connection));
    }
    for _ in 0..40 {
        cx.pause(100)?;
        for (_, connection) in &mut connections {
            connection.arrived();
        }
        connections.retain(|(_, connection)| connection.was_reset() != Some(false));
        for (what, connection) in &mut connections {
            connection.send("x").map_err(|failure| Failure(format!("{what}: {failure}")))?;
        }
    }
    let open: Vec<_> = connections.iter().map(|(what, _)| *what).collect();
    ensure!(open.is_empty(), "the server's end does not come while the client is sending: {}", open.join(", "));
    Ok(())
}

fn slow_uploads(cx: &mut Context) -> Result<(), Failure> {
    let refused = |field: &str| cx.raw(format!("POST / HTTP/1.1\r\nhost: a\r\n{{t}}{field}\r\n\r\n"));
    let mut connections = Vec::new();
    for request in [
        refused("content-length: 10000000"),
        refused("expect: nothing\r\ncontent-length: 10000000"),
        refused("transfer-encoding: gzip, chunked"),
        refused("content-length: 3, 4"),
        cx.request("POST", "/")
            .script("read?; body no")
            .field("transfer-encoding", "chunked")
            .tail("fffff\r\n")
            .bytes(),
    ] {
        let mut connection = cx.connect()?;
        connection.send(request)?;
        connections.push(connection);
    }
    for piece in 0..12 {
        for (index, connection) in connections.iter_mut().enumerate() {
            connection
                .send(vec![b'x'; 20_000])
                .map_err(|failure| Failure(format!("upload {index}, piece {piece}: {failure}")))?;
        }
        cx.pause(300)?;
    }
    for (index, mut connection) in connections.into_iter().enumerate() {
        let what = |failure| Failure(format!("upload {index}: {failure}"));
        let response = connection.response("POST").map_err(what)?;
        ensure!(response.status() >= 400, "expected an error, seen {}", response.status());
        ensure!(response.head.lists("connection", "close"), "upload {index}: no Connection: close");
        connection.closed().map_err(what)?;
        ensure_eq!(connection.was_reset(), Some(false), "whether upload {index} was reset instead of closed");
    }
    Ok(())
}
