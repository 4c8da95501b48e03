//! Clients of HTTP/2 that make work for nothing, or leave all of it to the server. RFC 9113 §10.5; LIM-11, MUX-17 to MUX-21

use std::time::Duration;

use super::http2_probe::code::{ENHANCE_YOUR_CALM, PROTOCOL_ERROR};
use super::http2_probe::{goes_on, send};
use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::Context;
use crate::lifecycle::{self, Lifecycle};
use crate::wire::http2::Http2;
use crate::wire::http2::frame::{END_STREAM, frame, kind, setting};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2_floods",
    title: "Floods of HTTP/2",
    cases: &[
        Case::must("streams_are_limited", "as announced; more are refused", &["MUX-17"], limited).needs("http2"),
        Case::must("made_resets_end", "also where blocking code runs", &["LIM-11"], made_resets).needs("http2"),
        Case::owned(
            Level::Must,
            "work_not_begun_is_dropped",
            "with its stream, whoever resets that",
            &["MUX-18"],
            work_not_begun,
        )
        .needs("http2"),
        Case::owned(Level::Must, "work_that_runs_counts", "as streams do", &["MUX-22"], running_work).needs("http2"),
        Case::must("endless_field_blocks_end_it", "of empty, small and large frames", &["MUX-19"], endless)
            .needs("http2"),
        Case::must("answers_are_not_piled_up", "for who does not read them", &["MUX-20"], piled_up).needs("http2"),
        Case::must("cheap_frames_are_no_harm", "to others, or the connection ends", &["MUX-21"], cheap).needs("http2"),
    ],
};

/// A way to have streams reset before they are answered: how a stream begins, and how it is ended.
struct Provocation {
    what: &'static str,
    begin: fn(&mut Http2, &str) -> Result<u32, Failure>,
    end: fn(&mut Http2, u32) -> Result<(), Failure>,
}

fn asked(to: &mut Http2, script: &str) -> Result<u32, Failure> {
    to.get("/", script)
}

/// CVE-2023-44487, and the ways of CVE-2025-8671, in which it is the server that resets.
static PROVOCATIONS: &[Provocation] = &[
    Provocation { what: "RST_STREAM", begin: asked, end: Http2::reset },
    Provocation {
        what: "WINDOW_UPDATE of 0",
        begin: asked,
        end: |to, stream| to.send(kind::WINDOW_UPDATE, 0, stream, &[0; 4]),
    },
    Provocation {
        what: "WINDOW_UPDATE of too much",
        begin: asked,
        end: |to, stream| to.send(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]),
    },
    Provocation {
        what: "DATA behind the end",
        begin: asked,
        end: |to, stream| to.send(kind::DATA, END_STREAM, stream, b"abc"),
    },
    Provocation {
        what: "HEADERS behind the end",
        begin: asked,
        end: |to, stream| to.trailers(stream, &[("x-late", "1")]),
    },
    Provocation {
        what: "DATA beyond Content-Length",
        begin: |to, script| to.request("POST", "/", script, &[("content-length", "1")], false),
        end: |to, stream| to.send(kind::DATA, END_STREAM, stream, b"abc"),
    },
    Provocation {
        what: "PRIORITY of four octets",
        begin: asked,
        end: |to, stream| to.send(kind::PRIORITY, 0, stream, &[0; 4]),
    },
    Provocation {
        what: "PRIORITY that depends on itself",
        begin: asked,
        end: |to, stream| to.send(kind::PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[15]].concat()),
    },
];

/// Streams that are begun before the first of them is ended.
const BATCH: usize = 20;

/// Begins as many streams, and ends them once the server has seen all of them. What the server does not reset for it, the client
/// does. An error once the connection has ended.
fn provoke(http2: &mut Http2, how: &Provocation, script: &str) -> Result<(), Failure> {
    let batch: Vec<u32> = (0..BATCH).map(|_| (how.begin)(http2, script)).collect::<Result<_, _>>()?;
    let seen = http2.get("/", "body seen")?;
    http2.response(seen)?;
    batch.iter().try_for_each(|stream| (how.end)(http2, *stream))?;
    let pongs = http2.pongs.len();
    http2.ping()?;
    http2.pong(pongs + 1)?;
    for stream in batch {
        if http2.answer(stream)?.reset.is_none() {
            http2.reset(stream)?;
        }
    }
    Ok(())
}

fn made_resets(cx: &mut Context) -> Result<(), Failure> {
    for how in PROVOCATIONS {
        for script in ["gate never; body late", "blocking; until-disconnected; body late"] {
            let failed = |failure: Failure| Failure(format!("{} ({script}): {failure}", how.what));
            let mut http2 = Http2::open(cx)?;
            let mut begun = 0;
            let end = loop {
                if begun > 1500 {
                    return Err(failed(Failure(format!("{begun} streams were reset, and the connection goes on"))));
                }
                if let Err(end) = provoke(&mut http2, how, script) {
                    break end;
                }
                begun += BATCH;
            };
            http2.ends().map_err(|failure| failed(Failure(format!("{failure} ({end})"))))?;
            // RFC 9113 §7: with a GOAWAY that says why, or without one
            let code = http2.goaway.map(|(_, code)| code);
            ensure!(code != Some(0), "{}: no error in its GOAWAY: {end}", how.what);
            ensure!(
                how.what != "RST_STREAM" || matches!(code, None | Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR)),
                "{code:?} in its GOAWAY: {end}"
            );
            let mut other = Http2::open(cx)?;
            let stream = other.get("/", "blocking; body served")?;
            ensure_eq!(other.response(stream)?.body, b"served", "the response beside it");
        }
    }
    Ok(())
}

fn work_not_begun(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    const BATCHES: usize = 3;
    let mut config = lifecycle::config();
    config.threads = Some(2);
    config.blocking_threads = 2;
    let mut running = life.start(config)?;
    // Both threads have something to do.
    let mut holding = Http2::open(&running.context)?;
    for _ in 0..2 {
        holding.get("/", "blocking; gate go; body held")?;
    }
    lifecycle::wait_for_times(&running.records, running.context.token(), "blocking", 2)?;
    let held = running.context.token().to_owned();
    running.context.again();
    for how in PROVOCATIONS {
        let mut http2 = Http2::open(&running.context)?;
        // Some of them end the connection, and the streams with it.
        let _ = (0..BATCHES).try_for_each(|_| provoke(&mut http2, how, "blocking; body flooded"));
    }
    // A server may have to go over its streams.
    running.context.pause(300)?;
    running.records.open(&held, "go");
    let mut other = Http2::open(&running.context)?;
    other.again(&running.context);
    let stream = other.get("/", "blocking; body last")?;
    ensure_eq!(other.response(stream)?.body, b"last", "the response behind all of that");
    let ran = running.seen().count("blocking") - 1;
    let most = PROVOCATIONS.len() * BATCHES * BATCH;
    // What had been taken from the line when its stream was reset can't be told from that.
    ensure!(ran <= most / 10, "{ran} of {most} calls were begun after their streams were reset");
    running.stop()
}

fn running_work(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.blocking_threads = 1000;
    let running = life.start(config)?;
    let cx = &running.context;
    let mut http2 = Http2::open(cx)?;
    let most = most_streams(&mut http2)?;
    ensure!(most <= 500, "{most} streams are too many for this case");
    let mut flood = || -> Result<(), Failure> {
        for count in 0..most + 50 {
            let stream = http2.get("/", "blocking; gate go; body late")?;
            // It is refused, or it runs.
            while running.seen().count("blocking") <= count {
                let pongs = http2.pongs.len();
                http2.ping()?;
                http2.pong(pongs + 1)?;
                if http2.answer(stream)?.reset.is_some() {
                    return Ok(());
                }
            }
            http2.reset(stream)?;
            // Whoever resets one stream of three is no rapid resetter.
            for _ in 0..2 {
                let stream = http2.get("/", "body beside")?;
                if http2.end(stream)?.reset.is_some() {
                    return Ok(());
                }
            }
        }
        Ok(())
    };
    let end = flood();
    let ran = running.seen().count("blocking");
    running.open("go");
    ensure!(ran <= most, "{ran} calls run at once for a connection of {most} streams");
    // It has had enough of the connection, or refuses what is too much.
    if let Err(failure) = end {
        ensure!(http2.goaway.is_some_and(|(_, code)| code != 0), "{failure}");
    }
    running.stop()
}

/// The limit that is announced.
fn most_streams(http2: &mut Http2) -> Result<usize, Failure> {
    let settings = http2.settings()?;
    // RFC 9113 §6.5.2: without it there is no limit
    let most = settings.iter().rev().find(|(id, _)| *id == 3).map(|(_, most)| *most as usize);
    most.ok_or_else(|| "no limit of streams is announced".into())
}

fn limited(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let most = most_streams(&mut http2)?;
    ensure!(most <= 10_000, "{most} streams are allowed");
    let open: Vec<u32> = (0..most).map(|_| http2.get("/", "gate go; body within")).collect::<Result<_, _>>()?;
    cx.wait_for_times("at go", most)?;
    // RFC 9113 §5.1.2
    for _ in 0..3 {
        let stream = http2.get("/", "body beyond")?;
        let answer = http2.end(stream)?;
        ensure!(matches!(answer.reset, Some(1 | 7)), "one stream more: {} {:?}", answer.status(), answer.reset);
    }
    cx.open("go")?;
    for stream in open {
        ensure_eq!(http2.response(stream)?.body, b"within", "the response on stream {stream}");
    }
    ensure_eq!(cx.seen()?.calls().len(), most, "calls of the application");
    goes_on(&mut http2)
}

/// A flood that takes so many octets of a server that does not mind.
const FLOOD: usize = 32 << 20;

fn endless(cx: &mut Context) -> Result<(), Failure> {
    // Literal fields `x: 1`.
    for (what, payload) in
        [("empty", vec![]), ("small", b"\0\x01x\x011".to_vec()), ("large", b"\0\x01x\x011".repeat(3000))]
    {
        let mut http2 = Http2::open(cx)?;
        let stream = http2.next_stream();
        let block = http2.block("GET", "/", "body never", &[]);
        http2.send(kind::HEADERS, END_STREAM, stream, &block)?;
        let piece = frame(kind::CONTINUATION, 0, stream, &payload).repeat(1 + 10_000 / (9 + payload.len()));
        let sent = http2.push(&piece.repeat(FLOOD / 8 / piece.len()), Duration::from_secs(1));
        http2.ends().map_err(|failure| {
            Failure(format!("{sent} octets of {what} CONTINUATION frames, and the connection goes on: {failure}"))
        })?;
        ensure!(http2.goaway.is_none_or(|(_, code)| code != 0), "no error in its GOAWAY: {:?}", http2.goaway);
    }
    cx.not_called()?;
    goes_on(&mut Http2::open(cx)?)
}

fn piled_up(cx: &mut Context) -> Result<(), Failure> {
    let frames = [("PING", frame(kind::PING, 0, 0, b"12345678")), ("SETTINGS", frame(kind::SETTINGS, 0, 0, b""))];
    for (what, octets) in frames {
        let mut http2 = Http2::open(cx)?;
        let flood = octets.repeat(FLOOD / octets.len());
        // Nobody reads, until the server takes nothing more or has enough of it.
        let sent = http2.push(&flood, Duration::from_secs(1));
        ensure!(sent < flood.len(), "{sent} octets of {what} frames were taken from who reads no answer");
        goes_on(&mut Http2::open(cx)?)?;
    }
    Ok(())
}

fn cheap(cx: &mut Context) -> Result<(), Failure> {
    type Flood = (&'static str, fn(u32) -> Vec<u8>);
    const FLOODS: &[Flood] = &[
        ("empty DATA", |stream| frame(kind::DATA, 0, stream, b"")),
        ("padded DATA", |stream| frame(kind::DATA, 8, stream, b"\0")),
        ("PRIORITY", |stream| frame(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE", |_| frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("SETTINGS", |_| frame(kind::SETTINGS, 0, 0, &setting(6, 1 << 20))),
        ("unknown frames", |stream| frame(0x16, 0, stream, b"")),
    ];
    for (what, octets) in FLOODS {
        cx.again();
        let mut http2 = Http2::open(cx)?;
        let stream = http2.request("POST", "/", "gate go; read; body read", &[], false)?;
        cx.wait_for("at go")?;
        let batch = octets(stream).repeat(1000);
        let mut flood = || -> Result<(), Failure> {
            for _ in 0..20 {
                http2.octets(&batch)?;
                let pongs = http2.pongs.len();
                http2.ping()?;
                http2.pong(pongs + 1)?;
            }
            send(&mut http2, kind::DATA, END_STREAM, stream, b"abc")?;
            cx.open("go")?;
            ensure_eq!(http2.response(stream)?.body, b"read", "the response");
            cx.seen()?.read_all(b"abc")
        };
        let flooded = flood();
        // Either it went on as if nothing had been, or the server had enough of it.
        if let Err(failure) = flooded {
            let is_over = http2.goaway.is_some_and(|(_, code)| code != 0) || http2.ends().is_ok();
            ensure!(is_over, "{what}: {failure}");
        }
        goes_on(&mut Http2::open(cx)?).map_err(|failure| Failure(format!("beside {what}: {failure}")))?;
    }
    Ok(())
}
