//! From the accept to the first request, and what the application is told of it. TLS-01 to TLS-06, TLS-14

use std::time::Instant;

use rustls::version::{TLS12, TLS13};

use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::Context;
use crate::lifecycle::{self, Lifecycle, Running};
use crate::observations::Observations;
use crate::secure;
use crate::setting::SHORT;
use crate::wire::http2::Http2;
use crate::wire::{Client, Connection, patience};

/// A case about TLS that starts its servers itself.
pub(super) const fn case(
    id: &'static str,
    title: &'static str,
    requirements: &'static [&'static str],
    script: fn(&mut Lifecycle<'_>) -> Result<(), Failure>,
) -> Case {
    Case::owned(Level::Must, id, title, requirements, script).needs("tls").with_tls()
}

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "tls",
    title: "TLS",
    cases: &[
        case("alpn_chooses_the_protocol", "h2 where it is spoken, else HTTP/1.1", &["TLS-01"], alpn),
        case("nothing_is_guessed", "the preface of HTTP/2 is none where ALPN did not say so", &["TLS-01"], not_guessed),
        case("nothing_in_common_is_refused", "by the alert no_application_protocol", &["TLS-02"], nothing_in_common),
        case("handshake_has_a_deadline", "silent, half a hello, octet by octet", &["TLS-03"], deadline),
        case("deadline_ends_with_the_handshake", "who is through stays as long as before", &["TLS-03"], deadline_ends),
        case("slow_handshakes_hold_up_nobody", "a hundred of them", &["TLS-04"], slow),
        case("handshake_in_octets", "each one in a segment of its own", &["TLS-04"], in_octets),
        case("plain_http_is_told", "a plain 400, the application not called", &["TLS-05"], plain),
        case(
            "facts_of_the_handshake",
            "version, suite, names and protocol, as the client has them",
            &["TLS-06", "ENV-01"],
            facts,
        ),
        case("sessions_are_resumed", "in both versions, and the application is told", &["TLS-14", "TLS-06"], resumed),
        case("no_early_data", "a resumed session takes none", &["TLS-14"], early_data),
        case(
            "handshakes_are_told",
            "to observers: those that succeed and those that fail",
            &["OBS-03", "OBS-10"],
            told,
        ),
    ],
};

/// A server with TLS, with other changes.
pub(super) fn started(
    life: &mut Lifecycle<'_>,
    change: impl FnOnce(&mut adapter_core::ServerConfig),
) -> Result<Running, Failure> {
    let mut config = lifecycle::config().tls(secure::config()?);
    change(&mut config);
    life.start(config)
}

/// A client of a server like that.
pub(super) fn client() -> Result<Client, Failure> {
    Client::with(&[&TLS13, &TLS12], None)
}

/// A request is answered on the connection.
pub(super) fn serves(cx: &Context, connection: &mut Connection) -> Result<(), Failure> {
    connection.send(cx.get("body served").bytes())?;
    let response = connection.response("GET")?;
    ensure_eq!((response.status(), &response.text()[..]), (200, "served"), "the response");
    Ok(())
}

fn alpn(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let http2 = life.server().info().capabilities.http2;
    let running = started(life, |_| {})?;
    let best = if http2 { "h2" } else { "http/1.1" };
    for (offered, expected) in [
        (&["h2", "http/1.1"][..], Some(best)),
        (&["http/1.1", "h2"], Some(best)),
        (&["spdy/3", "http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let mut connection = running.context.connect_as(&client()?.alpn(offered))?;
        ensure_eq!(connection.agreed()?.alpn.as_deref(), expected, "the protocol chosen of {offered:?}");
        if expected == Some("h2") {
            let mut http2 = Http2::over(connection, &running.context)?;
            let stream = http2.get("/", "body served")?;
            ensure_eq!(http2.response(stream)?.body, b"served", "the response over HTTP/2");
        } else {
            serves(&running.context, &mut connection)?;
        }
    }
    running.stop()
}

fn not_guessed(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |_| {})?;
    for offered in [&[][..], &["http/1.1"]] {
        let mut connection = running.context.connect_as(&client()?.alpn(offered))?;
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        let answer = connection.rest()?;
        // [TGT-21]
        ensure!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 505"),
            "the preface after {offered:?} was answered {}",
            crate::text::show(&answer, 100)
        );
    }
    ensure!(running.seen().calls().is_empty(), "the application was called");
    running.stop()
}

fn nothing_in_common(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let http2 = life.server().info().capabilities.http2;
    let running = started(life, |_| {})?;
    for offered in [&["spdy/3"][..], &["http/1.0", "h3"], if http2 { &["http/0.9"] } else { &["h2"] }] {
        let mut connection = running.context.connect_as(&client()?.alpn(offered))?;
        // What a client says before it knows must reach nobody.
        let _ = connection.send(running.context.get("").bytes());
        ensure_eq!(connection.alert()?, "NoApplicationProtocol", "the alert after {offered:?}");
    }
    ensure!(running.seen().calls().is_empty(), "the application was called");
    running.stop()
}

fn told(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let observations = Observations::default();
    let observer = observations.observer();
    let running = started(life, |config| {
        config.timeouts.tls_handshake = Some(SHORT);
        *config = config.clone().observe(observer);
    })?;
    let cx = &running.context;
    let mut good = cx.connect()?;
    serves(cx, &mut good)?;
    let done = observations.wait("handshake-done", 1)?;
    ensure!(done[0].starts_with("TLSv1"), "the version that was told: {}", done[0]);
    // A health check: it has not begun one.
    drop(cx.connect_in_plain()?);
    observations.wait("closed", 1)?;
    let hello = client()?.hello()?;
    let mut plain = cx.connect_in_plain()?;
    plain.send("GET / HTTP/1.1\r\n\r\n")?;
    plain.rest()?;
    observations.wait("handshake-failed", 1)?;
    let mut half = cx.connect_in_plain()?;
    half.send(&hello[..hello.len() / 2])?;
    half.reset();
    observations.wait("handshake-failed", 2)?;
    let mut late = cx.connect_in_plain()?;
    late.send(&hello[..hello.len() / 2])?;
    late.rest()?;
    observations.wait("handshake-failed", 3)?;
    ensure_eq!(observations.of("timeout"), ["tls_handshake"], "time limits that have passed");
    ensure_eq!(observations.count("handshake-done"), 1, "handshakes that have succeeded");
    drop((good, late, plain));
    running.stop()
}

fn deadline(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |config| config.timeouts.tls_handshake = Some(SHORT))?;
    let hello = client()?.hello()?;
    let mut silent = running.context.connect_in_plain()?;
    let mut half = running.context.connect_in_plain()?;
    half.send(&hello[..hello.len() / 2])?;
    let mut drip = running.context.connect_in_plain()?;
    let until = Instant::now() + patience();
    // Less than a hello by far, in more than the time there is.
    for octet in hello.iter().take(hello.len() / 2).cycle() {
        if drip.send([*octet]).is_err() {
            break;
        }
        ensure!(Instant::now() < until, "a client that sends octet by octet is not ended");
        running.context.pause(20)?;
    }
    for (connection, what) in [(&mut silent, "silent"), (&mut half, "half a hello")] {
        connection.rest().map_err(|failure| Failure(format!("{what}: {failure}")))?;
    }
    serves(&running.context, &mut running.context.connect()?)?;
    running.stop()
}

fn deadline_ends(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |config| config.timeouts.tls_handshake = Some(SHORT))?;
    let mut connection = running.context.connect()?;
    connection.agreed()?;
    connection.stays_silent(SHORT * 2, "after the handshake")?;
    serves(&running.context, &mut connection)?;
    connection.stays_silent(SHORT * 2, "after a request")?;
    serves(&running.context, &mut connection)?;
    running.stop()
}

fn slow(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |config| config.timeouts.tls_handshake = None)?;
    let hello = client()?.hello()?;
    let mut held = Vec::new();
    for index in 0..100 {
        let mut connection = running.context.connect_in_plain()?;
        connection.send(&hello[..hello.len() * (index % 3) / 3])?;
        held.push(connection);
    }
    for _ in 0..3 {
        serves(&running.context, &mut running.context.connect()?)?;
    }
    for connection in &mut held {
        connection.nothing_arrived("in a handshake that does not go on")?;
    }
    running.stop()
}

fn in_octets(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |_| {})?;
    for version in [&TLS12, &TLS13] {
        let client = Client::with(&[version], None)?.in_octets();
        let mut connection = running.context.connect_as(&client)?;
        connection.agreed()?;
        serves(&running.context, &mut connection)?;
    }
    running.stop()
}

fn plain(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |_| {})?;
    let cx = &running.context;
    for request in [cx.get(""), cx.post("", "x".repeat(30_000)), cx.request("DELETE", "/a").close()] {
        let mut connection = cx.connect_in_plain()?;
        connection.send(request.bytes())?;
        let response = connection.response("GET")?;
        ensure_eq!(response.status(), 400, "the status for plain HTTP");
        ensure!(!response.is_from_application(), "the application was asked");
        connection.closed()?;
    }
    ensure!(running.seen().calls().is_empty(), "the application was called");
    serves(&running.context, &mut cx.connect()?)?;
    running.stop()
}

fn facts(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let http2 = life.server().info().capabilities.http2;
    let running = started(life, |_| {})?;
    let mut expected = Vec::new();
    for (version, alpn, name) in [
        (&TLS13, &["http/1.1"][..], Some("conformance.test")),
        (&TLS12, &["http/1.1"], Some("conformance.test")),
        (&TLS13, &[], None),
        (&TLS12, &[], None),
        (&TLS13, if http2 { &["h2"] } else { &["http/1.1"] }, Some("conformance.test")),
    ] {
        let mut client = Client::with(&[version], None)?.alpn(alpn);
        if name.is_none() {
            client = client.nameless();
        }
        let mut connection = running.context.connect_as(&client)?;
        let agreed = connection.agreed()?;
        if alpn == ["h2"] {
            let mut http2 = Http2::over(connection, &running.context)?;
            let stream = http2.get("/", "body served")?;
            http2.response(stream)?;
        } else {
            serves(&running.context, &mut connection)?;
        }
        expected.push((agreed, alpn.first().copied().unwrap_or("none"), name.unwrap_or("none")));
    }
    let calls = running.seen().calls();
    ensure_eq!(calls.len(), expected.len(), "calls");
    for (call, (agreed, alpn, name)) in calls.iter().zip(expected) {
        for (fact, value) in [
            ("scheme", "https"),
            ("tls-protocol", &agreed.protocol),
            ("tls-cipher-suite", &agreed.cipher_suite),
            ("tls-name", name),
            ("tls-alpn", alpn),
            ("tls-resumed", "false"),
            ("tls-certificates", ""),
        ] {
            ensure_eq!(call.env(fact), value, "{fact} under {} and {alpn}", agreed.protocol);
        }
    }
    running.stop()
}

fn resumed(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    for version in [&TLS13, &TLS12] {
        let client = Client::with(&[version], None)?.remembering();
        for expected in [false, true, true] {
            running.context.again();
            let mut connection = running.context.connect_as(&client)?;
            ensure_eq!(connection.agreed()?.resumed, expected, "whether the session is resumed");
            // Tickets come in front of the response.
            serves(&running.context, &mut connection)?;
            ensure_eq!(running.seen().call()?.env("tls-resumed"), expected.to_string(), "what the application is told");
        }
    }
    running.stop()
}

fn early_data(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |_| {})?;
    let client = Client::with(&[&TLS13], None)?.remembering();
    for _ in 0..2 {
        let mut connection = running.context.connect_as(&client)?;
        connection.agreed()?;
        ensure!(!connection.took_early_data(), "the server takes early data");
        serves(&running.context, &mut connection)?;
    }
    running.stop()
}
