use std::net::IpAddr;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::config::{ServerConfig, TrustedProxy};

const PROXY: &str = "127.0.0.1:9";
const SOCKET: &str = "unix";

fn trust(fields: ForwardedFields, proxies: &[TrustedProxy]) -> Trust {
    Trust::new(&ServerConfig { forwarded: fields, trusted_proxies: proxies.to_vec(), ..ServerConfig::default() })
}

/// What `lines` say where `config` is asked by a peer of `peer`: peer, scheme, host, prefix.
fn told(config: ServerConfig, peer: &str, lines: &[(&'static str, &str)]) -> Option<[String; 4]> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let local = ListenAddr::Tcp(([127, 0, 0, 1], 80).into());
    let found = evaluate(&headers, peer.parse().ok(), &local, &Trust::new(&config))?;
    let shown = |text: Option<String>| text.unwrap_or_else(|| "?".into());
    let peer = found.peer.map(|peer| peer.ip().to_string());
    let scheme = found.scheme.map(|scheme| scheme.to_string());
    Some([shown(peer), shown(scheme), shown(found.host.map(Into::into)), shown(found.prefix.map(Into::into))])
}

fn trusting(proxies: &[&str]) -> ServerConfig {
    let trusted_proxies = proxies.iter().map(|text| text.parse().unwrap()).collect();
    ServerConfig { trusted_proxies, ..ServerConfig::default() }
}

/// What `lines` say to a server that trusts 127.0.0.1 and 10.0.0.1, and Unix-domain peers if `peer` is one.
fn said(fields: ForwardedFields, lines: &[(&'static str, &[u8])], peer: &str) -> Option<(String, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    let mut proxies = vec![[127, 0, 0, 1].into(), [10, 0, 0, 1].into()];
    let local = if peer == SOCKET {
        proxies.push(TrustedProxy::Unix);
        ListenAddr::Unix("/run/s".into())
    } else {
        ListenAddr::Tcp(([127, 0, 0, 1], 80).into())
    };
    let found = evaluate(&headers, peer.parse().ok(), &local, &trust(fields, &proxies))?;
    let peer = found.peer.map_or("?".into(), |peer| peer.to_string().trim_end_matches(":0").to_owned());
    Some((peer, found.scheme.map_or("?".into(), |scheme| scheme.to_string())))
}

fn x_for(value: &[u8]) -> String {
    said(ForwardedFields::XForwarded, &[("x-forwarded-for", value)], PROXY).unwrap().0
}

fn rfc_7239(value: &[u8]) -> (String, String) {
    said(ForwardedFields::Forwarded, &[("forwarded", value)], PROXY).unwrap()
}

#[test]
fn strangers_are_not_believed() {
    let lines: &[(_, &[u8])] = &[("x-forwarded-for", b"1.1.1.1"), ("forwarded", b"for=1.1.1.1")];
    for fields in [ForwardedFields::XForwarded, ForwardedFields::Forwarded] {
        assert_eq!(said(fields.clone(), lines, "9.9.9.9:1"), None);
        assert_eq!(said(fields.clone(), lines, "[::1]:1"), None);
        assert_eq!(said(fields.clone(), lines, "no address on TCP"), None);
        assert_eq!(said(fields.clone(), lines, "[::ffff:127.0.0.1]:1"), Some(("1.1.1.1".into(), "?".into())));
        assert_eq!(said(fields.clone(), lines, SOCKET), Some(("1.1.1.1".into(), "?".into())));
    }
    assert_eq!(said(ForwardedFields::Off, lines, PROXY), None);
}

#[test]
fn a_unix_peer_is_trusted_only_where_that_is_said() {
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_static("1.1.1.1"));
    let local = ListenAddr::Unix("/run/s".into());
    let any: &[TrustedProxy] = &[[127, 0, 0, 1].into()];
    assert_eq!(evaluate(&headers, None, &local, &trust(ForwardedFields::XForwarded, any)), None);
}

#[test]
fn mapped_addresses_are_their_ipv4_form_in_the_list_too() {
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_static("::ffff:1.1.1.1, ::ffff:127.0.0.1"));
    let listed = [TrustedProxy::Ip("::ffff:127.0.0.1".parse().unwrap())];
    let local = ListenAddr::Tcp(([127, 0, 0, 1], 80).into());
    let found = evaluate(&headers, PROXY.parse().ok(), &local, &trust(ForwardedFields::XForwarded, &listed));
    assert_eq!(found.unwrap().peer, Some(([1, 1, 1, 1], 0).into()));
}

#[test]
fn networks_and_everybody_are_trusted_where_that_is_said() {
    let peer = |proxies: &[&str], peer: &str, value: &str| {
        told(trusting(proxies), peer, &[("x-forwarded-for", value)]).map(|[peer, ..]| peer)
    };
    let net = &["10.0.0.0/8", "fd00::/8"];
    assert_eq!(peer(net, "10.9.9.9:1", "6.6.6.6, 1.1.1.1, fd00::7, 10.1.1.1").as_deref(), Some("1.1.1.1"));
    assert_eq!(peer(net, "[fd00::1]:1", "::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"), "all are trusted");
    assert_eq!(peer(net, "11.0.0.1:1", "1.1.1.1"), None);
    // Whoever connects is a proxy; what it says of others makes none of them one.
    assert_eq!(peer(&["*"], "9.9.9.9:1", "6.6.6.6, 1.1.1.1").as_deref(), Some("1.1.1.1"));
    assert_eq!(peer(&["*", "10.0.0.0/8"], "9.9.9.9:1", "6.6.6.6, 1.1.1.1, 10.0.0.1").as_deref(), Some("1.1.1.1"));
    let local = ListenAddr::Unix("/run/s".into());
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_static("1.1.1.1"));
    assert_eq!(evaluate(&headers, None, &local, &Trust::new(&trusting(&["*"]))), None, "nobody of TCP");
}

#[test]
fn hops_are_counted_from_the_right() {
    let behind = |hops, value: &str, protos: &str| {
        let config = ServerConfig { trusted_hops: Some(hops), ..ServerConfig::default() };
        let lines = [("x-forwarded-for", value), ("x-forwarded-proto", protos)];
        let [peer, scheme, ..] = told(config, "9.9.9.9:1", &lines).unwrap();
        (peer, scheme)
    };
    for (hops, value, protos, expected) in [
        (1, "6.6.6.6, 1.1.1.1", "http", ("1.1.1.1", "http")),
        (2, "6.6.6.6, 1.1.1.1, 8.8.8.8", "http, https, http", ("1.1.1.1", "https")),
        (2, "1.1.1.1, unknown", "https", ("1.1.1.1", "https")),
        (2, "unknown, 8.8.8.8", "https", ("?", "https")),
        // A hop was passed by, or is none: who says the rest is not known.
        (3, "1.1.1.1", "https", ("?", "?")),
        (2, "8.8.8.8", "https, https", ("?", "?")),
        (1, "", "https", ("?", "?")),
        (1, "6.6.6.6, nonsense", "https", ("?", "https")),
    ] {
        assert_eq!(behind(hops, value, protos), (expected.0.into(), expected.1.into()), "{hops} of {value}");
    }
}

#[test]
fn fewer_than_the_hops_are_believed_in_nothing() {
    let also = vec![ForwardedAlso::Proto, ForwardedAlso::Host, ForwardedAlso::Port, ForwardedAlso::Prefix];
    let hops = |fields: &str| ServerConfig {
        trusted_hops: Some(2),
        forwarded: fields.parse().unwrap(),
        forwarded_also: also.clone(),
        ..ServerConfig::default()
    };
    let lines = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.example"),
        ("x-forwarded-prefix", "/x"),
        ("forwarded", "for=1.1.1.1;proto=https;host=a.example"),
        ("x-real-ip", "1.1.1.1"),
    ];
    let nothing = ["?", "?", "?", "?"].map(str::to_owned);
    assert_eq!(told(hops("x-forwarded"), "9.9.9.9:1", &lines).as_ref(), Some(&nothing));
    assert_eq!(told(hops("forwarded"), "9.9.9.9:1", &lines).as_ref(), Some(&nothing));
    // One field has one address, whoever of them writes it.
    assert_eq!(told(hops("x-real-ip"), "9.9.9.9:1", &lines).unwrap()[..2], ["1.1.1.1", "https"]);
    // Who says nothing of a client is one.
    assert_eq!(told(hops("x-forwarded"), "9.9.9.9:1", &lines[4..]), None);
}

#[test]
fn a_field_that_is_named_is_the_only_one() {
    let config = || ServerConfig { forwarded: "x-real-ip".parse().unwrap(), ..trusting(&["127.0.0.1"]) };
    let others = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("x-forwarded-proto", "https")];
    let with = |lines: &[(&'static str, &str)]| {
        told(config(), PROXY, &[lines, &others].concat()).map(|[peer, scheme, ..]| (peer, scheme))
    };
    assert_eq!(with(&[]), None);
    assert_eq!(with(&[("x-real-ip", "1.1.1.1")]), Some(("1.1.1.1".into(), "?".into())));
    assert_eq!(with(&[("x-real-ip", "6.6.6.6"), ("x-real-ip", "1.1.1.1")]), Some(("1.1.1.1".into(), "?".into())));
    assert_eq!(with(&[("x-real-ip", "6.6.6.6, 1.1.1.1")]), Some(("?".into(), "?".into())));
    let config = ServerConfig { forwarded_also: vec![ForwardedAlso::Proto], ..config() };
    let [_, scheme, ..] = told(config, PROXY, &[&[("x-real-ip", "1.1.1.1")], &others[..]].concat()).unwrap();
    assert_eq!(scheme, "https");
}

#[test]
fn what_else_is_written_is_believed_where_it_is_asked_for() {
    let all = vec![ForwardedAlso::Host, ForwardedAlso::Port, ForwardedAlso::Prefix];
    let config = || ServerConfig { forwarded_also: all.clone(), ..trusting(&["127.0.0.1", "10.0.0.1"]) };
    let also = |host: &str, port: &str, prefix: &str| {
        let lines = [
            ("x-forwarded-for", "1.1.1.1, 10.0.0.1"),
            ("x-forwarded-host", host),
            ("x-forwarded-port", port),
            ("x-forwarded-prefix", prefix),
        ];
        assert_eq!(told(trusting(&["127.0.0.1"]), PROXY, &lines).unwrap()[2..], ["?", "?"], "nobody asked");
        let [_, _, host, prefix] = told(config(), PROXY, &lines).unwrap();
        (host, prefix)
    };
    for (host, port, prefix, expected) in [
        ("a.example", "8080", "/shop/", ("a.example:8080", "/shop")),
        ("a.example", "80", "", ("a.example", "?")),
        ("a.example:81", "8080", "//evil.example", ("a.example:81", "?")),
        ("[::1]", "8080", "/a/b", ("[::1]:8080", "/a/b")),
        // The client's hop, where both lists have as many.
        ("a.example, inner", "8080, 81", "/a, /b", ("a.example:8080", "/a")),
        ("x, y, z", "81", "/a", ("z:81", "/a")),
        ("a b", "81", "/a", ("?", "/a")),
    ] {
        assert_eq!(also(host, port, prefix), (expected.0.into(), expected.1.into()), "{host} {port} {prefix}");
    }
    // Who writes Forwarded writes no X-Forwarded-Host.
    let config = ServerConfig { forwarded: ForwardedFields::Forwarded, ..config() };
    let lines = [("forwarded", "for=1.1.1.1;host=\"a.example:81\";proto=https"), ("x-forwarded-host", "evil.example")];
    assert_eq!(told(config.clone(), PROXY, &lines).unwrap()[1..3], ["https", "a.example:81"]);
    assert_eq!(told(config, PROXY, &[("forwarded", "for=1.1.1.1"), lines[1]]).unwrap()[2], "?");
}

#[test]
fn the_other_family_is_the_clients() {
    let lines: &[(_, &[u8])] = &[("x-forwarded-for", b"1.1.1.1"), ("forwarded", b"for=6.6.6.6;proto=https")];
    assert_eq!(said(ForwardedFields::XForwarded, lines, PROXY), Some(("1.1.1.1".into(), "?".into())));
    let lines: &[(_, &[u8])] =
        &[("x-forwarded-for", b"6.6.6.6"), ("x-forwarded-proto", b"https"), ("forwarded", b"for=1.1.1.1")];
    assert_eq!(said(ForwardedFields::Forwarded, lines, PROXY), Some(("1.1.1.1".into(), "?".into())));
    assert_eq!(said(ForwardedFields::XForwarded, &[("forwarded", b"for=6.6.6.6")], PROXY), None);
}

#[test]
fn the_rightmost_stranger_is_the_client() {
    for (value, peer) in [
        ("6.6.6.6, 1.1.1.1, 10.0.0.1", "1.1.1.1"),
        ("1.1.1.1:99", "1.1.1.1:99"),
        ("6.6.6.6,1.1.1.1,\t,,10.0.0.1, ", "1.1.1.1"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("[2001:db8::1]:7", "[2001:db8::1]:7"),
        // The first proxy asks for itself.
        ("10.0.0.1, 127.0.0.1", "10.0.0.1"),
        ("6.6.6.6, unknown", "?"),
        ("6.6.6.6, unix:", "?"),
        ("", "?"),
        (" , ", "?"),
        ("[[::1]]", "?"),
        ("::1]", "?"),
        ("[1.1.1.1]", "?"),
        ("1.1.1.1:65536", "?"),
        ("1.1.1.1 6.6.6.6", "?"),
        ("01.1.1.1", "?"),
    ] {
        assert_eq!(x_for(value.as_bytes()), peer, "{value:?}");
    }
    let hops: &[(_, &[u8])] =
        &[("x-forwarded-for", b"6.6.6.6"), ("x-forwarded-for", b"1.1.1.1"), ("x-forwarded-for", b"10.0.0.1")];
    assert_eq!(said(ForwardedFields::XForwarded, hops, PROXY).unwrap().0, "1.1.1.1");
    let through_unix: &[(_, &[u8])] = &[("x-forwarded-for", b"1.1.1.1, unix:")];
    assert_eq!(said(ForwardedFields::XForwarded, through_unix, SOCKET).unwrap().0, "1.1.1.1");
}

#[test]
fn what_cannot_be_read_ends_the_walk_and_is_no_proxy() {
    assert_eq!(x_for(b"\xe9, 1.1.1.1"), "1.1.1.1");
    assert_eq!(x_for(b"1.1.1.1, \xe9"), "?");
    assert_eq!(x_for(b"1.1.1.1, \xe9, 127.0.0.1"), "?");
    assert_eq!(rfc_7239(b"for=\xe9, for=1.1.1.1").0, "1.1.1.1");
    assert_eq!(rfc_7239(b"for=1.1.1.1, for=\"\xe9\", for=127.0.0.1").0, "?");
}

#[test]
fn schemes_belong_to_their_hop() {
    let scheme = |hops: &'static str, protos: &'static str| {
        let lines: &[(_, &[u8])] = &[("x-forwarded-for", hops.as_bytes()), ("x-forwarded-proto", protos.as_bytes())];
        said(ForwardedFields::XForwarded, lines, PROXY).unwrap().1
    };
    for (hops, protos, expected) in [
        ("1.1.1.1", "HTTPS", "https"),
        ("1.1.1.1", "wss", "https"),
        ("1.1.1.1", "gopher", "?"),
        ("1.1.1.1", "https, http", "http"),
        ("1.1.1.1, 10.0.0.1", "https, http", "https"),
        ("1.1.1.1, 10.0.0.1", "https", "https"),
        ("6.6.6.6, 1.1.1.1, 10.0.0.1", "http, https, http", "https"),
        ("1.1.1.1, 10.0.0.1", ", http", "http"),
        ("1.1.1.1, 10.0.0.1", "bad, http", "http"),
    ] {
        assert_eq!(scheme(hops, protos), expected, "{hops} with {protos}");
    }
    let alone: &[(_, &[u8])] = &[("x-forwarded-proto", b"https")];
    assert_eq!(said(ForwardedFields::XForwarded, alone, PROXY), Some(("?".into(), "https".into())));
    let octets: &[(_, &[u8])] = &[("x-forwarded-for", b"1.1.1.1"), ("x-forwarded-proto", b"https\xe9")];
    assert_eq!(said(ForwardedFields::XForwarded, octets, PROXY), Some(("1.1.1.1".into(), "?".into())));
}

#[test]
fn forwarded_is_read_as_its_grammar_says() {
    for (value, peer, scheme) in [
        (r#"for=6.6.6.6, for="[2001:db8::1]:4711";proto=https"#, "[2001:db8::1]:4711", "https"),
        (r"For=1.1.1.1;Proto=HTTPS;by=_gate;host=a.example", "1.1.1.1", "https"),
        (r#"for="1.1.1.1:_hidden""#, "1.1.1.1", "?"),
        (r#"for="_gazonk";proto=https"#, "?", "https"),
        (r"for=unknown, for=10.0.0.1", "?", "?"),
        (r"proto=https", "?", "https"),
        (r"for=1.1.1.1;;proto=https;", "1.1.1.1", "https"),
        // Commas, semicolons and quotes inside of quotes.
        (r#"for=6.6.6.6, for=1.1.1.1;host="a,for=6.6.6.6""#, "1.1.1.1", "?"),
        (r#"for=1.1.1.1;host="a;for=6.6.6.6""#, "1.1.1.1", "?"),
        (r#"for=1.1.1.1;host="a\",for=6.6.6.6;\\";proto=https"#, "1.1.1.1", "https"),
        (r#"for="1.1\.1.1""#, "1.1.1.1", "?"),
        // A client's open quote does not swallow what the proxy appends.
        (r#"for=", for=1.1.1.1"#, "1.1.1.1", "?"),
        (r#"for="\, for=1.1.1.1;host="x""#, "1.1.1.1", "?"),
        // What is said twice, or got out of its quotes, says nothing.
        (r"for=1.1.1.1;for=6.6.6.6", "?", "?"),
        (r#"for=1.1.1.1;host="x";for="6.6.6.6";proto=https"#, "?", "?"),
        (r"for=1.1.1.1;proto", "?", "?"),
        (r#"for="1.1.1.1"#, "?", "?"),
        (r#"for="1.1.1.1"x;proto=https"#, "?", "?"),
        (r"for=", "?", "?"),
        (r"=1.1.1.1", "?", "?"),
        (r"=x;for=1.1.1.1", "?", "?"),
        (r"1.1.1.1", "?", "?"),
        ("", "?", "?"),
    ] {
        assert_eq!(rfc_7239(value.as_bytes()), (peer.into(), scheme.into()), "{value}");
    }
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    // Mostly what has a meaning somewhere.
    let octet = prop_oneof![prop::sample::select(br#",;="\ []:.for127x0_"#.to_vec()), 0x80_u8..=0xff];
    prop::collection::vec(octet, 0..40)
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        Just(IpAddr::from([127, 0, 0, 1])),
        Just(IpAddr::from([10, 0, 0, 1])),
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(|octets| IpAddr::from(octets).to_canonical()),
    ]
}

fn stranger() -> impl Strategy<Value = IpAddr> {
    address().prop_filter("a proxy", |ip| ![IpAddr::from([127, 0, 0, 1]), [10, 0, 0, 1].into()].contains(ip))
}

fn shown(ip: IpAddr) -> String {
    SocketAddr::new(ip, 0).to_string().trim_end_matches(":0").to_owned()
}

proptest! {
    #[test]
    fn a_client_changes_nothing_of_what_the_proxy_appends(claim in octets(), client in stranger(), one_line: bool) {
        let quoted = format!("for=\"{}\";proto=https;host=\"a,b\\\"\"", shown(client));
        for (fields, name, word) in [
            (ForwardedFields::XForwarded, "x-forwarded-for", shown(client)),
            (ForwardedFields::Forwarded, "forwarded", quoted),
        ] {
            let joined = [&claim[..], b", ", word.as_bytes()].concat();
            let lines: &[(_, &[u8])] = if one_line { &[(name, &joined)] } else { &[(name, &claim), (name, word.as_bytes())] };
            prop_assert_eq!(said(fields, lines, PROXY).unwrap().0, shown(client));
        }
    }

    #[test]
    fn whatever_the_proxy_says_it_is_not_taken_for_the_client(words in octets(), peer in prop::sample::select(vec![PROXY, SOCKET])) {
        for (fields, name) in [(ForwardedFields::XForwarded, "x-forwarded-for"), (ForwardedFields::Forwarded, "forwarded")] {
            let (client, _) = said(fields, &[(name, &words)], peer).expect("a word of the proxy");
            prop_assert!(client != PROXY);
        }
    }

    #[test]
    fn chains_are_walked_from_the_right(chain in prop::collection::vec(address(), 1..6)) {
        let is_proxy = |ip: &&IpAddr| shown(**ip) != "127.0.0.1" && shown(**ip) != "10.0.0.1";
        let expected = shown(*chain.iter().rev().find(is_proxy).unwrap_or(&chain[0]));
        let list = |form: fn(String) -> String| chain.iter().map(|ip| form(shown(*ip))).collect::<Vec<_>>().join(",");
        prop_assert_eq!(x_for(list(|ip| ip).as_bytes()), expected.clone());
        prop_assert_eq!(rfc_7239(list(|ip| format!("for=\"{ip}\"")).as_bytes()).0, expected);
    }
}
