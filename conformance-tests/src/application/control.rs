//! Requests about the records: how a client in another process learns what the application saw.
//!
//! `report TOKEN`, `wait TOKEN COUNT PREFIX` (answers once COUNT events begin with PREFIX, or after [`PATIENCE`]),
//! `open TOKEN GATE`, `violations TOKEN…` (what lint saw the server do wrong), `about`. Records are lines of
//! `CALL TAB THREAD TAB TEXT`.

use std::net::SocketAddr;
use std::time::Duration;

use adapter_core::{Body, Environ, Error, Response};

use super::Records;
use super::script;

/// How long `wait` waits; the client gives up earlier.
const PATIENCE: Duration = Duration::from_secs(60);

/// The addresses at which the command `serve` mounts the application under other settings.
#[derive(Clone, Debug, Default)]
pub struct Advertised(pub Vec<(&'static str, SocketAddr)>);

/// Answers a control request.
pub(super) async fn answer(records: &Records, what: &str, environ: &Environ) -> Result<Response, Error> {
    let Some(step) = script::parse(what).into_iter().next() else {
        return Err("conformance: an empty control request".into());
    };
    let token = step.text(0);
    let text = match step.name.as_str() {
        "report" => report(records, &token),
        "wait" => {
            let prefix = step.text(2);
            let wait = records.wait(&token, &prefix, step.number(1) as usize);
            // Answered in any case: who asked looks for itself whether the event is there.
            let _ = environ.runtime().timeout(PATIENCE, wait).await;
            report(records, &token)
        }
        "open" => {
            records.open(&token, &step.text(1));
            String::new()
        }
        "violations" => {
            let found = step.rest(0).iter().flat_map(|token| records.violations(token));
            found.map(|violation| violation + "\n").collect()
        }
        "about" => about(environ),
        unknown => return Err(Error::new(format!("conformance: unknown control {unknown}"))),
    };
    Ok(Response::new(Body::from(text)))
}

fn report(records: &Records, token: &str) -> String {
    let lines = records.events(token).into_iter();
    lines.map(|event| format!("{}\t{}\t{}\n", event.call, event.thread.replace('\t', " "), event.text)).collect()
}

/// What the server says of itself, for clients that do not share its process.
fn about(environ: &Environ) -> String {
    let server = environ.server();
    let mut text = format!("server {}\nversion {}\n", server.name, server.version);
    for (name, there) in server.capabilities.iter() {
        text.push_str(&format!("capability {name} {there}\n"));
    }
    let concurrency = server.concurrency;
    for (name, flag) in [
        ("multithread", concurrency.multithread),
        ("multiprocess", concurrency.multiprocess),
        ("run-once", concurrency.run_once),
        ("asynchronous", concurrency.asynchronous),
        ("panic-unwind", cfg!(panic = "unwind")),
        ("http1", server.protocol == "http"),
    ] {
        text.push_str(&format!("capability {name} {flag}\n"));
    }
    for (name, address) in environ.deployed::<Advertised>().map(|more| more.0.as_slice()).unwrap_or_default() {
        text.push_str(&format!("setting {name} {address}\n"));
    }
    text
}
