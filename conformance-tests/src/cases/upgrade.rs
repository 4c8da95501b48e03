//! Connections taken over as streams of octets, those that nobody takes, and what is said where nobody can.
//! UPG-06, UPG-16 to UPG-19, UPG-23a, UPG-25

use std::time::Duration;

use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::{self, Context};
use crate::lifecycle::{self, Lifecycle};
use crate::setting::SHORT;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "upgrade",
    title: "Upgrades",
    cases: &[
        Case::must("unknown_upgrade_is_ignored", "served as if it had not been asked for", &["UPG-06"], ignored),
        Case::must("upgrade_with_a_body_is_ignored", "also with a body", &["UPG-06", "REQ-27"], with_body),
        Case::must(
            "early_octets_come_first",
            "octets right behind the request are the first of the stream",
            &["UPG-16"],
            early,
        )
        .needs("upgrade"),
        Case::must("stream_goes_both_ways", "after the 101, for async and blocking code", &["UPG-17"], both_ways)
            .needs("upgrade"),
        Case::must("halves_end_apart", "each side ends its own direction", &["UPG-17"], halves).needs("upgrade"),
        Case::must(
            "nothing_but_the_applications_octets",
            "no body of the 101, no end of it",
            &["UPG-18"],
            nothing_else,
        )
        .needs("upgrade"),
        Case::must("taking_twice_is_an_error", "the first one has it", &["UPG-19a"], twice).needs("upgrade"),
        Case::must("dropped_stream_is_closed", "after what was written", &["UPG-19b"], dropped).needs("upgrade"),
        Case::must("refusal_keeps_the_connection", "another status than 101 is HTTP as ever", &["UPG-06"], refused)
            .needs("upgrade"),
        Case::owned(
            Level::Must,
            "quiet_stream_stays",
            "no keep-alive, header, body or handler timeout",
            &["UPG-23a"],
            quiet,
        )
        .needs("upgrade"),
        Case::owned(
            Level::Must,
            "stalled_stream_stays",
            "nor the write timeout: when to give up is the application's to say",
            &["UPG-23a"],
            stalled,
        )
        .needs("upgrade"),
        Case::must("capabilities_are_true", "an error to answer where it is not declared", &["UPG-25"], capabilities),
    ],
};

fn ignored(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    for upgrade in ["foo", "h2c", "websocket", "TLS/1.3, foo/2"] {
        let request = cx.get("body plain").field("upgrade", upgrade).field("connection", "upgrade");
        connection.send(request.field("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA").bytes())?;
        let response = connection.response("GET")?;
        ensure_eq!(response.status(), 200, "the status of a request to upgrade to {upgrade}");
        ensure_eq!(response.text(), "plain", "the response");
        ensure!(!response.head.has("upgrade"), "an Upgrade field in the response");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    Ok(())
}

fn with_body(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let request = cx.post("read; body done", "abc").field("upgrade", "foo").field("connection", "upgrade");
    connection.send(request.bytes())?;
    connection.send(cx.get("body next").bytes())?;
    ensure_eq!(connection.response("POST")?.text(), "done", "the response");
    ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    ensure!(cx.seen()?.details("read-end").iter().any(|end| end.starts_with("3 ")), "the body was not read");
    Ok(())
}

fn early(cx: &mut Context) -> Result<(), Failure> {
    for script in ["upgrade echo", "upgrade blocking echo"] {
        let mut connection = cx.connect()?;
        connection.send([&cx.upgrade(script).bytes()[..], b"early "].concat())?;
        context::switched(&mut connection)?;
        connection.send("late")?;
        connection.finish();
        ensure_eq!(connection.rest()?, b"early late", "what came back ({script})");
    }
    // More than is read with the head.
    let octets = crate::text::pattern(200_000);
    let mut connection = cx.connect()?;
    let sending = connection.send_in_background([cx.upgrade("upgrade echo").bytes(), octets.clone()].concat())?;
    context::switched(&mut connection)?;
    ensure!(connection.take(octets.len(), "the echo")? == octets, "200,000 early octets were altered");
    sending.finish();
    Ok(())
}

fn both_ways(cx: &mut Context) -> Result<(), Failure> {
    for face in ["", "blocking "] {
        for blocking_handler in ["", "blocking; "] {
            cx.again();
            let mut connection = cx.connect()?;
            let script = format!("{blocking_handler}upgrade {face}write:hello read:3 write:%0D%0A%00%FF echo");
            connection.send(cx.upgrade(&script).bytes())?;
            let head = context::switched(&mut connection)?;
            ensure!(head.lists("upgrade", "conformance"), "no Upgrade field in the 101 ({script})");
            ensure!(head.lists("connection", "upgrade"), "no upgrade in Connection of the 101 ({script})");
            ensure!(!head.has("content-length") && !head.has("transfer-encoding"), "framing in a 101 ({script})");
            ensure_eq!(connection.take(5, "the first octets")?, b"hello", "the application's octets ({script})");
            connection.send("abc")?;
            ensure_eq!(connection.take(4, "the second octets")?, b"\r\n\0\xff", "octets of any kind ({script})");
            ensure_eq!(cx.wait_for("stream-read")?.details("stream-read"), ["abc"], "the client's octets ({script})");
            for piece in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "x"] {
                connection.send(piece)?;
                ensure_eq!(connection.take(piece.len(), "an echo")?, piece.as_bytes(), "the echo ({script})");
            }
        }
    }
    Ok(())
}

fn halves(cx: &mut Context) -> Result<(), Failure> {
    for face in ["", "blocking "] {
        cx.again();
        // The client ends first, and still reads.
        let mut connection = cx.stream(&format!("{face}eof gate:go write:after"))?;
        connection.send("abc")?;
        connection.finish();
        cx.wait_for("stream-end")?;
        cx.open("go")?;
        ensure_eq!(connection.rest()?, b"after", "what is written after the client's end ({face})");
        // The application ends first, and still reads.
        cx.again();
        let mut connection = cx.stream(&format!("{face}write:before end eof"))?;
        ensure_eq!(connection.rest()?, b"before", "what is written before our end ({face})");
        connection.send("still here")?;
        connection.finish();
        let seen = cx.wait_for("stream-done")?;
        ensure_eq!(seen.details("stream-read"), ["still%20here"], "what is read after our end ({face})");
    }
    Ok(())
}

fn nothing_else(cx: &mut Context) -> Result<(), Failure> {
    for body in ["", "; body leftover", "; stream text:left text:over", "; header content-length 8; body leftover"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.upgrade(&format!("upgrade gate:go write:done{body}")).bytes())?;
        context::switched(&mut connection)?;
        cx.wait_for("at go")?;
        connection.stays_silent(Duration::from_millis(200), "between the 101 and the application's octets")?;
        cx.open("go")?;
        ensure_eq!(connection.rest()?, b"done", "all that is sent after the 101 ({body:?})");
    }
    Ok(())
}

fn twice(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.upgrade("upgrade write:first; upgrade write:second").bytes())?;
    context::switched(&mut connection)?;
    ensure_eq!(connection.rest()?, b"first", "what the one that has it writes");
    ensure_eq!(cx.seen()?.details("upgrade-error"), ["taken"], "what the second one is told");
    cx.again();
    let (_, response) = cx.exchange(&cx.upgrade("upgrade write:first; upgrade? write:second"))?;
    ensure_eq!(response.status(), 500, "the status where the handler passes that on");
    ensure_eq!(cx.wait_for_times("upgrade-error", 2)?.details("upgrade-error").len(), 2, "errors told");
    Ok(())
}

fn dropped(cx: &mut Context) -> Result<(), Failure> {
    for face in ["", "blocking "] {
        cx.again();
        let mut connection = cx.stream(&format!("{face}gate:go write:bye"))?;
        cx.wait_for("at go")?;
        cx.open("go")?;
        ensure_eq!(connection.rest()?, b"bye", "what was written before the drop ({face})");
        cx.wait_for("stream-done")?;
    }
    Ok(())
}

fn refused(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.upgrade("upgrade echo; status 403; body no").bytes())?;
    let response = connection.response("GET")?;
    ensure_eq!((response.status(), response.text().as_str()), (403, "no"), "the response");
    connection.send(cx.get("body next").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    ensure_eq!(cx.wait_for("upgrade-error")?.details("upgrade-error"), ["refused"], "what the one that took it sees");
    Ok(())
}

/// What must not happen in silence has this long to happen.
pub(super) const QUIET: Duration = Duration::from_millis(1200);

/// A server with all timeouts of HTTP short that must not matter any more.
pub(super) fn impatient() -> adapter_core::ServerConfig {
    let mut config = lifecycle::config();
    config.timeouts.keep_alive = Some(SHORT);
    config.timeouts.header_read = Some(SHORT);
    config.timeouts.body_read = Some(SHORT);
    config.timeouts.handler = Some(SHORT);
    config
}

fn quiet(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(impatient())?;
    let cx = &running.context;
    let mut streams = Vec::new();
    for face in ["", "blocking "] {
        let mut silent = cx.stream(&format!("{face}echo"))?;
        let mut used = cx.stream(&format!("{face}echo"))?;
        used.send("before")?;
        ensure_eq!(used.take(6, "an echo")?, b"before", "the echo before the silence");
        silent.nothing_arrived("on a quiet stream")?;
        streams.extend([silent, used]);
    }
    streams[0].stays_silent(QUIET, "on a quiet stream")?;
    for stream in &mut streams {
        stream.nothing_arrived("on a quiet stream")?;
        stream.send("after")?;
        ensure_eq!(stream.take(5, "an echo")?, b"after", "the echo after the silence");
    }
    drop(streams);
    running.stop()
}

fn stalled(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    const LENGTH: usize = 12_000_000;
    let mut config = lifecycle::config();
    config.timeouts.write = Some(SHORT);
    let running = life.start(config)?;
    for face in ["", "blocking "] {
        let mut stream = running.context.stream(&format!("{face}size:{LENGTH}"))?;
        stream.small_window();
        running.context.pause(QUIET.as_millis() as u64)?;
        let octets = stream.take(LENGTH, "what was written to a client that took its time")?;
        ensure!(octets == crate::text::pattern(LENGTH), "other octets than were written");
        stream.closed()?;
    }
    running.stop()
}

fn capabilities(cx: &mut Context) -> Result<(), Failure> {
    let about = cx.control("about")?;
    let declared = |name: &str| about.lines().any(|line| line == format!("capability {name} true"));
    for (name, request, error) in [
        ("upgrade", cx.upgrade("upgrade? echo"), "upgrade-error"),
        ("websocket", cx.handshake("websocket? echo"), "websocket-error"),
    ] {
        let mut connection = cx.connect()?;
        connection.send(request.bytes())?;
        let head = connection.head()?;
        // A server that hides the fields of the connection (HDR-15) shows the application no handshake: 400, not 501.
        let is_true = if declared(name) { head.status == 101 } else { matches!(head.status, 400 | 501) };
        ensure!(is_true, "the status {}, where {name} is declared {}", head.status, declared(name));
        ensure!(declared(name) != cx.seen()?.has(error), "the application was not told the truth about {name}");
    }
    for (name, request) in
        [("upgrade", cx.upgrade("upgrade echo; body plain")), ("websocket", cx.handshake("websocket echo; body plain"))]
    {
        if !declared(name) {
            let (mut connection, response) = cx.answered(&request, 200)?;
            ensure_eq!(response.text(), "plain", "the application's own answer without {name}");
            connection.send(cx.get("body next").bytes())?;
            ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
        }
    }
    Ok(())
}
