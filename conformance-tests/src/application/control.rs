//! Requests about the records: how a client in another process learns what the application saw.
//!
//! `report TOKEN`, `wait TOKEN COUNT PREFIX MS` (answers once COUNT events begin with PREFIX, or after MS milliseconds),
//! `open TOKEN GATE`, `violations TOKEN…` (what lint saw the server do wrong), `end TOKEN…` (nobody asks any more), `about`;
//! spec/APPLICATION.md says more. Records are lines of
//! `CALL TAB THREAD TAB TEXT`.

use std::time::Duration;

use adapter_core::{Body, Environ, Error, Response};

use super::script;
use super::{CONTRACT, Records};

/// How long `wait` waits at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ports at which the command `serve` mounts the application under other settings, at the address of the first one.
#[derive(Clone, Debug, Default)]
pub struct Advertised(pub Vec<(&'static str, u16)>);

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
            let patience = if step.len() > 3 { Duration::from_millis(step.number(3)).min(PATIENCE) } else { PATIENCE };
            let _ = environ.runtime().timeout(patience, wait).await;
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
        "end" => {
            step.rest(0).iter().for_each(|token| records.end(token));
            String::new()
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
    // It knows all there is.
    let mut text = format!("contract {CONTRACT}\nserver {}\nversion {}\n", server.name, server.version);
    text.push_str("step *\nfact *\nevent *\n");
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
    for (name, port) in environ.deployed::<Advertised>().map(|more| more.0.as_slice()).unwrap_or_default() {
        text.push_str(&format!("setting {name} :{port}\n"));
    }
    text
}
