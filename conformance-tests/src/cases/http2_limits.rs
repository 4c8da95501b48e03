//! What HTTP/2 refuses, and how many requests a connection of it serves. HDR-06, HDR-08, KAP-12, LIM-01, LIM-02, TGT-13, TGT-16,
//! TGT-24

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::setting::{self, SMALL_LIMITS};
use crate::wire::http2::{AUTHORITY, Http2};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2_limits",
    title: "Limits and refusals of HTTP/2",
    cases: &[
        Case::must(
            "malformed_requests_are_refused",
            "400, or an error of the protocol",
            &["HDR-06", "HDR-08a", "TGT-13", "TGT-16"],
            malformed,
        )
        .needs("http2"),
        Case::must(
            "large_heads_are_refused",
            "431 or 414, and the next request is served",
            &["LIM-01", "LIM-02", "TGT-24"],
            large_heads,
        )
        .with(&SMALL_LIMITS)
        .needs("http2"),
        Case::must("rapid_resets_end", "whoever resets the streams", &["LIM-11"], rapid_resets).needs("http2"),
        Case::should("keep_alive_can_be_off", "a GOAWAY after the first request", &["KAP-12a"], one)
            .with(&setting::NO_KEEP_ALIVE)
            .needs("http2"),
        Case::may("requests_are_counted", "a GOAWAY after the last of them", &["KAP-12b"], counted)
            .with(&setting::TWO_REQUESTS)
            .needs("http2"),
    ],
};

/// RFC 9113 §7
const PROTOCOL_ERROR: u32 = 1;

type Fields<'a> = Vec<(&'a str, &'a str)>;
/// Other values for pseudo-header fields, or none at all.
type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

/// The fields of a request with some of them replaced, or without them, and others behind.
fn fields<'a>(scheme: &'a str, token: &'a str, changes: Changes<'a>, more: &[(&'a str, &'a str)]) -> Fields<'a> {
    let usual = [(":method", "GET"), (":scheme", scheme), (":path", "/"), (":authority", AUTHORITY)];
    let pseudo = usual.into_iter().filter_map(|(name, value)| {
        let change = changes.iter().find(|(changed, _)| *changed == name);
        Some((name, change.map_or(Some(value), |(_, value)| *value)?))
    });
    let ours = [(crate::application::TOKEN, token), (crate::application::DO, "body never")];
    pseudo.chain(ours).chain(more.iter().copied()).collect()
}

/// RFC 9113 §7
const ENHANCE_YOUR_CALM: u32 = 0xb;
const BATCH: usize = 20;

/// Streams that are reset once the server has seen all of them; an error once the connection has ended.
fn reset_batch(http2: &mut Http2, script: &str) -> Result<(), Failure> {
    let batch: Vec<u32> = (0..BATCH).map(|_| http2.get("/", script)).collect::<Result<_, _>>()?;
    let seen = http2.get("/", "body seen")?;
    http2.response(seen)?;
    batch.into_iter().try_for_each(|stream| http2.reset(stream))
}

fn rapid_resets(cx: &mut Context) -> Result<(), Failure> {
    for script in ["gate never; body late", "stream text:a pending"] {
        let mut http2 = Http2::open(cx)?;
        let mut opened = 0;
        // In batches, each of which the server has seen before it is reset.
        let end = loop {
            ensure!(opened <= 1500, "{opened} streams were opened and reset, and the connection goes on ({script})");
            if let Err(end) = reset_batch(&mut http2, script) {
                break end;
            }
            opened += BATCH;
        };
        http2.ends().map_err(|failure| Failure(format!("{failure} ({end})")))?;
        // RFC 9113 §7: with a GOAWAY that says why, or without one
        ensure!(
            http2.goaway.is_none_or(|(_, code)| code == ENHANCE_YOUR_CALM),
            "{:?} as its GOAWAY: {end}",
            http2.goaway
        );
    }
    // A client that resets now and then is served on.
    let mut http2 = Http2::open(cx)?;
    for _ in 0..20 {
        let stream = http2.get("/", "gate never; body late")?;
        http2.reset(stream)?;
        let stream = http2.get("/", "blocking; body served")?;
        ensure_eq!(http2.response(stream)?.body, b"served", "the response beside resets");
    }
    Ok(())
}

fn malformed(cx: &mut Context) -> Result<(), Failure> {
    /// Answered 400, or an error of the stream or the connection. RFC 9113 §5.4, §8.1.1
    fn refused(cx: &Context, request: &Fields<'_>) -> Result<(), Failure> {
        let mut http2 = Http2::open(cx)?;
        let stream = http2.fields(request, true)?;
        match http2.end(stream) {
            Ok(answer) => ensure!(
                answer.status() == 400 || (answer.status() == 0 && answer.reset == Some(PROTOCOL_ERROR)),
                "status {}, reset {:?}",
                answer.status(),
                answer.reset
            ),
            Err(failure) => ensure!(http2.goaway.is_some_and(|(_, code)| code == PROTOCOL_ERROR), "{failure}"),
        }
        cx.not_called()
    }
    let changes: [Changes<'_>; 8] = [
        &[(":authority", None)],
        &[(":authority", Some("a b"))],
        &[(":path", Some("*"))],
        &[(":path", Some("foo"))],
        &[(":path", Some(""))],
        &[(":path", None)],
        &[(":method", None)],
        &[(":scheme", None)],
    ];
    for change in changes {
        cx.again();
        let token = cx.token().to_owned();
        refused(cx, &fields(cx.scheme(), &token, change, &[]))
            .map_err(|failure| Failure(format!("{change:?}: {failure}")))?;
    }
    Ok(())
}

fn large_heads(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let mut refused = |changes: Changes<'_>, more: &[(&str, &str)], status: u16| {
        cx.again();
        let token = cx.token().to_owned();
        let stream = http2.fields(&fields(cx.scheme(), &token, changes, more), true)?;
        ensure_eq!(http2.response(stream)?.status(), status, "the status");
        cx.not_called()?;
        cx.again();
        http2.again(cx);
        let stream = http2.get("/", "body next")?;
        ensure_eq!(http2.response(stream)?.body, b"next", "the next response");
        Ok(())
    };
    refused(&[], &[("x-large", &"a".repeat(9_000))], 431)?;
    let names: Vec<String> = (0..30).map(|number| format!("x-{number}")).collect();
    let many: Fields<'_> = names.iter().map(|name| (&name[..], "1")).collect();
    refused(&[], &many, 431)?;
    refused(&[(":path", Some(&format!("/{}", "a".repeat(2_000))))], &[], 414)
}

/// That the connection ends by itself after `count` requests, and each of them is served.
fn ends_after(cx: &mut Context, count: usize) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for number in 1..=count {
        let stream = http2.get("/", "stream text:hel sleep:50 text:lo")?;
        ensure_eq!(http2.response(stream)?.body, b"hello", "response {number}");
    }
    http2.closed_gracefully()?;
    ensure_eq!(cx.seen()?.calls().len(), count, "calls of the application");
    Ok(())
}

fn one(cx: &mut Context) -> Result<(), Failure> {
    ends_after(cx, 1)
}

fn counted(cx: &mut Context) -> Result<(), Failure> {
    ends_after(cx, 2)
}
