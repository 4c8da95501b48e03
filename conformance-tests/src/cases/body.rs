//! How a response body reaches the client. BOD-01 to BOD-08, BOD-16, BOD-17, BOD-19 to BOD-21

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::text;
use crate::wire::Framing;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "body",
    title: "Response body",
    cases: &[
        Case::must("bytes_have_their_length", "bytes are unaltered, with exact Content-Length", &["BOD-01"], bytes),
        Case::must("empty_body_has_length_0", "Content-Length: 0 with an empty body", &["BOD-02"], empty),
        Case::must(
            "items_are_concatenated",
            "items in order and unaltered, whatever they look like",
            &["BOD-03"],
            items,
        ),
        Case::must(
            "items_are_not_held_back",
            "each item arrives while the application waits for the next",
            &["BOD-04", "BOD-06"],
            not_held_back,
        ),
        Case::must(
            "small_item_before_a_long_wait",
            "one octet is not gathered with what comes later",
            &["BOD-04"],
            small_item,
        ),
        Case::must("empty_items_end_nothing", "an empty item is no end and no chunk", &["BOD-05"], empty_items),
        Case::must("stream_may_be_pending", "a stream that waits between items", &["BOD-06"], pending_stream),
        Case::must("response_may_be_late", "a response long after the call", &["BOD-07", "CON-01"], late_response),
        Case::must(
            "channel_is_fed_from_anywhere",
            "a channel body fed by a thread and by a task",
            &["BOD-08"],
            channel,
        ),
        Case::must("channel_ends_with_its_sender", "dropping the sender ends the body", &["BOD-08"], channel_end),
        Case::must(
            "slow_client_stops_production",
            "items are not asked for while the client takes nothing",
            &["BOD-16"],
            back_pressure,
        ),
        Case::must(
            "exact_length_is_sent",
            "a body that knows its length has Content-Length",
            &["BOD-17a"],
            exact_length,
        ),
        Case::must("hint_is_no_length", "a hint that is no octet count makes no Content-Length", &["BOD-17b"], hint),
        Case::must("large_body_is_intact", "10 MiB, sized, iterated and streamed", &["BOD-19"], large),
        Case::must("many_small_items_are_intact", "ten thousand items of one octet", &["BOD-19"], many_small),
        Case::must("body_is_send_not_sync", "a body that is Send and not Sync", &["BOD-20"], not_sync),
        Case::must(
            "bodies_move_between_threads",
            "order and drops hold where threads change",
            &["BOD-21", "BOD-09"],
            moved,
        ),
    ],
};

fn bytes(cx: &mut Context) -> Result<(), Failure> {
    let (_, response) = cx.answered(&cx.get("body %00%01%0D%0A%FFhello"), 200)?;
    ensure_eq!(response.body, b"\0\x01\r\n\xffhello".to_vec(), "the body");
    for length in [1, 2, 1000, 8192, 65_535, 65_537, 1_000_000] {
        let (_, response) = cx.answered(&cx.get(&format!("size {length}")), 200)?;
        ensure_eq!(response.framing, Framing::Length(length), "the framing");
        ensure!(response.body == text::pattern(length as usize), "a body of {length} octets differs");
    }
    Ok(())
}

fn empty(cx: &mut Context) -> Result<(), Failure> {
    for (method, status) in [("GET", 200), ("POST", 201), ("GET", 404), ("DELETE", 200), ("PUT", 500)] {
        let (_, response) = cx.exchange(&cx.request(method, "/").script(&format!("status {status}")))?;
        ensure_eq!(response.head.all("content-length"), ["0"], "Content-Length of an empty {status} to {method}");
    }
    Ok(())
}

fn items(cx: &mut Context) -> Result<(), Failure> {
    let words = "text:a%0D%0A text:%0D%0A%0D%0A text:0%0D%0A%0D%0A text:HTTP/1.1%20200%20OK%0D%0Ax:%20y%0D%0A%0D%0A text:%00%FF size:5000 text:end";
    let mut expected = b"a\r\n\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nx: y\r\n\r\n\0\xff".to_vec();
    expected.extend_from_slice(&text::pattern(5000));
    expected.extend_from_slice(b"end");
    for kind in ["iter", "stream", "channel 2 thread", "channel 2 task", "blocking; iter"] {
        for close in [false, true] {
            let mut request = cx.get(&format!("{kind} {words}"));
            if close {
                request = request.http10();
            }
            let (_, response) = cx.answered(&request, 200)?;
            ensure!(response.body == expected, "the items of {kind} differ: {}", text::show(&response.body, 300));
        }
    }
    Ok(())
}

fn not_held_back(cx: &mut Context) -> Result<(), Failure> {
    for kind in ["stream", "iter", "channel 1 thread", "channel 4 task", "blocking; iter", "hinted 9 9"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("{kind} text:one gate:a text:two gate:b text:end")).bytes())?;
        let head = connection.head()?;
        let sized = head.has("content-length");
        let mut expect = |piece: &str| -> Result<(), Failure> {
            let seen =
                if sized { connection.take(piece.len(), piece)? } else { connection.chunk()?.unwrap_or_default() };
            ensure_eq!(String::from_utf8_lossy(&seen), piece, "the piece of {kind}");
            Ok(())
        };
        expect("one")?;
        cx.open("a")?;
        expect("two")?;
        cx.open("b")?;
        expect("end")?;
    }
    Ok(())
}

fn small_item(cx: &mut Context) -> Result<(), Failure> {
    for kind in ["stream", "iter"] {
        for old in [false, true] {
            cx.again();
            let request = cx.get(&format!("{kind} text:x gate:go text:y"));
            let request = if old { request.http10() } else { request };
            let mut connection = cx.connect()?;
            connection.send(request.bytes())?;
            let head = connection.head()?;
            let chunked = head.has("transfer-encoding");
            let first =
                if chunked { connection.chunk()?.unwrap_or_default() } else { connection.take(1, "one octet")? };
            ensure_eq!(first, b"x".to_vec(), "the first octet ({kind})");
            cx.open("go")?;
        }
    }
    Ok(())
}

fn empty_items(cx: &mut Context) -> Result<(), Failure> {
    for kind in ["iter", "stream", "channel 2 thread", "blocking; iter"] {
        let script = format!("{kind} empty text:a empty empty text:b empty");
        let (mut connection, response) = cx.answered(&cx.get(&script), 200)?;
        ensure_eq!(response.text(), "ab", "the body with empty items ({kind})");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response ({kind})");
    }
    let (_, response) = cx.answered(&cx.get("stream empty empty"), 200)?;
    ensure_eq!(response.text(), "", "a body of empty items only");
    Ok(())
}

fn pending_stream(cx: &mut Context) -> Result<(), Failure> {
    let (_, response) = cx.answered(&cx.get("stream sleep:20 text:a sleep:20 text:b sleep:20 text:c sleep:5"), 200)?;
    ensure_eq!(response.text(), "abc", "the body");
    ensure_eq!(response.chunks.len(), 3, "the number of chunks");
    Ok(())
}

fn late_response(cx: &mut Context) -> Result<(), Failure> {
    for script in ["gate go; body late", "blocking; gate go; body late"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        cx.wait_for("at go")?;
        for _ in 0..3 {
            cx.answered(&cx.request("GET", "/other").script("body other"), 200)?;
        }
        connection.nothing_arrived("before the application answered")?;
        cx.open("go")?;
        ensure_eq!(connection.response("GET")?.text(), "late", "the late response");
    }
    Ok(())
}

fn channel(cx: &mut Context) -> Result<(), Failure> {
    for feeder in ["thread", "task"] {
        for capacity in [0, 1, 100] {
            let script = format!("channel {capacity} {feeder} text:a sleep:5 text:b size:100000 sleep:5 text:c");
            let (_, response) = cx.answered(&cx.get(&script), 200)?;
            let mut expected = b"ab".to_vec();
            expected.extend_from_slice(&text::pattern(100_000));
            expected.push(b'c');
            ensure!(response.body == expected, "the body fed by a {feeder} differs");
        }
    }
    Ok(())
}

fn channel_end(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("channel 4 thread text:a gate:go").bytes())?;
    connection.head()?;
    ensure_eq!(connection.chunk()?.as_deref(), Some(&b"a"[..]), "the first chunk");
    cx.wait_for("at go")?;
    connection.nothing_arrived("while the sender lives")?;
    cx.open("go")?;
    ensure_eq!(connection.chunk()?, Some(Vec::new()), "the last chunk");
    Ok(())
}

fn back_pressure(cx: &mut Context) -> Result<(), Failure> {
    const ITEM: usize = 65_536;
    const BOUND: usize = 16 * 1024 * 1024 / ITEM;
    for kind in ["stream", "iter", "channel 1 thread"] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.small_window();
        connection.send(cx.get(&format!("{kind} forever:size:{ITEM}")).bytes())?;
        connection.head()?;
        // Production has stopped when four looks with a round of other work between them see the same: what is on its way through a web
        // server moves on by fits and starts.
        let (mut asked, mut looks) = (0, 0);
        for _ in 0..200 {
            let now = cx.seen()?.count("asked");
            ensure!(now <= BOUND + 64, "{kind}: {now} items of 64 KiB were asked for while the client read nothing");
            looks = if now == asked && now > 0 { looks + 1 } else { 0 };
            if looks == 3 {
                break;
            }
            asked = now;
            cx.pause(50)?;
        }
        let after = cx.seen()?.count("asked");
        ensure!(after <= asked + 1, "{kind}: production did not stop");
        // And it goes on when the client reads; half of it may not be enough, for some systems wait until there is room for much.
        connection.take(asked.saturating_sub(1).max(1) * ITEM, "the body")?;
        cx.wait_for_times("asked", asked + 2)?;
        connection.reset();
    }
    Ok(())
}

fn exact_length(cx: &mut Context) -> Result<(), Failure> {
    for (script, length) in
        [("hinted 5 5 text:he text:llo", 5), ("hinted 0 0", 0), ("size 77", 77), ("file 1000 0 - -", 1000)]
    {
        let (_, response) = cx.answered(&cx.get(script), 200)?;
        ensure_eq!(response.framing, Framing::Length(length), "the framing ({script})");
        ensure_eq!(response.body.len() as u64, length, "the length ({script})");
    }
    Ok(())
}

fn hint(cx: &mut Context) -> Result<(), Failure> {
    for (script, length) in [
        ("counted 100", 1000),
        ("hinted 1 10 text:hello", 5),
        ("hinted 3 - text:hello", 5),
        ("stream text:hello", 5),
        ("iter text:hello", 5),
    ] {
        let (_, response) = cx.answered(&cx.get(script), 200)?;
        ensure_eq!(response.framing, Framing::Chunked, "the framing ({script})");
        ensure_eq!(response.body.len(), length, "the length ({script})");
    }
    Ok(())
}

fn large(cx: &mut Context) -> Result<(), Failure> {
    const ALL: usize = 10 * 1024 * 1024;
    let (_, response) = cx.answered(&cx.get(&format!("size {ALL}")), 200)?;
    ensure!(response.body == text::pattern(ALL), "a sized body of 10 MiB differs");
    let item = text::pattern(ALL / 40);
    for kind in ["iter", "stream", "channel 2 thread"] {
        let (_, response) = cx.answered(&cx.get(&format!("{kind} times:40:size:{}", item.len())), 200)?;
        ensure!(response.body == item.repeat(40), "10 MiB as {kind} differ");
    }
    Ok(())
}

fn many_small(cx: &mut Context) -> Result<(), Failure> {
    for kind in ["iter", "stream", "channel 16 thread"] {
        let (mut connection, response) =
            cx.answered(&cx.get(&format!("{kind} times:5000:text:a times:5000:text:b")), 200)?;
        ensure!(response.body == [vec![b'a'; 5000], vec![b'b'; 5000]].concat(), "the octets of {kind} differ");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    Ok(())
}

fn not_sync(cx: &mut Context) -> Result<(), Failure> {
    // The scripted stream holds a boxed future that is Send and not Sync; that it compiles is half of the case.
    let (_, response) = cx.answered(&cx.get("stream text:a sleep:1 text:b"), 200)?;
    ensure_eq!(response.text(), "ab", "the body");
    Ok(())
}

fn moved(cx: &mut Context) -> Result<(), Failure> {
    // Many at once, each waiting many times, so that a pool has reason to hand them around.
    let script = "stream times:50:sleep:1 text:a times:50:sleep:1 text:b times:20:sleep:1 text:c";
    let mut connections = Vec::new();
    for _ in 0..8 {
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        connections.push(connection);
    }
    for connection in &mut connections {
        ensure_eq!(connection.response("GET")?.text(), "abc", "the body");
    }
    let seen = cx.wait_for_times("body-dropped", 8)?;
    ensure_eq!(seen.count("body-dropped"), 8, "bodies dropped");
    ensure!(!seen.has("asked-after-end"), "a body was asked after its end");
    Ok(())
}
