//! Upgrades that nobody takes, and what is said where nobody can. UPG-06, UPG-25

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "upgrade",
    title: "Upgrades",
    cases: &[
        Case::must("unknown_upgrade_is_ignored", "served as if it had not been asked for", &["UPG-06"], ignored),
        Case::must("upgrade_with_a_body_is_ignored", "also with a body", &["UPG-06", "REQ-27"], with_body),
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
