//! Which certificates are shown, to clients and by them, and which versions are spoken. TLS-10 to TLS-13

use std::sync::atomic::{AtomicBool, Ordering};

use adapter_core::tls::Tls;
use rustls::version::{TLS12, TLS13};

use crate::case::{Failure, Group, ensure, ensure_eq};
use crate::certificates::{self, Authority, NAME};
use crate::lifecycle::{self, Lifecycle, Running};
use crate::secure::{self, Terms};
use crate::wire::Client;

use super::tls::{case, client, serves};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "tls_certificates",
    title: "Certificates and versions",
    cases: &[
        case("certificate_is_the_named_one", "exact, by wildcard, else the first", &["TLS-10"], by_name),
        case("clients_are_not_asked", "where nobody said so", &["TLS-11"], off),
        case("client_certificates_are_optional", "none, right, wrong, expired", &["TLS-11", "ENV-12"], optional),
        case("client_certificates_are_required", "none, right, wrong, expired", &["TLS-11"], required),
        case("oldest_version_is_kept", "1.3 alone refuses 1.2, else both are spoken", &["TLS-12"], oldest),
        case("reload_is_for_new_connections", "old ones go on, and a bad pair changes nothing", &["TLS-13"], reload),
        case("reload_fails_no_request", "on new and old connections", &["TLS-13"], reload_under_load),
    ],
};

fn start(life: &mut Lifecycle<'_>, terms: &Terms) -> Result<(Running, Tls), Failure> {
    let tls = secure::make(terms)?;
    Ok((life.start(lifecycle::config().tls(tls.clone()))?, tls))
}

/// One certificate, in files of `file`'s name.
fn usual(file: &str) -> Result<Terms, Failure> {
    let authority = certificates::authority()?;
    Ok(Terms {
        identities: vec![authority.write(&authority.unique(file), &authority.sign(&[NAME])?)?],
        ..Terms::default()
    })
}

fn by_name(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let authority = Authority::new("Names")?;
    let first = authority.sign(&["first.example"])?;
    let exact = authority.sign(&["a.parent.example"])?;
    let wildcard = authority.sign(&["*.parent.example"])?;
    let other = authority.sign(&["other.example"])?;
    let mut terms = Terms::default();
    for (file, pair) in [("first", &first), ("wildcard", &wildcard), ("exact", &exact), ("other", &other)] {
        terms.identities.push(authority.write(file, pair)?);
    }
    let (running, _) = start(life, &terms)?;
    for (name, expected) in [
        (Some("first.example"), &first),
        (Some("other.example"), &other),
        (Some("OTHER.example"), &other),
        (Some("a.parent.example"), &exact),
        (Some("b.parent.example"), &wildcard),
        (Some("a.b.parent.example"), &first),
        (Some("parent.example"), &first),
        (Some("unknown.example"), &first),
        (None, &first),
    ] {
        let client = Client::of_strangers()?;
        let client = name.map_or(client.clone(), |name| client.name(name));
        let mut connection = running.context.connect_as(&client)?;
        let shown = connection.agreed()?.certificate;
        ensure!(shown == expected.der().as_ref(), "another certificate was shown to a client that asks for {name:?}");
        serves(&running.context, &mut connection)?;
    }
    running.stop()
}

/// With and without certificates: what becomes of the client with none, whether one that holds is told of, and the wrong one.
fn clients(life: &mut Lifecycle<'_>, required: bool) -> Result<(), Failure> {
    let (known, unknown) = (Authority::new("Staff")?, Authority::new("Strangers")?);
    let (right, expired) = (known.sign(&["me.example"])?, known.sign_expired(&["me.example"])?);
    let wrong = unknown.sign(&["me.example"])?;
    let file = if required { "required" } else { "optional" };
    let terms = Terms { client_ca: Some(known.ca_file()?), client_required: required, ..usual(file)? };
    let (mut running, _) = start(life, &terms)?;
    for version in [&TLS13, &TLS12] {
        running.context.again();
        let mut connection = running.context.connect_as(&Client::with(&[version], Some(&right))?)?;
        serves(&running.context, &mut connection)?;
        let told: String = right.der().iter().map(|octet| format!("{octet:02x}")).collect();
        ensure_eq!(
            running.seen().call()?.env("tls-certificates"),
            told,
            "the certificates that the application is told of"
        );
        running.context.again();
        let mut connection = running.context.connect_as(&Client::with(&[version], None)?)?;
        if required {
            let _ = connection.send(running.context.get("").bytes());
            connection.alert().map_err(|failure| Failure(format!("without a certificate: {failure}")))?;
            ensure!(running.seen().calls().is_empty(), "the application was called for a client without a certificate");
        } else {
            serves(&running.context, &mut connection)?;
            ensure_eq!(
                running.seen().call()?.env("tls-certificates"),
                "",
                "the certificates of a client that has none"
            );
        }
        for (shown, what) in [(&wrong, "of a stranger"), (&expired, "that has expired")] {
            running.context.again();
            let mut connection = running.context.connect_as(&Client::with(&[version], Some(shown))?)?;
            let _ = connection.send(running.context.get("").bytes());
            connection.alert().map_err(|failure| Failure(format!("with a certificate {what}: {failure}")))?;
            ensure!(running.seen().calls().is_empty(), "the application was called for a certificate {what}");
        }
    }
    running.stop()
}

fn off(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let shown = Authority::new("Nobody")?.sign(&["me.example"])?;
    let (running, _) = start(life, &usual("off")?)?;
    let mut connection = running.context.connect_as(&Client::with(&[&TLS13], Some(&shown))?)?;
    serves(&running.context, &mut connection)?;
    ensure_eq!(running.seen().call()?.env("tls-certificates"), "", "certificates nobody asked for");
    running.stop()
}

fn optional(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    clients(life, false)
}

fn required(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    clients(life, true)
}

fn oldest(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    for only_tls13 in [false, true] {
        let (running, _) = start(life, &Terms { only_tls13, ..usual("oldest")? })?;
        let mut connection = running.context.connect_as(&Client::with(&[&TLS13], None)?)?;
        ensure_eq!(connection.agreed()?.protocol, "TLSv1.3", "the version");
        serves(&running.context, &mut connection)?;
        let mut connection = running.context.connect_as(&Client::with(&[&TLS12], None)?)?;
        if only_tls13 {
            ensure_eq!(connection.alert()?, "ProtocolVersion", "the alert for TLS 1.2");
        } else {
            ensure_eq!(connection.agreed()?.protocol, "TLSv1.2", "the version");
            serves(&running.context, &mut connection)?;
        }
        running.stop()?;
    }
    Ok(())
}

fn reload(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let authority = certificates::authority()?;
    let (older, newer) = (authority.sign(&[NAME])?, authority.sign(&[NAME])?);
    let file = authority.unique("reload");
    let (cert, key) = authority.write(&file, &older)?;
    let (running, tls) = start(life, &Terms { identities: vec![(cert, key.clone())], ..Terms::default() })?;
    let shown = || running.context.connect_as(&client()?)?.agreed().map(|agreed| agreed.certificate);
    let mut old = running.context.connect()?;
    serves(&running.context, &mut old)?;
    ensure!(shown()? == older.der().as_ref(), "another certificate than the configured one");
    authority.write(&file, &newer)?;
    tls.reload().map_err(|error| format!("the reload failed: {error}"))?;
    ensure!(shown()? == newer.der().as_ref(), "not the new certificate on a new connection");
    serves(&running.context, &mut old)?;
    // A key that does not fit.
    let (_, other) = authority.write(&authority.unique("other"), &authority.sign(&[NAME])?)?;
    std::fs::copy(other, &key).map_err(|error| format!("cannot write {}: {error}", key.display()))?;
    ensure!(tls.reload().is_err(), "a key that does not fit its certificate was loaded");
    ensure!(shown()? == newer.der().as_ref(), "another certificate after a reload that failed");
    serves(&running.context, &mut running.context.connect()?)?;
    serves(&running.context, &mut old)?;
    running.stop()
}

fn reload_under_load(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    const RELOADS: usize = 20;
    let authority = certificates::authority()?;
    let file = authority.unique("load");
    let identity = authority.write(&file, &authority.sign(&[NAME])?)?;
    let (running, tls) = start(life, &Terms { identities: vec![identity], ..Terms::default() })?;
    let (over, cx) = (AtomicBool::new(false), &running.context);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| -> Result<(), Failure> {
                    let mut kept = cx.connect()?;
                    while !over.load(Ordering::Relaxed) {
                        serves(cx, &mut kept)?;
                        serves(cx, &mut cx.connect()?)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let reloads = || -> Result<(), Failure> {
            for _ in 0..RELOADS {
                let newer = authority.sign(&[NAME])?;
                authority.write(&file, &newer)?;
                tls.reload().map_err(|error| format!("the reload failed: {error}"))?;
                // Some requests between two of them.
                let mut connection = cx.connect()?;
                ensure!(connection.agreed()?.certificate == newer.der().as_ref(), "not the new certificate");
                serves(cx, &mut connection)?;
            }
            Ok(())
        };
        let reloaded = reloads();
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "a client panicked")??;
        }
        reloaded
    })?;
    running.stop()
}
