//! Real proxies in front of every server, with the configurations of `examples/deploy`: the client's address whatever it claims,
//! WebSockets, event streams, uploads, answers that break off; over TCP, Unix-domain sockets, and the PROXY protocol.
//!
//! Where a proxy is not installed, its cases are ignored and say so. Clients come from 127.0.0.2, so that they can be told from
//! the proxy.

#![allow(clippy::unwrap_used, reason = "tests")]

mod application;
mod client;
mod proxy;
#[path = "../wire/mod.rs"]
mod wire;

use std::process::ExitCode;

use adapter_web::server::TrustedProxy;
use adapter_web::{DynApplication, Server, ServerConfig};
use libtest_mimic::{Arguments, Trial};

use crate::proxy::{Kind, Proxy, Upstream};

/// A name, and what it does with a proxy that listens.
type Case = (&'static str, fn(&Proxy));

const CASES: [Case; 8] = [
    ("nothing_forged_is_believed", client::forged),
    ("nothing_forged_is_passed_on", client::stripped),
    ("connections_are_used_again", client::kept),
    ("websockets", client::websocket),
    ("events_come_at_once", client::events),
    ("uploads", client::uploads),
    ("both_ways", client::both_ways),
    ("broken_answers_look_broken", client::broken),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for kind in Kind::ALL {
        let missing = kind.missing();
        if let Some(reason) = &missing
            && !arguments.list
        {
            eprintln!("proxies: ignored, {reason}");
        }
        for server in adapter_web::servers() {
            for upstream in kind.upstreams() {
                if matches!(upstream, Upstream::Http2) && server.info().capabilities.get("http2") != Some(true) {
                    continue;
                }
                let name = format!("{}::{}::{}", server.info().name, kind.name(), upstream.name());
                trials.push(match missing.clone() {
                    None => Trial::test(name, move || {
                        run(server, kind, *upstream);
                        Ok(())
                    }),
                    Some(reason) => Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(!arguments.list),
                });
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// All cases, on one pair of server and proxy: starting a proxy takes longer than they do.
fn run(server: &dyn Server, kind: Kind, upstream: Upstream) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::default().threads(4);
    let bind = match upstream {
        Upstream::Tcp | Upstream::Http2 => "127.0.0.1:0".to_owned(),
        Upstream::ProxyV1 | Upstream::ProxyV2 => "127.0.0.1:0,proxy".to_owned(),
        Upstream::Unix => format!("unix:{}", folder.path().join("app.sock").display()),
    };
    config.binds.push(bind.parse().unwrap());
    match upstream {
        Upstream::Tcp | Upstream::Http2 => config.trusted_proxies = vec![[127, 0, 0, 1].into()],
        Upstream::Unix => config.trusted_proxies = vec![TrustedProxy::Unix],
        // It speaks for the client there, and not by fields.
        Upstream::ProxyV1 | Upstream::ProxyV2 => config.proxy_protocol_from = vec![[127, 0, 0, 1].into()],
    }
    let handle = server.start(DynApplication::new(application::application()), config).unwrap();
    let proxy = Proxy::start(kind, upstream, &handle.local_addrs()[0], folder.path());
    for (name, case) in CASES {
        // Shown where it fails.
        println!("{name}");
        case(&proxy);
    }
    drop(proxy);
    handle.stop().unwrap();
}
