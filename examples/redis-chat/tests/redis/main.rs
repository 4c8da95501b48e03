//! The chat over a real Redis that goes away and comes back, and two processes of it behind a real HAProxy.
//!
//! Where one of the two is not installed, its cases are ignored and say so.

#![allow(clippy::unwrap_used, reason = "tests")]

mod crowd;
mod processes;
mod programs;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod trouble;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::programs::missing;

/// A name, what it needs, and what it does.
type Case = (&'static str, &'static [&'static str], fn());

const CASES: [Case; 8] = [
    ("the_store_in_memory_keeps_its_word", &[], stores::memory),
    ("the_store_in_redis_keeps_its_word", &["redis-server"], stores::redis),
    ("what_was_said_without_news_is_heard", &["redis-server"], trouble::deaf),
    ("a_redis_that_hangs_is_told_of_and_says_nothing_twice", &["redis-server"], trouble::hanging),
    ("a_redis_that_is_full_is_told_of_and_throws_nothing_away", &["redis-server"], trouble::full),
    ("members_of_a_redis_that_lost_everything_are_told", &["redis-server"], trouble::emptied),
    ("two_processes_hyper_and_smol", &["redis-server", "haproxy"], || processes::case("hyper", "smol")),
    ("two_processes_actix_and_threadpool", &["redis-server", "haproxy"], || processes::case("actix", "threadpool")),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, needed, case) in CASES {
        let run = move || {
            case();
            Ok(())
        };
        trials.push(match needed.iter().find_map(|program| missing(program)) {
            None => Trial::test(name, run),
            Some(reason) => {
                if !arguments.list {
                    eprintln!("redis: {name} is ignored, {reason}");
                }
                Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(!arguments.list)
            }
        });
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
