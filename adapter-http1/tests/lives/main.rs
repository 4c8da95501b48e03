//! Random lives of a connection, in a world without sockets, threads and clocks: what a client, a network and an application
//! may do in any order, in plain and under (a toy in place of) TLS. Each is made of a seed.
//!
//! A life is a script (`script`), which is played (`life`) in a world (`world`) against an application (`application`). What has to come
//! back is said by a plain model (`plain`), which reads what the client says by itself; where the connection is looked after at once it is
//! also said when, to the tick (`watch`). What it holds is counted all the while. MODELS.md says what that has found.
//!
//! `ADAPTER_LIVES=1000000 cargo test -p adapter-http1 --test lives --release` lives longer; `ADAPTER_SEED=…` one life again, or as
//! many from that one on. One that goes wrong prints its script, without what it does not need to go wrong: `ADAPTER_SCRIPT=file` plays one.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Instant;

mod application;
mod chosen;
mod client;
mod life;
mod plain;
mod script;
#[path = "../../../adapter-core/tests/toy_tls/mod.rs"]
mod toy_tls;
mod watch;
mod world;

use application::DRIP;
use script::Script;

thread_local! {
    /// Panics are not told.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What goes wrong in it, if anything does.
fn fault(script: &Script, start: Instant) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| life::play(script, start))).err()?;
    life::forget();
    let said = panic.downcast_ref::<String>().cloned();
    said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).or(Some("a panic".to_owned()))
}

/// What goes wrong, apart from numbers.
fn kind(fault: &str) -> String {
    let fault = fault.split(['(', ':']).next().unwrap_or_default();
    fault.chars().filter(|char| !char.is_ascii_digit()).collect()
}

/// The script without all that it does not need to go wrong in the same way.
fn shortened(mut script: Script, fault_of_it: &str, start: Instant) -> Script {
    let kind_of_it = kind(fault_of_it);
    let mut part = script.events.len().max(1);
    while part > 0 {
        let shorter = script.shorter(part).find(|it| fault(it, start).is_some_and(|fault| kind(&fault) == kind_of_it));
        match shorter {
            Some(shorter) => script = shorter,
            None => part /= 2,
        }
    }
    script
}

/// Plays it, and says how it can be had again where it goes wrong.
fn live(script: Script, told: &str, start: Instant) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let fault = fault(&script, start);
    let short = fault.as_ref().map(|fault| shortened(script, fault, start));
    QUIET.set(false);
    if let (Some(fault), Some(short)) = (fault, short) {
        panic!("{told} went wrong: {fault}\nADAPTER_SCRIPT, a file of this, has it again:\n\n{short}");
    }
}

fn lives_end_well(tls: bool, proxied: bool) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let start = Instant::now();
    if let Some(file) = std::env::var_os("ADAPTER_SCRIPT") {
        let script = std::fs::read_to_string(file).expect("the script can be read");
        return life::play(&script.parse().expect("it is a script"), start);
    }
    let first = number("ADAPTER_SEED");
    let count = number("ADAPTER_LIVES").unwrap_or(if first.is_some() { 1 } else { 3000 });
    for seed in (first.unwrap_or(1)..).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        live(Script::of(seed, tls, proxied), &format!("the life of ADAPTER_SEED={seed}"), start);
    }
}

#[test]
fn lives_in_plain_end_well() {
    lives_end_well(false, false);
}

#[test]
fn lives_under_tls_end_well() {
    lives_end_well(true, false);
}

#[test]
fn lives_behind_a_proxy_end_well() {
    lives_end_well(false, true);
    lives_end_well(true, true);
}

/// A script is what it says.
#[test]
fn a_script_can_be_read_again() {
    for seed in 1..300 {
        let script = Script::of(seed, seed % 2 == 0, seed % 3 == 0).to_string();
        assert_eq!(script.parse::<Script>().map(|script| script.to_string()), Ok(script));
    }
}
