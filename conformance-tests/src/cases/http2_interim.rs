//! Interim responses of HTTP/2: 100 (Continue) and 103 (Early Hints). EXP-01, EXP-02, EXP-05, INF-01 to INF-03

use super::informational::REFUSED;
use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::wire::http2::Http2;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2_interim",
    title: "Interim responses of HTTP/2",
    cases: &[
        Case::must(
            "continue_on_first_read",
            "100 is sent when the body is first read, and not before",
            &["EXP-01a", "EXP-01b", "EXP-05"],
            on_first_read,
        )
        .needs("http2"),
        Case::must("no_continue_without_a_read", "no 100 where the application answers unread", &["EXP-02a"], unread)
            .needs("http2"),
        Case::must(
            "no_continue_after_the_body_came",
            "a client that did not wait loses nothing",
            &["EXP-01a", "EXP-05"],
            did_not_wait,
        )
        .needs("http2"),
        Case::must("hints_are_there_where_declared", "exactly there", &["INF-01"], declared).needs("http2"),
        Case::must("hints_are_sent_at_once", "before the final response exists", &["INF-02a"], at_once)
            .needs("http2")
            .needs("early-hints-http2"),
        Case::must("several_hints_in_order", "every one before the final head", &["INF-02b"], several)
            .needs("http2")
            .needs("early-hints-http2"),
        Case::must("fields_of_hints_are_checked", "no framing and no connection control", &["INF-02c"], checked)
            .needs("http2")
            .needs("early-hints-http2"),
        Case::must("late_hints_are_nothing", "after the head is committed", &["INF-03"], late)
            .needs("http2")
            .needs("early-hints-http2"),
    ],
};

/// The head of a request that waits for a 100.
fn expecting(http2: &mut Http2, script: &str) -> Result<u32, Failure> {
    http2.request("POST", "/", script, &[("expect", "100-continue"), ("content-length", "5")], false)
}

fn on_first_read(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for (number, script) in (1..).zip(["gate go; read; body done", "blocking; gate go; read; body done"]) {
        cx.again();
        http2.again(cx);
        let stream = expecting(&mut http2, script)?;
        cx.wait_for("at go")?;
        http2.ping()?;
        http2.pong(number)?;
        ensure!(http2.answer(stream)?.interim().is_empty(), "an interim response before the application read the body");
        cx.open("go")?;
        let interim = http2.interim(stream, 1)?;
        ensure_eq!(interim.status, 100, "the interim status");
        ensure!(interim.fields.is_empty(), "fields in a 100");
        http2.data(stream, b"hello", true)?;
        let response = http2.response(stream)?;
        ensure_eq!(response.body, b"done", "the final response");
        ensure_eq!(response.interim().len(), 1, "interim responses");
        cx.seen()?.read_all(b"hello")?;
    }
    Ok(())
}

fn unread(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let stream = expecting(&mut http2, "body done")?;
    let head = http2.head(stream)?;
    ensure_eq!(head.status, 200, "the final response");
    ensure!(http2.answer(stream)?.interim().is_empty(), "an interim response, though nobody reads");
    let next = http2.get("/", "body next")?;
    ensure_eq!(http2.response(next)?.body, b"next", "the next response");
    Ok(())
}

fn did_not_wait(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let stream = expecting(&mut http2, "gate go; read; body done")?;
    http2.data(stream, b"hello", true)?;
    // Behind the answer to a PING all of that is with the server.
    http2.ping()?;
    http2.pong(1)?;
    cx.wait_for("at go")?;
    cx.open("go")?;
    let response = http2.response(stream)?;
    ensure_eq!(response.body, b"done", "the final response");
    ensure!(response.interim().is_empty(), "a 100 for a body that is here");
    cx.seen()?.read_all(b"hello")
}

fn declared(cx: &mut Context) -> Result<(), Failure> {
    let there = cx.control("about")?.contains("capability early-hints-http2 true");
    let mut http2 = Http2::open(cx)?;
    let stream = http2.get("/", "hints link </x>; body x")?;
    let response = http2.response(stream)?;
    let seen = cx.seen()?;
    ensure_eq!(seen.call()?.env("early-hints"), there.to_string(), "whether hints are there");
    ensure_eq!(!seen.has("hints none"), there, "whether the application could send one");
    ensure_eq!(response.interim().len(), usize::from(there), "interim responses");
    Ok(())
}

fn at_once(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let stream = http2.get("/", "hints link </style.css>; gate go; body x")?;
    let hint = http2.interim(stream, 1)?;
    ensure_eq!(hint.status, 103, "the status of the hint");
    ensure_eq!(hint.all("link"), ["</style.css>"], "its field");
    cx.wait_for("at go")?;
    cx.open("go")?;
    ensure_eq!(http2.response(stream)?.body, b"x", "the final response");
    Ok(())
}

fn several(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for _ in 0..2 {
        let stream = http2.get("/", "hints x-n 1; hints x-n 2; hints x-n 3; body x")?;
        let response = http2.response(stream)?;
        let hints: Vec<String> = response.interim().iter().flat_map(|head| head.all("x-n")).collect();
        ensure_eq!(hints, ["1", "2", "3"], "the hints");
        ensure!(response.head().is_some_and(|head| !head.has("x-n")), "a field of a hint in the final head");
        ensure_eq!(response.body, b"x", "the final response");
    }
    Ok(())
}

fn checked(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for field in REFUSED {
        let stream = http2.get("/", &format!("hints {field}; body x"))?;
        let response = http2.response(stream)?;
        let name = field.split(' ').next().unwrap_or("");
        ensure!(!response.interim().iter().any(|head| head.has(name)), "a hint with {field} was sent");
        ensure_eq!(response.body, b"x", "the final response");
    }
    Ok(())
}

fn late(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let stream = http2.get("/", "spawn-hints late; stream text:a gate:go text:b")?;
    ensure_eq!(http2.take(stream, 1)?, b"a", "the first octet");
    cx.open("late")?;
    cx.wait_for("late-hints")?;
    cx.open("go")?;
    let response = http2.response(stream)?;
    ensure_eq!(response.body, b"b", "the rest");
    ensure!(response.interim().is_empty() && response.trailers.is_empty(), "a hint behind the head");
    Ok(())
}
