//! The example pages in a real browser: headless Chromium, driven by chromedriver, on every server with WebSockets, by http and ws
//! and by https and wss.
//!
//! Where one of the two programs is missing, the cases are ignored and say so. Screenshots are kept in `browser/` of the
//! target directory. Every wait is for something the page shows, and has a deadline.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../examples/chat/chat.rs"]
mod chat;
mod chat_page;
#[path = "../../examples/chat/log.rs"]
mod log;
#[path = "../../examples/primer/primer.rs"]
mod primer;
mod primer_page;
#[path = "../../examples/chat/query.rs"]
mod query;
#[path = "../../examples/chat/room.rs"]
mod room;
mod webdriver;
#[path = "../../examples/primer/worker.rs"]
mod worker;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use adapter_tls::TlsConfig;
use adapter_web::{Application, DynApplication, Server, ServerConfig, ServerHandle};
use libtest_mimic::{Arguments, Trial};

use crate::webdriver::{Driver, Session};

/// A name, what it does, and whether under TLS.
type Case = (&'static str, fn(&'static dyn Server, &mut Session, bool), bool);

const CASES: [Case; 4] = [
    ("primer", primer_page::case, false),
    ("chat", chat_page::case, false),
    ("primer-tls", primer_page::case, true),
    ("chat-tls", chat_page::case, true),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Nothing is started only to be listed.
    let driver = if arguments.list { Err(String::new()) } else { Driver::start().map(Arc::new) };
    if let Err(reason) = &driver
        && !arguments.list
    {
        eprintln!("browser: ignored, {reason}");
    }
    let mut trials = Vec::new();
    for server in adapter_web::servers() {
        let info = server.info();
        let ready = match &driver {
            Ok(_) if !info.capabilities.websocket => Err("no WebSockets".to_owned()),
            Ok(driver) => Ok(driver.clone()),
            Err(reason) => Err(reason.clone()),
        };
        for (case, run, tls) in CASES {
            let name = format!("{}::{case}", info.name);
            trials.push(match ready.clone() {
                Ok(driver) => Trial::test(name.clone(), move || {
                    run(server, &mut driver.session(&name.replace("::", "-")), tls);
                    Ok(())
                }),
                Err(reason) => Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(!arguments.list),
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Serves on loopback, under TLS if so wanted; port 0 is any. Gives the address, and what URLs begin with.
fn serve(
    server: &dyn Server,
    application: impl Application,
    port: u16,
    tls: bool,
) -> (ServerHandle, SocketAddr, String) {
    let mut config = ServerConfig::default().bind(format!("127.0.0.1:{port}").parse().unwrap());
    if tls {
        config = config.tls(TlsConfig::self_signed(["127.0.0.1"]).unwrap().load().unwrap());
    }
    let handle = server.start(DynApplication::new(application), config).unwrap();
    let addr = handle.local_addrs()[0].tcp().unwrap();
    let scheme = if tls { "https" } else { "http" };
    (handle, addr, format!("{scheme}://{addr}"))
}
