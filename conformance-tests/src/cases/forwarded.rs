//! Whom forwarded fields are believed from, which of them, and what comes of those that can't be read. HDR-21 to HDR-23, HDR-26 to HDR-28

use adapter_core::server::TrustedProxy;

use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::Context;
use crate::lifecycle::{self, Lifecycle};
use crate::setting;
use crate::wire::ask_unix;

use super::UNIX;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "forwarded",
    title: "Forwarded fields",
    cases: &[
        Case::must(
            "clients_forwarded_is_ignored",
            "Forwarded says nothing where the proxy writes X-Forwarded-*",
            &["HDR-21"],
            other_family,
        )
        .with(&setting::BEHIND_PROXY),
        Case::must(
            "clients_x_forwarded_is_ignored",
            "X-Forwarded-* say nothing where the proxy writes Forwarded",
            &["HDR-21"],
            other_family_of_rfc_7239,
        )
        .with(&setting::BEHIND_RFC_7239),
        Case::should(
            "trusted_rfc_7239_is_believed",
            "Forwarded of a trusted proxy is read from the right, as its grammar says",
            &["HDR-17b"],
            trusted_rfc_7239,
        )
        .with(&setting::BEHIND_RFC_7239),
        Case::must(
            "unreadable_elements_name_nobody",
            "an element that can't be read does not make the proxy the client",
            &["HDR-22"],
            unreadable,
        )
        .with(&setting::BEHIND_PROXY),
        Case::must(
            "unreadable_rfc_7239_names_nobody",
            "an element of Forwarded that can't be read does not make the proxy the client",
            &["HDR-22"],
            unreadable_rfc_7239,
        )
        .with(&setting::BEHIND_RFC_7239),
        Case::must(
            "named_field_is_the_only_one",
            "a proxy's own field is believed, and X-Forwarded-* beside it are the client's",
            &["HDR-26"],
            named,
        )
        .with(&setting::BEHIND_NAMED),
        Case::must("hops_are_counted", "as many elements are believed as there are proxies", &["HDR-27"], hops)
            .with(&setting::BEHIND_HOPS),
        Case::must(
            "short_lists_name_nobody",
            "where fewer elements are there than proxies, nothing is believed",
            &["HDR-27"],
            fewer_hops,
        )
        .with(&setting::BEHIND_HOPS),
        Case::must(
            "host_is_believed_where_asked_for",
            "X-Forwarded-Host and -Prefix are believed of who writes them, if the operator says so",
            &["HDR-28"],
            asked_for,
        )
        .with(&setting::BEHIND_HOPS),
        Case::must(
            "host_is_a_clients_elsewhere",
            "X-Forwarded-Host and -Prefix say nothing where nobody asked for them",
            &["HDR-28"],
            not_asked_for,
        )
        .with(&setting::BEHIND_PROXY),
        Case::owned(
            Level::Must,
            "unix_peers_are_strangers",
            "a Unix-domain peer is not trusted because an address is",
            &["HDR-23", "HDR-17a"],
            unix_strangers,
        )
        .needs("http1")
        .needs("unix-socket")
        .in_plain(UNIX),
        Case::owned(
            Level::Should,
            "unix_peers_can_be_trusted",
            "a Unix-domain peer is believed where that is said",
            &["HDR-17b"],
            unix_trusted,
        )
        .needs("http1")
        .needs("unix-socket")
        .in_plain(UNIX),
    ],
};

fn trusted_rfc_7239(cx: &mut Context) -> Result<(), Failure> {
    let own = cx.scheme();
    for (value, peer, scheme) in [
        (r#"for=6.6.6.6, for="[2001:db8::1]:4711";proto=https, for=10.0.0.1"#, "[2001:db8::1]:4711", "https"),
        (r#"For="1.2.3.4:99";Host="a,b;for=6.6.6.6\"";Proto=https"#, "1.2.3.4:99", "https"),
        (r#"for=", for=1.2.3.4"#, "1.2.3.4:0", own),
        ("for=_hidden;proto=https", "none", "https"),
    ] {
        behind(cx, &[("forwarded", value)], peer, scheme)?;
    }
    Ok(())
}

fn other_family(cx: &mut Context) -> Result<(), Failure> {
    let own = cx.scheme();
    let proxys = ("x-forwarded-for", "203.0.113.9");
    for clients in ["for=10.0.0.5;proto=https", "for=127.0.0.1;proto=https", "for=_hidden;proto=https"] {
        behind(cx, &[proxys, ("forwarded", clients)], "203.0.113.9:0", own)?;
        behind(cx, &[("forwarded", clients), proxys], "203.0.113.9:0", own)?;
    }
    Ok(())
}

fn other_family_of_rfc_7239(cx: &mut Context) -> Result<(), Failure> {
    let own = cx.scheme();
    let proxys = ("forwarded", "for=203.0.113.9");
    let clients = [("x-forwarded-for", "10.0.0.5"), ("x-forwarded-proto", "https")];
    behind(cx, &[proxys, clients[0], clients[1]], "203.0.113.9:0", own)
}

fn named(cx: &mut Context) -> Result<(), Failure> {
    let own = cx.scheme();
    let clients = [("x-forwarded-for", "10.0.0.5"), ("x-forwarded-proto", "https"), ("forwarded", "for=6.6.6.6")];
    for (lines, peer) in [
        (&["203.0.113.9"][..], "203.0.113.9:0"),
        (&["6.6.6.6", "203.0.113.9"], "203.0.113.9:0"),
        (&["203.0.113.9, 127.0.0.1"], "none"),
        (&["nonsense"], "none"),
    ] {
        let mut fields: Vec<_> = clients.to_vec();
        fields.extend(lines.iter().map(|line| ("x-real-ip", *line)));
        behind(cx, &fields, peer, own)?;
    }
    cx.again();
    cx.answered(&cx.get("").field(clients[0].0, clients[0].1), 200)?;
    let peer = cx.seen()?.call()?.env("peer").to_owned();
    ensure!(!peer.starts_with("10.0.0.5"), "a field that was not named was believed: {peer}");
    Ok(())
}

fn hops(cx: &mut Context) -> Result<(), Failure> {
    let own = cx.scheme();
    for (value, peer) in [
        ("6.6.6.6, 203.0.113.9, 8.8.8.8", "203.0.113.9:0"),
        ("6.6.6.6, 203.0.113.9, unknown", "203.0.113.9:0"),
        ("203.0.113.9, 8.8.8.8", "203.0.113.9:0"),
        ("6.6.6.6, nonsense, 8.8.8.8", "none"),
    ] {
        behind(cx, &[("x-forwarded-for", value)], peer, own)?;
    }
    let lines = [("x-forwarded-for", "6.6.6.6, 203.0.113.9"), ("x-forwarded-for", "8.8.8.8")];
    behind(cx, &[lines[0], lines[1], ("x-forwarded-proto", "http, https, http")], "203.0.113.9:0", "https")
}

fn fewer_hops(cx: &mut Context) -> Result<(), Failure> {
    let own = cx.scheme();
    for value in ["203.0.113.9", "127.0.0.1", "unknown", ""] {
        behind(cx, &[("x-forwarded-for", value)], "none", own)?;
        behind(cx, &[("x-forwarded-for", value), ("x-forwarded-proto", "https")], "none", own)?;
    }
    let call = cx.seen()?.call()?;
    ensure_eq!(call.env("forwarded-host"), "none", "the host");
    Ok(())
}

fn asked_for(cx: &mut Context) -> Result<(), Failure> {
    reports(cx, "a.example:81", "/shop/", ["a.example:81", "/shop"])?;
    reports(cx, "a/b", "//evil.example", ["none", "none"])
}

fn not_asked_for(cx: &mut Context) -> Result<(), Failure> {
    reports(cx, "a.example", "/shop", ["none", "none"])
}

/// Behind a proxy that says `host` and `prefix`, the application learns `told`.
fn reports(cx: &mut Context, host: &str, prefix: &str, told: [&str; 2]) -> Result<(), Failure> {
    cx.again();
    let request = cx.get("").field("x-forwarded-for", "203.0.113.9, 10.0.0.1");
    cx.answered(&request.field("x-forwarded-host", host).field("x-forwarded-prefix", prefix), 200)?;
    let call = cx.seen()?.call()?;
    ensure_eq!(call.env("forwarded-host"), told[0], "the host behind {host:?}");
    ensure_eq!(call.env("forwarded-prefix"), told[1], "the prefix behind {prefix:?}");
    Ok(())
}

fn unreadable(cx: &mut Context) -> Result<(), Failure> {
    let own = cx.scheme();
    let name = "x-forwarded-for";
    for value in [&b"\xe9"[..], b"1.2.3.4, \xe9", b"1.2.3.4, \xe9, 10.0.0.1", b"1.2.3.4, unknown", b"unix:", b"", b"_x"]
    {
        behind(cx, &[(name, value)], "none", own)?;
    }
    behind(cx, &[(name, &b"\xe9, 203.0.113.9"[..])], "203.0.113.9:0", own)?;
    behind(cx, &[(name, &b"\xe9"[..]), (name, b"203.0.113.9")], "203.0.113.9:0", own)?;
    behind(cx, &[(name, &b"203.0.113.9"[..]), ("x-forwarded-proto", &b"https\xe9"[..])], "203.0.113.9:0", own)
}

fn unreadable_rfc_7239(cx: &mut Context) -> Result<(), Failure> {
    let own = cx.scheme();
    let name = "forwarded";
    for value in [
        &b"for=\xe9"[..],
        b"for=1.2.3.4, for=\"\xe9\"",
        b"for=1.2.3.4, for=unknown, for=10.0.0.1",
        b"for=1.2.3.4;for=5.6.7.8",
        b"for=\"1.2.3.4",
        b"1.2.3.4",
        b"",
    ] {
        behind(cx, &[(name, value)], "none", own)?;
    }
    behind(cx, &[(name, &b"for=\xe9, for=203.0.113.9"[..])], "203.0.113.9:0", own)
}

fn unix_strangers(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    over_unix(life, vec![[127, 0, 0, 1].into()], "none", "http")
}

fn unix_trusted(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    over_unix(life, vec![TrustedProxy::Unix], "203.0.113.9:0", "https")
}

/// A forwarded request over a Unix-domain socket comes from `peer` by `scheme` where `trusted` are trusted.
fn over_unix(life: &mut Lifecycle<'_>, trusted: Vec<TrustedProxy>, peer: &str, scheme: &str) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("socket");
    let mut config = lifecycle::config();
    config.binds.push(adapter_core::Bind::Unix(path.clone()));
    config.trusted_proxies = trusted;
    let running = life.start(config)?;
    let request = running.context.get("").field("x-forwarded-for", "203.0.113.9").field("x-forwarded-proto", "https");
    ask_unix(&path, &request.close().bytes())?;
    let seen = running.seen();
    let call = seen.call()?;
    ensure_eq!(call.env("peer"), peer, "the peer address");
    ensure_eq!(call.env("scheme"), scheme, "the scheme");
    running.stop()
}

/// A request with `fields` comes from `peer` by `scheme`.
pub(super) fn behind(
    cx: &mut Context,
    fields: &[(&str, impl AsRef<[u8]>)],
    peer: &str,
    scheme: &str,
) -> Result<(), Failure> {
    cx.again();
    let mut request = cx.get("");
    for (name, value) in fields {
        request = request.field(name, value);
    }
    cx.answered(&request, 200)?;
    let call = cx.seen()?.call()?;
    let said: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}: {}", value.as_ref().escape_ascii())).collect();
    ensure_eq!(call.env("peer"), peer, "the peer behind {said:?}");
    ensure_eq!(call.env("scheme"), scheme, "the scheme behind {said:?}");
    Ok(())
}
