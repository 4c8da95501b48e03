//! Messages and frames, in order and out of it. UPG-09 to UPG-13, UPG-24

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::text;
use crate::wire::websocket::{Frame, WebSocket, opcode};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "websocket_frames",
    title: "WebSocket messages",
    cases: &[
        Case::must("messages_are_intact", "text, binary, empty, non-ASCII and 1 MiB", &["UPG-09"], messages)
            .needs("websocket"),
        Case::must("fragments_are_joined", "also around control frames", &["UPG-09"], fragments).needs("websocket"),
        Case::must("frames_may_come_in_pieces", "split at every octet", &["UPG-09"], pieces).needs("websocket"),
        Case::must("messages_are_sent_intact", "by the application on its own", &["UPG-09"], sent).needs("websocket"),
        Case::must("ping_is_answered", "with its payload, at once", &["UPG-10a"], ping).needs("websocket"),
        Case::must("pong_is_ignored", "where nobody asked for it", &["UPG-10b"], pong).needs("websocket"),
        Case::must(
            "protocol_errors_are_1002",
            "reserved bits and opcodes, bad control frames, lone continuations",
            &["UPG-11a"],
            protocol_errors,
        )
        .needs("websocket"),
        Case::must("text_is_utf8_or_1007", "wherever the bad octet is", &["UPG-11b"], not_utf8).needs("websocket"),
        Case::must("utf8_may_be_split", "between fragments, within a character", &["UPG-09", "UPG-11b"], split_utf8)
            .needs("websocket"),
        Case::must("too_big_is_1009", "whole, in fragments, and declared", &["UPG-11c"], too_big).needs("websocket"),
        Case::must("unmasked_is_1002", "data and control frames", &["UPG-11d"], unmasked).needs("websocket"),
        Case::must("peers_close_is_delivered", "code and reason", &["UPG-12a"], peers_close).needs("websocket"),
        Case::must("close_without_a_code_is_1005", "for the application", &["UPG-12b"], no_code).needs("websocket"),
        Case::must("loss_is_1006", "an end of the connection and a reset", &["UPG-12c"], lost).needs("websocket"),
        Case::must("applications_close_is_sent", "code and reason", &["UPG-13a"], own_close).needs("websocket"),
        Case::must("close_is_1000_by_default", "at the end of the handler", &["UPG-13b"], default_close)
            .needs("websocket"),
        Case::must("long_reasons_fit", "125 octets, cut between characters, or an error", &["UPG-13c"], long_reason)
            .needs("websocket"),
    ],
};

/// Both faces.
const FACES: [&str; 2] = ["", "blocking "];

fn echoes(socket: &mut WebSocket, kind: u8, payload: &[u8]) -> Result<(), Failure> {
    let bytes = Frame::new(kind, payload).bytes();
    // On a thread of its own: a large echo may begin before all is sent.
    let sending = socket.connection.send_in_background(bytes)?;
    let (seen, echo) = socket.message()?;
    sending.finish();
    ensure_eq!(seen, kind, "the opcode of an echo of {} octets", payload.len());
    ensure!(echo == payload, "a message of {} octets was altered: {}", payload.len(), text::show(&echo, 100));
    Ok(())
}

fn messages(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        cx.again();
        let mut socket = cx.websocket(&format!("{face}echo"))?;
        for words in ["hello", "", "κόσμε ☃ 🌍", "\u{0}\r\n\u{10ffff}"] {
            echoes(&mut socket, opcode::TEXT, words.as_bytes())?;
        }
        for size in [0, 1, 125, 126, 127, 65535, 65536, 1 << 20] {
            echoes(&mut socket, opcode::BINARY, &text::pattern(size))?;
        }
        socket.finish()?;
        let seen = cx.wait_for("session-done")?;
        ensure_eq!(seen.details("ws-text").first().map(String::as_str), Some("hello"), "what the application received");
        let sum = text::checksum(0, &text::pattern(1 << 20));
        ensure!(seen.has(&format!("ws-binary 1048576 {sum:08x}")), "1 MiB did not arrive intact");
    }
    Ok(())
}

fn fragments(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        let mut socket = cx.websocket(&format!("{face}echo"))?;
        socket.send(&Frame::new(opcode::TEXT, "one ").unfinished())?;
        socket.send(&Frame::new(opcode::CONTINUATION, "").unfinished())?;
        socket.send(&Frame::new(opcode::PING, "between"))?;
        socket.send(&Frame::new(opcode::CONTINUATION, "two ").unfinished())?;
        ensure_eq!(socket.frame()?, Frame { first: 0x8a, payload: b"between".to_vec(), masked: false }, "the pong");
        socket.send(&Frame::new(opcode::PONG, "unasked"))?;
        socket.send(&Frame::new(opcode::CONTINUATION, "three"))?;
        socket.expect_text("one two three")?;
        // Of single octets, and of nothing.
        for octet in b"piecewise" {
            let kind = if *octet == b'p' { opcode::BINARY } else { opcode::CONTINUATION };
            socket.send(&Frame::new(kind, [*octet]).unfinished())?;
        }
        socket.send(&Frame::new(opcode::CONTINUATION, ""))?;
        ensure_eq!(socket.message()?, (opcode::BINARY, b"piecewise".to_vec()), "fragments of one octet");
        socket.finish()?;
    }
    Ok(())
}

fn pieces(cx: &mut Context) -> Result<(), Failure> {
    let mut socket = cx.websocket("echo")?;
    let mut frames = Frame::new(opcode::TEXT, "hello").bytes();
    frames.extend(Frame::new(opcode::BINARY, text::pattern(200)).bytes());
    for at in 1..20 {
        let (one, two) = frames.split_at(at);
        socket.connection.send(one)?;
        socket.connection.send(two)?;
        socket.expect_text("hello")?;
        ensure_eq!(socket.message()?, (opcode::BINARY, text::pattern(200)), "the second message, split at {at}");
    }
    for octet in &frames {
        socket.connection.send([*octet])?;
    }
    socket.expect_text("hello")?;
    ensure_eq!(socket.message()?.1.len(), 200, "the second message, octet by octet");
    // Many in one piece.
    socket.connection.send(Frame::new(opcode::TEXT, "x").bytes().repeat(500))?;
    for _ in 0..500 {
        socket.expect_text("x")?;
    }
    socket.finish()
}

fn sent(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        let mut socket = cx.websocket(&format!("{face}send:hello send: send:%E2%98%83 binary:0 binary:1048576"))?;
        for expected in ["hello", "", "☃"] {
            socket.expect_text(expected)?;
        }
        ensure_eq!(socket.message()?, (opcode::BINARY, Vec::new()), "an empty binary message");
        ensure!(socket.message()?.1 == text::pattern(1 << 20), "1 MiB was altered");
        ensure_eq!(socket.close_frame()?.0, 1000, "the close code at the end");
    }
    Ok(())
}

fn ping(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        let mut socket = cx.websocket(&format!("{face}echo"))?;
        for payload in [&b""[..], b"hello", &[0xff, 0, 0xfe], &[7; 125]] {
            socket.send(&Frame::new(opcode::PING, payload))?;
            let pong = socket.frame()?;
            ensure_eq!((pong.opcode(), &pong.payload[..]), (opcode::PONG, payload), "the answer to a ping");
        }
        // RFC 6455 §5.5.3: of several pings, answering the last is enough.
        socket.connection.send((0..10).flat_map(|n| Frame::new(opcode::PING, [n]).bytes()).collect::<Vec<u8>>())?;
        loop {
            let pong = socket.frame()?;
            ensure_eq!(pong.opcode(), opcode::PONG, "the answer to ten pings");
            if pong.payload == [9] {
                break;
            }
        }
        socket.text("still here")?;
        socket.expect_text("still here")?;
    }
    Ok(())
}

fn pong(cx: &mut Context) -> Result<(), Failure> {
    let mut socket = cx.websocket("echo")?;
    for payload in ["", "unasked"] {
        socket.send(&Frame::new(opcode::PONG, payload))?;
        socket.text("hello")?;
        socket.expect_text("hello")?;
    }
    ensure_eq!(cx.seen()?.count("ws-text"), 2, "messages the application received");
    socket.finish()
}

/// What was sent must fail the WebSocket with `code`, and the application be told. The frame is a whole one, so that a
/// server may read all of it first.
fn fails(cx: &mut Context, options: &str, frames: &[Frame], code: u16, what: &str) -> Result<(), Failure> {
    for face in FACES {
        cx.again();
        let mut socket = cx.websocket(&format!("{face}{options} drain"))?;
        let octets = frames.iter().flat_map(Frame::bytes).collect();
        // The server may close before it has taken everything.
        let sending = socket.connection.send_in_background(octets)?;
        let failure = |failure: Failure| Failure(format!("{what}: {failure}"));
        let (seen, _) = socket.close_frame().map_err(failure)?;
        ensure_eq!(seen, code, "the close code ({what})");
        sending.finish();
        // It need not wait for an answer, but must not hang.
        let _ = socket.send(&Frame::close(code, ""));
        socket.connection.finish();
        ensure_eq!(socket.close_or_end().map_err(failure)?, None, "what follows the close frame ({what})");
        let told = cx.wait_for("session-done").map_err(failure)?;
        ensure_eq!(told.details("ws-error"), [format!("protocol {code}")], "what the application is told ({what})");
        ensure!(!told.has("ws-text") && !told.has("ws-binary"), "a message was delivered ({what})");
    }
    Ok(())
}

fn protocol_errors(cx: &mut Context) -> Result<(), Failure> {
    let text = |payload: &str| Frame::new(opcode::TEXT, payload);
    for (what, frames) in [
        ("RSV1", vec![text("x").reserved(0x40)]),
        ("RSV2", vec![text("x").reserved(0x20)]),
        ("RSV3", vec![text("x").reserved(0x10)]),
        ("RSV1 on a ping", vec![Frame::new(opcode::PING, "x").reserved(0x40)]),
        ("opcode 3", vec![Frame::new(3, "x")]),
        ("opcode 7", vec![Frame::new(7, "")]),
        ("opcode 11", vec![Frame::new(11, "")]),
        ("opcode 15", vec![Frame::new(15, "x")]),
        ("a ping in fragments", vec![Frame::new(opcode::PING, "x").unfinished()]),
        ("a close in fragments", vec![Frame::close(1000, "").unfinished()]),
        ("a ping of 126 octets", vec![Frame::new(opcode::PING, [0; 126])]),
        ("a pong of 70,000 octets", vec![Frame::new(opcode::PONG, vec![0; 70_000])]),
        ("a close of 126 octets", vec![Frame::close(1000, &"x".repeat(124))]),
        ("a continuation of nothing", vec![Frame::new(opcode::CONTINUATION, "x")]),
        ("an unfinished continuation of nothing", vec![Frame::new(opcode::CONTINUATION, "x").unfinished()]),
        ("a message within another", vec![text("one").unfinished(), text("two")]),
        ("a close of one octet", vec![Frame::new(opcode::CLOSE, [3])]),
        ("close code 999", vec![Frame::close(999, "")]),
        ("close code 1005", vec![Frame::close(1005, "")]),
        ("close code 1006", vec![Frame::close(1006, "")]),
        ("close code 2999", vec![Frame::close(2999, "")]),
    ] {
        fails(cx, "", &frames, 1002, what)?;
    }
    Ok(())
}

fn not_utf8(cx: &mut Context) -> Result<(), Failure> {
    let bad: [&[u8]; 6] = [b"\xff", b"hello \x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"cut \xe2\x98"];
    for octets in bad {
        fails(cx, "", &[Frame::new(opcode::TEXT, octets)], 1007, &format!("{octets:?}"))?;
    }
    let fragments = [
        Frame::new(opcode::TEXT, "good ").unfinished(),
        Frame::new(opcode::CONTINUATION, b"\xe2").unfinished(),
        Frame::new(opcode::CONTINUATION, b"\x28\xa1"),
    ];
    fails(cx, "", &fragments, 1007, "a bad sequence over two fragments")?;
    let close = Frame::new(opcode::CLOSE, b"\x03\xe8\xff\xfe");
    fails(cx, "", &[close], 1007, "the reason of a close frame")
}

fn split_utf8(cx: &mut Context) -> Result<(), Failure> {
    let mut socket = cx.websocket("echo")?;
    let text = "κ☃🌍";
    for at in 1..text.len() {
        let (one, two) = text.as_bytes().split_at(at);
        socket.send(&Frame::new(opcode::TEXT, one).unfinished())?;
        socket.send(&Frame::new(opcode::CONTINUATION, two))?;
        socket.expect_text(text)?;
    }
    // Binary may be anything.
    echoes(&mut socket, opcode::BINARY, b"\xff\xfe\x80")?;
    socket.finish()
}

fn too_big(cx: &mut Context) -> Result<(), Failure> {
    let limit = "max-message:1000";
    fails(cx, limit, &[Frame::new(opcode::BINARY, [0; 1001])], 1009, "1001 of 1000 octets")?;
    fails(cx, limit, &[Frame::new(opcode::TEXT, vec![b'x'; 100_000])], 1009, "100,000 of 1000 octets")?;
    let fragments = [
        Frame::new(opcode::BINARY, [0; 600]).unfinished(),
        Frame::new(opcode::CONTINUATION, [0; 600]).unfinished(),
        Frame::new(opcode::CONTINUATION, [0; 600]),
    ];
    fails(cx, limit, &fragments, 1009, "1800 octets in fragments")?;
    // What fits passes, and what is declared is not waited for.
    let mut socket = cx.websocket(&format!("{limit} echo"))?;
    echoes(&mut socket, opcode::BINARY, &[0; 1000])?;
    let mut head = vec![0x82, 0xff];
    head.extend_from_slice(&(1_u64 << 62).to_be_bytes());
    head.extend_from_slice(&[0; 200_000]);
    // The server may close before it has taken everything.
    let _sending = socket.connection.send_in_background(head)?;
    ensure_eq!(socket.close_frame()?.0, 1009, "the close code for a declared 2^62 octets");
    Ok(())
}

fn unmasked(cx: &mut Context) -> Result<(), Failure> {
    for (what, frame) in [
        ("text", Frame::new(opcode::TEXT, "hello")),
        ("empty", Frame::new(opcode::BINARY, "")),
        ("ping", Frame::new(opcode::PING, "x")),
        ("close", Frame::close(1000, "")),
        ("long", Frame::new(opcode::BINARY, [0; 300])),
    ] {
        fails(cx, "", &[frame.unmasked()], 1002, &format!("an unmasked frame: {what}"))?;
    }
    Ok(())
}

fn peers_close(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        for (code, reason) in [(1000, ""), (1001, "gone"), (3000, "ours"), (4999, "☃"), (1011, &"x".repeat(123)[..])]
        {
            cx.again();
            let mut socket = cx.websocket(&format!("{face}drain"))?;
            socket.text("before")?;
            socket.send(&Frame::close(code, reason))?;
            let (answer, _) = socket.close_frame()?;
            ensure_eq!(answer, code, "the code of the answer");
            let seen = cx.wait_for("session-done")?;
            ensure_eq!(
                seen.details("ws-closed"),
                [format!("{code} {}", text::encode(reason)).trim_end()],
                "what the application is told"
            );
            ensure!(seen.has("ws-text before") && seen.has("ws-end"), "the message before it, or the end, is missing");
            socket.connection.closed()?;
        }
    }
    Ok(())
}

fn no_code(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        cx.again();
        let mut socket = cx.websocket(&format!("{face}drain"))?;
        socket.send(&Frame::new(opcode::CLOSE, ""))?;
        // The answer has no code either, or 1000.
        let (answer, _) = socket.close_frame()?;
        ensure!(matches!(answer, 1005 | 1000), "the code of the answer is {answer}");
        let seen = cx.wait_for("session-done")?;
        ensure_eq!(seen.details("ws-closed"), ["1005"], "what the application is told");
    }
    Ok(())
}

fn lost(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        for (reset, unfinished) in [(false, false), (true, false), (false, true)] {
            cx.again();
            let mut socket = cx.websocket(&format!("{face}drain"))?;
            socket.text("before")?;
            cx.wait_for("ws-text")?;
            if unfinished {
                let frame = Frame::new(opcode::TEXT, "never whole").bytes();
                socket.connection.send(&frame[..frame.len() - 1])?;
            }
            if reset {
                socket.connection.reset();
            } else {
                socket.connection.finish();
            }
            let seen = cx.wait_for("session-done")?;
            let codes = seen.details("ws-closed");
            let what = format!("reset: {reset}, within a frame: {unfinished}");
            ensure!(codes.iter().all(|close| close == "1006") && !codes.is_empty(), "{what}: told {codes:?}, not 1006");
            ensure_eq!(seen.count("ws-text"), 1, "messages delivered ({what})");
        }
    }
    Ok(())
}

fn own_close(cx: &mut Context) -> Result<(), Failure> {
    for face in FACES {
        for (code, reason) in [(1000, ""), (1001, "over"), (1008, "no"), (3000, "ours"), (4000, "caf\u{e9}")] {
            cx.again();
            let mut socket = cx.websocket(&format!("{face}send:first close:{code}:{}", text::encode(reason)))?;
            socket.expect_text("first")?;
            ensure_eq!(socket.close_frame()?, (code, reason.to_owned()), "the close frame");
            socket.send(&Frame::close(code, ""))?;
            socket.connection.closed()?;
            ensure!(cx.wait_for("session-done")?.has("close-done"), "the application's close failed");
        }
    }
    Ok(())
}

fn default_close(cx: &mut Context) -> Result<(), Failure> {
    for face in ["", "blocking ", "future "] {
        let mut socket = cx.websocket(&format!("{face}send:bye"))?;
        socket.expect_text("bye")?;
        ensure_eq!(socket.close_frame()?.0, 1000, "the close code at the end of a handler ({face})");
        socket.send(&Frame::close(1000, ""))?;
        socket.connection.closed()?;
    }
    Ok(())
}

fn long_reason(cx: &mut Context) -> Result<(), Failure> {
    for reason in ["x".repeat(123), "x".repeat(124), "x".repeat(1000), "☃".repeat(41), "☃".repeat(42), "🌍".repeat(500)]
    {
        cx.again();
        let mut socket = cx.websocket(&format!("close:1000:{}", text::encode(&reason)))?;
        // The client fails on control frames above 125 octets, and on reasons that are not UTF-8.
        let (code, sent) = socket.close_frame()?;
        ensure_eq!(code, 1000, "the close code");
        ensure!(reason.starts_with(&sent), "another reason was sent: {sent}");
        let whole = reason.len() <= 123;
        ensure!(!whole || sent == reason, "a reason of {} octets was cut to {sent:?}", reason.len());
    }
    Ok(())
}
