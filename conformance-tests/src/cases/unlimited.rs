//! What has no limit in the configuration has none. LIM-13

use std::time::Duration;

use crate::case::{Case, Failure, Group, ensure_eq};
use crate::context::Context;
use crate::setting;
use crate::wire::Connection;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "unlimited",
    title: "What has no limit",
    cases: &[
        Case::must("bodies_may_be_large", "requests and responses of 8 MiB", &["LIM-13"], bodies)
            .with(&setting::NO_LIMITS),
        Case::must("connections_may_be_long", "1,500 requests on one", &["LIM-13"], requests).with(&setting::NO_LIMITS),
        Case::must(
            "everything_may_take_long",
            "6 s for a head, a body, a handler, idling, reading",
            &["LIM-13"],
            patience,
        )
        .with(&setting::NO_LIMITS),
    ],
};

const LARGE: usize = 8 << 20;
/// More than the operating system takes of a response that nobody reads.
const UNREAD: usize = 20_000_000;
/// Longer than what comes to mind as a default, 5 s.
const LONG: Duration = Duration::from_secs(6);

fn bodies(cx: &mut Context) -> Result<(), Failure> {
    let whole = vec![b'b'; LARGE];
    let chunked = cx.request("POST", "/").script("echo").chunked(&[&whole]);
    for request in [cx.post("echo", &whole), chunked] {
        let mut connection = cx.connect()?;
        let sending = connection.send_in_background(request.bytes())?;
        let response = connection.response("POST")?;
        sending.finish();
        ensure_eq!(response.status(), 200, "the status");
        ensure_eq!(response.body.len(), LARGE, "the octets that came back");
    }
    Ok(())
}

fn requests(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    for _ in 0..15 {
        // A hundred at a time: a pipeline that no server has to hold.
        connection.send(cx.get("body x").bytes().repeat(100))?;
        for _ in 0..100 {
            ensure_eq!(connection.response("GET")?.text(), "x", "the body");
        }
    }
    Ok(())
}

/// A connection on which something takes long, and what ends that.
type Slow = (&'static str, Connection, Vec<u8>);

fn patience(cx: &mut Context) -> Result<(), Failure> {
    let begun = |cx: &Context, bytes: Vec<u8>| -> Result<(Connection, Vec<u8>), Failure> {
        let mut connection = cx.connect()?;
        let rest = bytes[bytes.len() - 1..].to_vec();
        connection.send(&bytes[..bytes.len() - 1])?;
        Ok((connection, rest))
    };
    let mut slow: Vec<Slow> = Vec::new();
    slow.push(("nothing sent", cx.connect()?, cx.get("body x").bytes()));
    let (connection, rest) = begun(cx, cx.get("body x").bytes())?;
    slow.push(("a slow head", connection, rest));
    let (connection, rest) = begun(cx, cx.post("read all; body x", "octets").bytes())?;
    slow.push(("a slow body", connection, rest));
    let mut handled = cx.connect()?;
    handled.send(cx.get(&format!("sleep {}; body x", LONG.as_millis())).bytes())?;
    slow.push(("a slow handler", handled, Vec::new()));
    let mut idle = cx.connect()?;
    idle.send(cx.get("body x").bytes())?;
    ensure_eq!(idle.response("GET")?.text(), "x", "the body");
    slow.push(("an idle connection", idle, cx.get("body x").bytes()));
    let mut reader = cx.connect()?;
    reader.small_window();
    reader.send(cx.get(&format!("size {UNREAD}")).bytes())?;
    cx.pause(LONG.as_millis() as u64)?;
    let response = reader.response("GET").map_err(|failure| format!("a slow reader: {failure}"))?;
    ensure_eq!(response.body.len(), UNREAD, "the octets for a slow reader");
    for (what, mut connection, rest) in slow {
        connection.send(rest)?;
        let response = connection.response("GET").map_err(|failure| format!("{what}: {failure}"))?;
        ensure_eq!((response.status(), response.text().as_str()), (200, "x"), "the answer after {what}");
    }
    Ok(())
}
