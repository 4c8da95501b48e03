//! The suite tested: servers broken on purpose, each noticed by the cases that are about what it does wrong. \[TST-03\]
//!
//! Four kinds of trials: `FAULT::group::case` (the case fails on the broken server), `generated::…` (the same, of faults made by
//! rule), `sound::proxied::…` (the proxy alone breaks nothing the faults are about), and two about the whole: `every_must_case_is_killed`, and
//! `table_is_current`, about what reports say of all this. That every case passes on a sound server is
//! `tests/minimal_server.rs`.

mod application_faults;
mod body_faults;
mod environ_faults;
mod fault;
mod frames;
mod generated;
mod http2_faults;
mod http2_interim_faults;
mod http2_protocol_faults;
mod lifecycle_faults;
mod observer_faults;
mod proxy;
mod proxy_protocol_faults;
mod server;
mod tls_faults;
mod upgrade_faults;
mod upload_faults;
mod wire_faults;

#[path = "../../examples/minimal_server.rs"]
mod minimal_server;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conformance_tests::case::Level;
use conformance_tests::registry::{self, Listed};
use conformance_tests::runner::{Outcome, Subject};
use conformance_tests::{alone, application, secure, wire};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::fault::{Base, Fault};
use crate::server::Broken;

/// MUST cases no fault kills so far, and why. It may only shrink.
const UNKILLED: &str = include_str!("unkilled.txt");

/// Long enough for a loaded machine to answer, short enough for hundreds of cases that wait in vain.
const PATIENCE: Duration = Duration::from_millis(5000);

static THROUGH_PROXY: Fault = Fault::new("through_proxy", &[]).up(|_, _| {});
static THROUGH_PROXY_HYPER: Fault = Fault::new("through_proxy_hyper", &[]).on(Base::Hyper).up(|_, _| {});
static THROUGH_PROXY_THREADPOOL: Fault = Fault::new("through_proxy_threadpool", &[]).on(Base::ThreadPool).up(|_, _| {});

const SOUND: [&Fault; 3] = [&THROUGH_PROXY, &THROUGH_PROXY_HYPER, &THROUGH_PROXY_THREADPOOL];

fn faults() -> Vec<&'static Fault> {
    let all = [
        application_faults::FAULTS,
        upload_faults::FAULTS,
        body_faults::FAULTS,
        environ_faults::FAULTS,
        http2_faults::FAULTS,
        http2_interim_faults::FAULTS,
        http2_protocol_faults::FAULTS,
        lifecycle_faults::FAULTS,
        observer_faults::FAULTS,
        proxy_protocol_faults::FAULTS,
        tls_faults::FAULTS,
        upgrade_faults::FAULTS,
        wire_faults::FAULTS,
    ];
    all.into_iter().flatten().collect()
}

fn case(name: &str) -> Listed {
    registry::all()
        .find(|listed| listed.name() == name)
        .unwrap_or_else(|| panic!("a fault names the unknown case {name}"))
}

fn main() {
    secure::provide(tls_faults::provide);
    // Made before anything asks: faults go without what a case has asked for.
    secure::ready().expect("the suite has certificates");
    let generated = generated::known();
    let all = faults().into_iter().chain(SOUND).chain(generated.iter().map(|(fault, _)| *fault));
    let all: Vec<Broken> = all.map(Broken).collect();
    alone::enter(all.iter().map(|broken| broken as &dyn adapter_core::Server));
    application::quiet_panics();
    wire::set_patience(PATIENCE);
    let mut arguments = Arguments::from_args();
    // Nearly all of the time is spent waiting for what does not come.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let mut trials = vec![
        Trial::test("every_must_case_is_killed", every_must_case_is_killed),
        Trial::test("table_is_current", table_is_current),
    ];
    let mut proxied = BTreeSet::new();
    for fault in faults() {
        for name in fault.kills {
            let listed = case(name);
            if fault.is_proxied() {
                proxied.insert((fault.base as u8, *name));
            }
            trials.push(Trial::test(format!("{}::{name}", fault.name), move || fails(fault, listed)));
        }
    }
    for (base, name) in proxied {
        let sound = match base {
            0 => &THROUGH_PROXY,
            1 => &THROUGH_PROXY_THREADPOOL,
            _ => &THROUGH_PROXY_HYPER,
        };
        let listed = case(name);
        trials.push(Trial::test(format!("sound::{}::{name}", sound.name), move || passes(sound, listed)));
    }
    for (fault, listed) in generated {
        let name = format!("generated::{}::{}", fault.name, listed.name());
        trials.push(Trial::test(name, move || fails_by_rule(fault, listed)));
    }
    trials.push(generated::trial());
    libtest_mimic::run(&arguments, trials).exit();
}

/// The case fails on the broken server, and not because it could not be run.
fn fails(fault: &'static Fault, listed: Listed) -> Result<(), Failed> {
    let server = Broken(fault);
    match Subject::local(&server).run(listed).outcome {
        Outcome::Failed { failure, .. } if failure.0.starts_with("the server did not start") => {
            Err(format!("the broken server does not start: {failure}").into())
        }
        Outcome::Failed { .. } => Ok(()),
        Outcome::Skipped(reason) => Err(format!("the case was skipped: {reason}").into()),
        Outcome::Passed | Outcome::Excepted { .. } => Err("the case did not notice the fault".into()),
    }
}

/// The same of a mutation, which changes what one read brings: on a busy machine there may be nothing in that to change, such as an order. Three
/// times at most.
fn fails_by_rule(fault: &'static Fault, listed: Listed) -> Result<(), Failed> {
    fails(fault, listed).or_else(|_| fails(fault, listed)).or_else(|_| fails(fault, listed))
}

/// The case passes on the sound server.
fn passes(sound: &'static Fault, listed: Listed) -> Result<(), Failed> {
    let server = Broken(sound);
    match Subject::local(&server).run(listed).outcome {
        Outcome::Failed { failure, transcript, .. } => Err(format!("{failure}\n{transcript}").into()),
        _ => Ok(()),
    }
}

/// What reports say of the cases and their faults is what is tested here.
fn table_is_current() -> Result<(), Failed> {
    let mut kills: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for fault in faults() {
        for name in fault.kills {
            kills.entry(name).or_default().push(fault.name);
        }
    }
    let table: String = kills.iter().map(|(name, faults)| format!("{name} {}\n", faults.join(" "))).collect();
    if table == conformance_tests::kills::TABLE {
        return Ok(());
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/kills.txt"), table)?;
    }
    Err("src/kills.txt is not what the faults say; to write it anew: \
         BLESS=1 cargo test -p conformance-tests --test faults -- table_is_current"
        .into())
}

fn every_must_case_is_killed() -> Result<(), Failed> {
    let killed: BTreeSet<&str> = faults().iter().flat_map(|fault| fault.kills.iter().copied()).collect();
    let unkilled: BTreeSet<&str> = UNKILLED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split(' ').next())
        .collect();
    for name in &unkilled {
        case(name);
        if killed.contains(name) {
            return Err(format!("{name} is killed by a fault: take it off unkilled.txt").into());
        }
    }
    let missing: Vec<String> = registry::all()
        .filter(|listed| listed.case.level == Level::Must)
        .map(|listed| listed.name())
        .filter(|name| !killed.contains(name.as_str()) && !unkilled.contains(name.as_str()))
        .collect();
    println!("{} cases are killed by {} faults, {} are not", killed.len(), faults().len(), unkilled.len());
    if missing.is_empty() { Ok(()) } else { Err(format!("MUST cases that no fault kills: {missing:#?}").into()) }
}
