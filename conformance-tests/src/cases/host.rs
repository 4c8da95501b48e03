//! The Host field. HDR-06 to HDR-09

use crate::case::{Case, Failure, Group, ensure_eq};
use crate::context::Context;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "host",
    title: "Host",
    cases: &[
        Case::must("missing_host_is_refused", "HTTP/1.1 without Host is answered 400", &["HDR-06"], missing),
        Case::must("two_hosts_are_refused", "several Host lines are answered 400, equal ones too", &["HDR-07"], two),
        Case::must(
            "malformed_host_is_refused",
            "Host with space, path, userinfo, comma or bad port is answered 400",
            &["HDR-08a"],
            malformed,
        ),
        Case::must(
            "well_formed_hosts_are_accepted",
            "names, addresses and ports of every kind",
            &["HDR-08a"],
            well_formed,
        ),
        Case::must("empty_host_is_accepted", "an empty Host is allowed", &["HDR-08b"], empty),
        Case::must("http10_needs_no_host", "HTTP/1.0 without Host is served", &["HDR-09"], http10),
        Case::must(
            "http10_host_is_checked",
            "a malformed or repeated Host is refused in HTTP/1.0 too",
            &["HDR-07", "HDR-08a"],
            http10_checked,
        ),
    ],
};

fn missing(cx: &mut Context) -> Result<(), Failure> {
    for method in ["GET", "POST", "OPTIONS", "BREW"] {
        cx.refused(format!("{method} / HTTP/1.1\r\n{{t}}\r\n"), &[400])?;
    }
    cx.refused("GET / HTTP/1.1\r\nx-host: a\r\n{t}\r\n", &[400]).map(drop)
}

fn two(cx: &mut Context) -> Result<(), Failure> {
    for lines in
        ["host: a\r\nhost: b\r\n", "host: a\r\nHost: a\r\n", "host: a\r\n{t}HOST: a\r\n", "host:\r\nhost: a\r\n"]
    {
        cx.refused(format!("GET / HTTP/1.1\r\n{lines}{{t}}\r\n"), &[400])
            .map_err(|failure| Failure(format!("{lines:?}: {failure}")))?;
    }
    Ok(())
}

fn malformed(cx: &mut Context) -> Result<(), Failure> {
    for host in [
        "a b",
        "a/b",
        "/",
        "user@a",
        "user:pass@a",
        "a,b",
        "a:b",
        "a:80:81",
        "a:99999",
        "http://a",
        "a#b",
        "a?b",
        "[::1",
        "::1",
        "[]",
        "a\tb",
        "a:-1",
        "a:8 0",
        "<a>",
        "a\\b",
        "a%zz",
    ] {
        cx.refused(format!("GET / HTTP/1.1\r\nhost: {host}\r\n{{t}}\r\n"), &[400])
            .map_err(|failure| Failure(format!("host {host:?}: {failure}")))?;
    }
    Ok(())
}

fn well_formed(cx: &mut Context) -> Result<(), Failure> {
    for host in [
        "a",
        "a.example",
        "A.Example:80",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:8080",
        "a_b",
        "a-b.",
        "xn--bcher-kva.example",
        "a:",
    ] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.raw(format!("GET / HTTP/1.1\r\nhost: {host}\r\n{{t}}\r\n")))?;
        ensure_eq!(connection.response("GET")?.status(), 200, "the status for host {host:?}");
        ensure_eq!(cx.seen()?.call()?.texts("host"), [host], "the Host delivered");
    }
    Ok(())
}

fn empty(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.raw("GET / HTTP/1.1\r\nhost:\r\n{t}\r\n"))?;
    ensure_eq!(connection.response("GET")?.status(), 200, "the status");
    ensure_eq!(cx.seen()?.call()?.texts("host"), [""], "the Host delivered");
    Ok(())
}

fn http10(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get("").http10(), 200)?;
    ensure_eq!(cx.seen()?.call()?.texts("host"), Vec::<String>::new(), "the Host delivered");
    Ok(())
}

fn http10_checked(cx: &mut Context) -> Result<(), Failure> {
    cx.refused("GET / HTTP/1.0\r\nhost: a b\r\n{t}\r\n", &[400])?;
    cx.refused("GET / HTTP/1.0\r\nhost: a\r\nhost: a\r\n{t}\r\n", &[400]).map(drop)
}
