//! `conformance run`: several cases at a time, progress on stderr, the report on stdout.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::exceptions;
use crate::front;
use crate::registry::{self, Listed};
use crate::report::{self, Count, Results};
use crate::runner::{Outcome, Run, Subject};
use crate::secure;
use crate::wire::{self, Client, Endpoint};
use adapter_core::Server;

use super::{Format, RunOptions, servers};

/// Runs what was asked for.
pub(super) fn run(options: &RunOptions) -> Result<ExitCode, String> {
    let cases = cases(&options.case)?;
    if let Some(patience) = &options.patience {
        wire::set_patience(super::patience(patience)?);
    }
    // Opened before anything runs: a report that can't be written is found at once.
    let page = match &options.html {
        None => None,
        Some(path) => {
            Some(std::fs::File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?)
        }
    };
    if let Some(path) = &options.exceptions {
        let text = std::fs::read_to_string(path);
        exceptions::also(&text.map_err(|error| format!("cannot read {}: {error}", path.display()))?);
    }
    if let Some(name) = &options.front {
        let known = front::KINDS.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        let kind =
            front::Kind::named(name).ok_or_else(|| format!("unknown web server \"{name}\"; known are: {known}"))?;
        front::choose(kind);
    }
    let servers = chosen(&options.server, options.tls)?;
    if options.tls && options.external.is_none() {
        secure::everywhere()?;
        if let Some(server) = servers.iter().map(|server| server.info()).find(|info| !info.capabilities.tls) {
            return Err(format!("{} does not speak TLS", server.name));
        }
    }
    let subjects = match &options.external {
        Some(address) => {
            let tls = if options.tls { Some(Client::of_strangers()?) } else { None };
            let endpoint = Endpoint { tls, ..resolve(address)?.into() };
            vec![Subject::external(endpoint).map_err(|failure| failure.0)?]
        }
        None => servers.iter().map(|server| Subject::local(&**server)).collect(),
    };
    let entries: Vec<_> = subjects.iter().flat_map(|subject| exceptions::of(&subject.name())).collect();
    if let Some(problem) = entries.iter().find_map(exceptions::problem) {
        return Err(problem);
    }
    // Most of the time is spent waiting for timeouts and for what must not come.
    let jobs = options.jobs.unwrap_or(8).max(1);
    let results: Vec<Results> = subjects
        .iter()
        .map(|subject| Results { server: subject.name(), runs: run_all(subject, &cases, jobs) })
        .collect();

    let text = match options.format {
        Format::Table => report::table(&results),
        Format::Json => report::json(&results),
        Format::Junit => report::junit(&results),
    };
    // Somebody who closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if let Some(mut page) = page {
        let written = page.write_all(report::html(&results).as_bytes());
        written.map_err(|error| format!("cannot write the page: {error}"))?;
    }
    for entry in &entries {
        let Some(runs) = results.iter().find(|results| results.server == entry.server).map(|results| &results.runs)
        else {
            continue;
        };
        let is_about = |run: &&Run| run.listed.case.requirements.contains(&&*entry.requirement);
        let outcomes: Vec<Outcome> = runs.iter().filter(is_about).map(|run| run.outcome.clone()).collect();
        // A filter may have left some out, which may be the ones that need it.
        if outcomes.len() == exceptions::cases_of(entry).count()
            && let Some(told) = exceptions::no_longer_needed(entry, &outcomes)
        {
            eprintln!("{told}");
        }
    }
    let sum = Count::of(results.iter().flat_map(|result| &result.runs));
    if !matches!(options.format, Format::Table) {
        eprintln!("{}", sum.line());
    }
    Ok(if sum.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn cases(filters: &[String]) -> Result<Vec<Listed>, String> {
    if filters.is_empty() {
        return Ok(registry::all().collect());
    }
    for filter in filters {
        if registry::matching(filter).is_empty() {
            return Err(format!("no case is called like \"{filter}\", and no requirement is; see `conformance list`"));
        }
    }
    let found = filters.iter().flat_map(|filter| registry::matching(filter));
    let names: HashSet<String> = found.map(|listed| listed.name()).collect();
    Ok(registry::all().filter(|listed| names.contains(&listed.name())).collect())
}

fn resolve(address: &str) -> Result<SocketAddr, String> {
    let mut found = address.to_socket_addrs().map_err(|error| format!("\"{address}\" is no HOST:PORT: {error}"))?;
    found.next().ok_or_else(|| format!("\"{address}\" has no address"))
}

/// The servers asked for by name. All there are leaves those out that can't be asked here, and says why.
fn chosen(names: &[String], tls: bool) -> Result<Vec<Box<dyn Server>>, String> {
    let unreachable = |server: &dyn Server| {
        let info = server.info();
        let missing = front::is_needed(&info.protocol).then(|| front::chosen().missing(&info.protocol)).flatten();
        missing.map(|missing| format!("{} needs a web server in front, and {missing}", info.name))
    };
    if names.iter().any(|name| name == "all") {
        let mut servers = servers::all();
        servers.retain(|server| {
            let gateway = tls && front::is_needed(&server.info().protocol);
            let plain = gateway.then(|| format!("{} has no TLS of its own", server.info().name));
            let told = plain.or_else(|| unreachable(&**server));
            if let Some(told) = &told {
                eprintln!("left out: {told}");
            }
            told.is_none()
        });
        return Ok(servers);
    }
    let servers = names.iter().map(|name| servers::find(name)).collect::<Result<Vec<_>, _>>()?;
    match servers.iter().find_map(|server| unreachable(&**server)) {
        Some(told) => Err(told),
        None => Ok(servers),
    }
}

/// Runs `cases`, `jobs` at a time; the results are in the order of the cases.
fn run_all(subject: &Subject<'_>, cases: &[Listed], jobs: usize) -> Vec<Run> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Run)>> = Mutex::new(Vec::new());
    let name = subject.name();
    let terminal = std::io::stderr().is_terminal();
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(listed) = cases.get(index) else { return };
                    let run = subject.run(*listed);
                    let mut done = done.lock().expect("invariant: nobody panics while holding it");
                    progress(terminal, &name, done.len() + 1, cases.len(), &run);
                    done.push((index, run));
                }
            });
        }
    });
    if terminal {
        eprint!("\r\x1b[K");
    }
    let mut done = done.into_inner().expect("invariant: nobody panics while holding it");
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, run)| run).collect()
}

fn progress(terminal: bool, server: &str, done: usize, all: usize, run: &Run) {
    let failed = matches!(run.outcome, Outcome::Failed { .. });
    if failed {
        eprintln!("{}FAILED {server}::{}", if terminal { "\r\x1b[K" } else { "" }, run.listed.name());
    }
    if terminal {
        eprint!("\r\x1b[K{server}: {done} of {all} {}", run.listed.name());
    } else if done == all {
        eprintln!("{server}: {done} of {all}");
    }
}
