//! Servers broken by rule: each field, status, setting and kind of frame that the suite gets to see, changed in the same few ways.
//!
//! A line of `killed.txt` is a mutation, the server it is done to, and a case that notices it; a trial for each shows that.
//! `survivors.txt` has the reasons why no case has to notice the others. What is in neither is looked for by `generated_are_all` (ignored: it takes
//! long): each case is run on a sound server behind a proxy that watches, which tells what there is to change and which cases would meet
//! it; those are then run until one fails, twice. It fails where no case does.

mod messages;
mod mutation;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conformance_tests::registry::{self, Listed};
use conformance_tests::runner::{Outcome, Subject};
use libtest_mimic::{Failed, Trial};

pub(crate) use self::mutation::Mutation;
use crate::fault::{Base, Fault};
use crate::server::Broken;

/// `MUTATION: SERVER CASE`.
const KILLED: &str = include_str!("killed.txt");
/// `MUTATION: REASON`.
const SURVIVORS: &str = include_str!("survivors.txt");

/// Servers by name, in the order in which they are tried.
const BASES: [(&str, Base); 3] = [("minimal", Base::Minimal), ("threadpool", Base::ThreadPool), ("hyper", Base::Hyper)];

/// Cases that end this soon are run first, and one that fails this soon is looked for.
const QUICK: Duration = Duration::from_millis(1500);

fn lines(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": "))
}

fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn fault(name: &str, base: Base, mutation: Mutation) -> &'static Fault {
    Box::leak(Box::new(Fault::new(leaked(name.replace(' ', "_")), &[]).on(base).mutation(mutation)))
}

fn broken(name: &'static str, (server, base): (&str, Base)) -> &'static Fault {
    let mutation = Mutation::named(name).unwrap_or_else(|| panic!("no mutation is called {name:?}"));
    fault(&format!("{name} on {server}"), base, mutation)
}

/// The faults of `killed.txt`, each with the case that notices it.
pub(crate) fn known() -> Vec<(&'static Fault, Listed)> {
    let known = |(name, rest): (&'static str, &'static str)| {
        let (server, case) = rest.split_once(' ').unwrap_or_else(|| panic!("{name}: no case"));
        let base = BASES.into_iter().find(|(known, _)| *known == server).unwrap_or_else(|| panic!("{name}: no server"));
        (broken(name, base), crate::case(case))
    };
    lines(KILLED).map(known).collect()
}

/// The trial that looks for all of them.
pub(crate) fn trial() -> Trial {
    Trial::test("generated_are_all", are_all).with_ignored_flag(true)
}

/// What a case would meet, on which server, and how long it takes.
struct Met {
    listed: Listed,
    base: usize,
    duration: Duration,
    mutations: BTreeSet<String>,
}

fn each<T: Sync>(all: &[T], threads: usize, work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(one);
                }
            });
        }
    });
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether mutations whose names begin so are looked at: all are, or those that `GENERATED` names (`status,response`).
fn is_chosen(name: &str) -> bool {
    let chosen = std::env::var("GENERATED").unwrap_or_default();
    chosen.is_empty() || chosen.split(',').any(|begin| name.starts_with(begin))
}

/// Runs each case behind a proxy that watches, on the first server that it can be run on.
fn meet() -> Vec<Met> {
    let base = |listed: &Listed| {
        let sound = |base| Broken(fault("sound", base, Mutation::End("never")));
        BASES.iter().position(|(_, base)| Subject::local(&sound(*base)).skips(listed).is_none())
    };
    // A process of its own tells nobody what it has met.
    let cases = registry::all().filter(|listed| !listed.case.alone);
    let cases = cases.filter(|listed| !listed.capabilities().any(|needed| needed == "http2") || is_chosen("frame"));
    let cases: Vec<(usize, Listed)> = cases.filter_map(|listed| Some((base(&listed)?, listed))).collect();
    let met = Mutex::new(Vec::new());
    each(&cases, 6, |(base, listed)| {
        let seen: &'static Mutex<BTreeSet<String>> = Box::leak(Box::default());
        let server = Broken(fault(BASES[*base].0, BASES[*base].1, Mutation::Watch(seen)));
        let run = Subject::local(&server).run(*listed);
        match run.outcome {
            Outcome::Passed => {
                let mutations = std::mem::take(&mut *locked(seen));
                locked(&met).push(Met { listed: *listed, base: *base, duration: run.duration, mutations });
            }
            other => println!("{} on {}: {other:?}", listed.name(), BASES[*base].0),
        }
    });
    let mut met = met.into_inner().unwrap_or_else(PoisonError::into_inner);
    met.sort_by_key(|met| (met.duration > QUICK, met.base, met.duration));
    met
}

/// The first of the cases that meet `name` and fails by it twice, and soon if one does so.
fn killer(name: &'static str, met: &[Met]) -> Option<(usize, Listed)> {
    let mut slow = None;
    for met in met.iter().filter(|met| met.mutations.contains(name)) {
        let server = Broken(broken(name, BASES[met.base]));
        let notices = || {
            let run = Subject::local(&server).run(met.listed);
            // One that does not start shows nothing.
            let fails = matches!(run.outcome, Outcome::Failed { failure, .. } if !failure.0.contains("did not start"));
            fails.then_some(run.duration)
        };
        match notices().and_then(|_| notices()) {
            Some(duration) if duration < QUICK => return Some((met.base, met.listed)),
            Some(_) => slow = slow.or(Some((met.base, met.listed))),
            None => {}
        }
    }
    slow
}

fn are_all() -> Result<(), Failed> {
    let met = meet();
    let all: BTreeSet<&String> = met.iter().flat_map(|met| &met.mutations).collect();
    let all = all.into_iter().filter(|name| is_chosen(name));
    let all: Vec<&'static str> = all.map(|name| leaked(name.clone())).collect();
    println!("{} mutations are met by {} cases", all.len(), met.len());
    let (before, excused): (BTreeMap<_, _>, BTreeMap<_, _>) = (lines(KILLED).collect(), lines(SURVIVORS).collect());
    let unknown: Vec<&'static str> = all.iter().copied().filter(|name| !before.contains_key(name)).collect();
    let killed = Mutex::new(before.iter().map(|(name, rest)| (*name, (*rest).to_owned())).collect::<BTreeMap<_, _>>());
    let survived = Mutex::new(Vec::new());
    each(&unknown, 6, |name| match killer(name, &met) {
        Some((base, listed)) => {
            println!("{name}: {} {}", BASES[base].0, listed.name());
            locked(&killed).insert(name, format!("{} {}", BASES[base].0, listed.name()));
        }
        None => {
            let met = met.iter().filter(|met| met.mutations.contains(*name)).count();
            println!("{name} survives {met} cases");
            locked(&survived).push(*name);
        }
    });
    if std::env::var_os("BLESS").is_some() {
        let table: String = locked(&killed).iter().map(|(name, rest)| format!("{name}: {rest}\n")).collect();
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/generated/killed.txt"), table)?;
    }
    let new: BTreeSet<&str> = locked(&survived).iter().copied().filter(|name| !excused.contains_key(name)).collect();
    let killed = locked(&killed);
    let noticed: Vec<&str> = excused.keys().copied().filter(|name| killed.contains_key(name)).collect();
    match new.is_empty() && noticed.is_empty() && killed.len() == before.len() {
        true => Ok(()),
        false => Err(format!(
            "no case notices {new:#?}; survivors.txt excuses what is noticed: {noticed:?}; {} are new in killed.txt (BLESS=1 \
             writes it)",
            killed.len() - before.len()
        )
        .into()),
    }
}
