//! The life of a WebSocket: its end, failures, silence, slow peers, the shutdown. UPG-14, UPG-15b, UPG-20, UPG-22, UPG-23

use std::time::{Duration, Instant};

use super::upgrade::{QUIET, impatient};
use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::Context;
use crate::lifecycle::{self, Lifecycle};
use crate::text;
use crate::wire::websocket::{Frame, opcode};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "websocket_life",
    title: "WebSocket connections",
    cases: &[
        Case::must("own_close_ends_everything", "sending and receiving after it", &["UPG-14"], after_own_close)
            .needs("websocket"),
        Case::must("peers_close_ends_everything", "sending and receiving after it", &["UPG-14"], after_peers_close)
            .needs("websocket"),
        Case::must("failure_is_1011", "an error or a panic of the handler", &["UPG-15b"], failure).needs("websocket"),
        Case::must(
            "client_that_sends_too_much_is_held_up",
            "what the application does not read is bounded",
            &["UPG-20"],
            not_read,
        )
        .needs("websocket"),
        Case::must(
            "application_that_sends_too_much_is_held_up",
            "what the client does not read is bounded",
            &["UPG-20"],
            not_taken,
        )
        .needs("websocket"),
        Case::must("many_websockets_at_once", "each its own", &["UPG-09", "UPG-10a"], many).needs("websocket"),
        Case::owned(Level::Must, "shutdown_is_told", "1001 or 1012 to each", &["UPG-22"], shutdown_told)
            .needs("websocket"),
        Case::owned(Level::Must, "deadline_ends_websockets", "those that do not close", &["UPG-22"], deadline)
            .needs("websocket"),
        Case::owned(
            Level::Must,
            "quiet_websocket_stays",
            "no keep-alive, header, body or handler timeout",
            &["UPG-23a"],
            quiet,
        )
        .needs("websocket"),
        Case::may("pings_at_an_interval", "and the end of who does not answer", &["UPG-23b"], pings).needs("websocket"),
    ],
};

/// Both faces.
const FACES: [&str; 2] = ["", "blocking "];

fn after_own_close(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        for answers in [true, false] {
            cx.again();
            let mut socket =
                cx.websocket(&format!("{face}close-timeout:300 close:1000:done send:late recv recv send:later"))?;
            ensure_eq!(socket.close_frame()?.0, 1000, "the close code");
            if answers {
                socket.send(&Frame::close(1000, ""))?;
                socket.connection.finish();
            }
            let seen =
                cx.wait_for("session-done").map_err(|failure| Failure(format!("answers: {answers}: {failure}")))?;
            ensure_eq!(seen.count("send-error"), 2, "errors of sending after the close (answers: {answers})");
            ensure!(!seen.has("sent"), "a message was sent after the close (answers: {answers})");
            let ends = seen.count("ws-end") + seen.count("ws-error");
            ensure_eq!(ends, 2, "ends of receiving after the close (answers: {answers})");
            ensure_eq!(socket.close_or_end()?, None, "what follows the close frame (answers: {answers})");
        }
    }
    Ok(())
}

fn after_peers_close(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        cx.again();
        let mut socket = cx.websocket(&format!("{face}drain send:late recv close:1000: recv"))?;
        socket.send(&Frame::close(1000, ""))?;
        ensure_eq!(socket.close_frame()?.0, 1000, "the code of the answer");
        let seen = cx.wait_for("session-done")?;
        ensure_eq!(seen.count("send-error"), 1, "errors of sending after the close");
        ensure_eq!(seen.count("ws-end") + seen.count("ws-error"), 3, "ends of receiving after the close");
        socket.connection.closed()?;
    }
    Ok(())
}

fn failure(cx: &mut Context) -> Result<(), Failure> {
    for face in ["", "blocking ", "future "] {
        for how in cx.survivable(&["error", "panic"])? {
            cx.again();
            let mut socket = cx.websocket(&format!("{face}send:first recv {how}"))?;
            socket.expect_text("first")?;
            socket.text("go on")?;
            // A handler that runs by itself has nobody to tell of its error: that its handles are dropped is a close.
            match socket.close_or_end()? {
                None | Some((1011, _)) => {}
                Some((1000, _)) if face == "future " => {}
                Some((code, reason)) => {
                    return Err(format!("a handler that ends in an {how} closed with {code} {reason} ({face})").into());
                }
            }
            let _ = socket.send(&Frame::close(1011, ""));
            socket.connection.finish();
            cx.wait_for(if how == "panic" { "session-dropped" } else { "session-done" })?;
        }
    }
    cx.answered(&cx.get("body alive"), 200)?;
    Ok(())
}

/// Octets that must not fit anywhere: far above what sockets and a bounded server hold.
const TOO_MUCH: usize = 64 << 20;
/// How long a side is held up before it counts as held up.
const STALL: Duration = Duration::from_millis(700);

fn not_read(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        cx.again();
        let mut socket = cx.websocket(&format!("{face}gate:go drain"))?;
        cx.wait_for("at go")?;
        let frame = Frame::new(opcode::BINARY, text::pattern(64 * 1024)).bytes();
        let (mut sent, mut last) = (0, 0);
        while sent < TOO_MUCH {
            last = socket.connection.send_what_fits(&frame, STALL);
            sent += last;
            if last < frame.len() {
                break;
            }
        }
        ensure!(sent < TOO_MUCH, "{sent} octets were taken from a client while the application reads nothing");
        // Nothing of it is lost.
        cx.open("go")?;
        socket.connection.send(&frame[last..])?;
        let messages = sent.div_ceil(frame.len());
        let seen = cx.wait_for_times("ws-binary", messages)?;
        let sum = text::checksum(0, &text::pattern(64 * 1024));
        ensure_eq!(seen.count(&format!("ws-binary 65536 {sum:08x}")), messages, "messages that arrived intact");
        socket.finish()?;
    }
    Ok(())
}

fn not_taken(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        cx.again();
        let count = TOO_MUCH / 65536;
        let socket = cx.websocket(&format!("{face}gate:go flood:65536:{count}"))?;
        socket.connection.small_window();
        cx.wait_for("at go")?;
        cx.open("go")?;
        // Held up is who sends nothing more for a while.
        let mut sent = 0;
        loop {
            cx.answered(&cx.request("GET", "/").aside().script(&format!("sleep {}", STALL.as_millis())), 200)?;
            let now = cx.seen()?.count("sent");
            if now == sent {
                break;
            }
            sent = now;
        }
        ensure!(sent < count, "the application sent {sent} messages of 64 KiB to a client that reads nothing");
        socket.connection.reset();
        ensure!(cx.wait_for("session-done")?.has("send-error"), "the application was not told of the end");
    }
    Ok(())
}

fn many(cx: &mut Context) -> Result<(), Failure> {
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(cx.websocket("echo")?);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.text(&format!("for {number}"))?;
        socket.send(&Frame::new(opcode::PING, number.to_string()))?;
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let mut texts = Vec::new();
        while texts.len() < 2 {
            let frame = socket.frame()?;
            texts.push((frame.opcode(), String::from_utf8_lossy(&frame.payload).into_owned()));
        }
        texts.sort();
        let expected = [(opcode::TEXT, format!("for {number}")), (opcode::PONG, number.to_string())];
        ensure_eq!(texts, expected, "the frames of WebSocket {number}");
    }
    sockets.into_iter().try_for_each(crate::wire::websocket::WebSocket::finish)
}

fn shutdown_told(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut sockets = Vec::new();
    for actions in ["echo", "blocking echo", "future echo", "drain"] {
        let mut socket = cx.websocket(actions)?;
        socket.text("hello")?;
        running.wait_for("ws-text")?;
        if actions != "drain" {
            socket.expect_text("hello")?;
        }
        sockets.push(socket);
    }
    running.trigger();
    for mut socket in sockets {
        let (code, _) = socket.close_frame()?;
        ensure!(matches!(code, 1001 | 1012), "the shutdown closed a WebSocket with {code}");
        socket.send(&Frame::close(code, ""))?;
        socket.connection.closed()?;
    }
    let records = running.records.clone();
    let token = running.context.token().to_owned();
    let started = Instant::now();
    let default = lifecycle::config().timeouts.graceful_shutdown;
    running.wait()?.map_err(|error| error.to_string())?;
    ensure!(started.elapsed() < default, "closed WebSockets held the server up for {:?}", started.elapsed());
    ensure_eq!(
        lifecycle::wait_for_times(&records, &token, "session-done", 4)?.count("session-done"),
        4,
        "sessions that ended"
    );
    Ok(())
}

fn deadline(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.timeouts.graceful_shutdown = Duration::from_millis(500);
    let running = life.start(config)?;
    let cx = &running.context;
    // One handler that does not look, and one client that does not answer.
    let mut deaf = cx.websocket("gate:never")?;
    let mut silent = cx.websocket("close-timeout:60000 drain")?;
    running.wait_for("at never")?;
    running.trigger();
    for socket in [&mut deaf, &mut silent] {
        if let Some((code, _)) = socket.close_or_end()? {
            ensure!(matches!(code, 1001 | 1012), "the shutdown closed a WebSocket with {code}");
        }
        socket.connection.rest()?;
    }
    let (records, token) = (running.records.clone(), cx.token().to_owned());
    running.wait()?.map_err(|error| error.to_string())?;
    lifecycle::wait_for(&records, &token, "session-dropped")?;
    Ok(())
}

fn quiet(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(impatient())?;
    let cx = &running.context;
    let mut sockets = Vec::new();
    for face in FACES {
        let untouched = cx.websocket(&format!("{face}echo"))?;
        let mut used = cx.websocket(&format!("{face}echo"))?;
        used.text("before")?;
        used.expect_text("before")?;
        sockets.extend([untouched, used]);
    }
    sockets[0].connection.stays_silent(QUIET, "on a quiet WebSocket")?;
    for mut socket in sockets {
        socket.connection.nothing_arrived("on a quiet WebSocket")?;
        socket.text("after")?;
        socket.expect_text("after")?;
        socket.finish()?;
    }
    running.stop()
}

fn pings(cx: &mut Context) -> Result<(), Failure> {
    let mut socket = cx.websocket("ping:200 drain")?;
    for _ in 0..3 {
        let ping = socket.frame()?;
        ensure_eq!(ping.opcode(), opcode::PING, "the opcode of what comes in silence");
        socket.send(&Frame::new(opcode::PONG, &ping.payload))?;
    }
    // Not answered.
    while let Some(frame) = socket.frame_or_end()? {
        ensure!(matches!(frame.opcode(), opcode::PING | opcode::CLOSE), "a message nobody sent");
    }
    let seen = cx.wait_for("session-done")?;
    ensure!(seen.has("ws-error") || seen.has("ws-closed"), "the application was not told of the end");
    Ok(())
}
