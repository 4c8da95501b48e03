//! Cases that need a process to themselves: those that read its log, and those that use up its file descriptors.
//!
//! The runner starts its own program again with a variable that names server and case; [`enter`] sees that at the
//! beginning of the second `main`, runs the one case and ends. Only there is the log caught ([`crate::log`]).

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapter_core::Server;

use crate::case::{Failure, Script};
use crate::lifecycle::{self, Lifecycle};
use crate::registry::{self, Listed};
use crate::wire::{self, Transcript};
use crate::{application, front, log, secure};

/// Names patience in milliseconds, server, case, scheme and the web server in front of gateways, in lines.
const VARIABLE: &str = "CONFORMANCE_ALONE";
/// Begins the line with the result.
const RESULT: &str = "conformance-result ";

static ENTERED: AtomicBool = AtomicBool::new(false);

/// For runners, at the beginning of `main` and before any other thread: without it the cases of this kind are skipped.
/// Does not return in a process that was started for one of them.
pub fn enter<'s>(servers: impl IntoIterator<Item = &'s dyn Server>) {
    ENTERED.store(true, Ordering::Relaxed);
    let Ok(wanted) = std::env::var(VARIABLE) else { return };
    let mut lines = wanted.lines();
    let (patience, server, case) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    wire::set_patience(Duration::from_millis(patience.parse().unwrap_or(15_000)));
    let transcript = Transcript::default();
    let over_tls = if lines.next() == Some("https") { secure::everywhere() } else { Ok(()) };
    if let Some(kind) = lines.next().and_then(front::Kind::named) {
        front::choose(kind);
    }
    let result = match servers.into_iter().find(|known| known.info().name == server) {
        Some(server) => over_tls.map_err(Failure).and_then(|()| run_here(server, case, &transcript)),
        None => Err(format!("{server} is no server of this runner").into()),
    };
    let told = result.map_or_else(|Failure(failure)| failure, |()| String::new());
    println!("\n{RESULT}{}", serde_json::json!({ "failure": told, "transcript": transcript.render() }));
    std::process::exit(0);
}

/// Runs the case in this process.
fn run_here(server: &dyn Server, case: &str, transcript: &Transcript) -> Result<(), Failure> {
    application::quiet_panics();
    log::catch();
    let listed = registry::all().find(|listed| listed.name() == case).ok_or("no case of this name")?;
    let Script::Owned(script) = listed.case.script else { return Err("not a case of this kind".into()) };
    let mut life = Lifecycle::new(server, transcript.clone());
    script(&mut life)?;
    life.no_violations()
}

/// Whether this runner has called [`enter`].
pub(crate) fn is_possible() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// Runs the case against the server of that name in a process of its own. The transcript comes with a failure.
pub(crate) fn run(server: &str, listed: &Listed) -> Result<(), Failure> {
    let patience = wire::patience();
    let scheme = if secure::is_everywhere() { "https" } else { "http" };
    let wanted = format!("{}\n{server}\n{}\n{scheme}\n{}", patience.as_millis(), listed.name(), front::chosen().name());
    let program = std::env::current_exe().map_err(|error| format!("this program is not to be found: {error}"))?;
    let child = Command::new(program).env(VARIABLE, wanted).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("cannot start this program again: {error}"))?;
    let mut output = child.stdout.take().ok_or("no output of the second process")?;
    // Each step of the case has the client's patience for itself.
    let told = lifecycle::within(patience * 6, "the case in a process of its own", move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    // It has ended, or is not to go on.
    let _ = child.kill();
    let ended = child.wait();
    let told = told?.map_err(|error| format!("the output of the second process: {error}"))?;
    let result = told.lines().find_map(|line| line.strip_prefix(RESULT));
    let result: Option<serde_json::Value> = result.and_then(|result| serde_json::from_str(result).ok());
    let result = result.ok_or_else(|| format!("the process ended without a result ({ended:?}): {told}"))?;
    match result["failure"].as_str() {
        Some("") => Ok(()),
        failure => {
            let transcript = result["transcript"].as_str().unwrap_or("");
            Err(format!("{}\n{transcript}", failure.unwrap_or("no result")).trim_end().into())
        }
    }
}
