//! Early hints. INF-01 to INF-03

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "informational",
    title: "Informational responses",
    cases: &[
        Case::must("hints_are_there_where_declared", "exactly there, and not for HTTP/1.0", &["INF-01"], declared),
        Case::must("hints_are_sent_at_once", "before the final response exists", &["INF-02a"], at_once)
            .needs("early-hints"),
        Case::must("several_hints_in_order", "every one before the final head", &["INF-02b"], several)
            .needs("early-hints"),
        Case::must("fields_of_hints_are_checked", "no framing and no connection control", &["INF-02c"], checked)
            .needs("early-hints"),
        Case::must("no_hints_to_http10", "never", &["INF-02d", "RSP-11"], http10).needs("early-hints"),
        Case::must("late_hints_are_nothing", "after the head is committed", &["INF-03"], late).needs("early-hints"),
    ],
};

/// Fields that no hint may have, with a value.
pub(super) const REFUSED: [&str; 7] = [
    "content-length 5",
    "transfer-encoding chunked",
    "connection close",
    "keep-alive x",
    "upgrade x",
    "te trailers",
    "trailer x",
];

fn declared(cx: &mut Context) -> Result<(), Failure> {
    let there = cx.control("about")?.contains("capability early-hints true");
    cx.answered(&cx.get("hints link </x>; body x"), 200)?;
    let seen = cx.seen()?;
    ensure_eq!(seen.call()?.env("early-hints"), there.to_string(), "whether hints are there");
    ensure_eq!(!seen.has("hints none"), there, "whether the application could send one");
    cx.again();
    cx.answered(&cx.get("").http10(), 200)?;
    ensure_eq!(cx.seen()?.call()?.env("early-hints"), "false", "whether hints are there for HTTP/1.0");
    Ok(())
}

fn at_once(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("hints link </style.css>; gate go; body x").bytes())?;
    let hint = connection.head()?;
    ensure_eq!(hint.status, 103, "the status of the hint");
    ensure_eq!(hint.all("link"), ["</style.css>"], "its field");
    cx.wait_for("at go")?;
    cx.open("go")?;
    ensure_eq!(connection.response("GET")?.text(), "x", "the final response");
    Ok(())
}

fn several(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    for _ in 0..2 {
        connection.send(cx.get("hints x-n 1; hints x-n 2; hints x-n 3; body x").bytes())?;
        let response = connection.response("GET")?;
        let hints: Vec<String> = response.interim.iter().flat_map(|head| head.all("x-n")).collect();
        ensure_eq!(hints, ["1", "2", "3"], "the hints");
        ensure!(!response.head.has("x-n"), "a field of a hint in the final head");
        ensure_eq!(response.text(), "x", "the final response");
    }
    Ok(())
}

fn checked(cx: &mut Context) -> Result<(), Failure> {
    for field in REFUSED {
        let (mut connection, response) = cx.answered(&cx.get(&format!("hints {field}; body x")), 200)?;
        let name = field.split(' ').next().unwrap_or("");
        ensure!(!response.interim.iter().any(|head| head.has(name)), "a hint with {field} was sent");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    Ok(())
}

fn http10(cx: &mut Context) -> Result<(), Failure> {
    let (_, response) = cx.answered(&cx.get("hints link </x>; body x").http10(), 200)?;
    ensure!(response.interim.is_empty(), "a hint to HTTP/1.0");
    Ok(())
}

fn late(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("spawn-hints late; stream text:a gate:go text:b").bytes())?;
    connection.head()?;
    cx.open("late")?;
    cx.wait_for("late-hints")?;
    cx.open("go")?;
    ensure_eq!(connection.chunk()?.as_deref(), Some(&b"a"[..]), "the first chunk");
    ensure_eq!(connection.chunk()?.as_deref(), Some(&b"b"[..]), "the second chunk");
    ensure_eq!(connection.chunk()?, Some(Vec::new()), "the last chunk");
    connection.nothing_arrived("besides the last chunk").or_else(|_| connection.take(2, "the end").map(drop))
}
