//! The cases as a cargo test: one libtest-mimic trial per server and case, for `harness = false` tests.
//!
//! Listing starts no server; under cargo-nextest each case is a process and starts the one server it needs. Trials
//! must be `'static` and servers need not be, so a trial only asks; scoped threads of this module run the cases.

use std::sync::mpsc;
use std::thread;

use adapter_core::Server;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

use crate::exceptions::Exception;
use crate::registry::{self, Listed};
use crate::runner::{Outcome, Run, Subject};
use crate::{alone, application, exceptions};

/// A trial's question: which case of which subject, and where the answer goes.
type Job = (usize, Listed, mpsc::Sender<Run>);

/// Runs every case against every one of `servers`, with the arguments of any cargo test, and ends the process.
///
/// Cases a server's capabilities rule out are shown as ignored, with the reason.
///
/// ```no_run
/// # struct MyServer;
/// # impl adapter_core::Server for MyServer {
/// #     fn info(&self) -> adapter_core::ServerInfo { adapter_core::ServerInfo::new("my-server", "1") }
/// #     fn start(&self, _: adapter_core::DynApplication, _: adapter_core::ServerConfig)
/// #         -> Result<adapter_core::ServerHandle, adapter_core::ServeError> { Err(std::io::Error::other("an example").into()) }
/// # }
/// conformance_tests::main(&[&MyServer]);
/// ```
pub fn main(servers: &[&dyn Server]) -> ! {
    alone::enter(servers.iter().copied());
    application::quiet_panics();
    run(servers, Arguments::from_args()).exit()
}

/// The whole of [`main`] but the end of the process: when it returns, the servers have been stopped.
fn run(servers: &[&dyn Server], mut arguments: Arguments) -> Conclusion {
    // Most of the time is spent waiting for timeouts and for what must not come.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let subjects: Vec<Subject<'_>> = servers.iter().map(|server| Subject::local(*server)).collect();
    let (jobs, todo) = mpsc::channel::<Job>();
    let mut trials = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        for listed in registry::all() {
            trials.push(trial(subject, index, listed, jobs.clone()));
        }
    }
    for (index, subject) in subjects.iter().enumerate() {
        for exception in exceptions::of(&subject.name()) {
            trials.push(needed(subject, index, exception, jobs.clone()));
        }
    }
    thread::scope(|scope| {
        let subjects = &subjects;
        scope.spawn(move || {
            for (index, listed, answer) in todo {
                // A trial that is gone no longer wants the answer.
                scope.spawn(move || answer.send(subjects[index].run(listed)));
            }
        });
        let conclusion = libtest_mimic::run(&arguments, trials);
        drop(jobs);
        conclusion
    })
}

/// Whether an exception is one, and needed: some case of its requirement still fails.
fn needed(subject: &Subject<'_>, index: usize, exception: Exception, jobs: mpsc::Sender<Job>) -> Trial {
    let name = format!("{}::exceptions::{}", subject.name(), exception.requirement);
    Trial::test(name, move || {
        if let Some(problem) = exceptions::problem(&exception) {
            return Err(Failed::from(problem));
        }
        let mut outcomes = Vec::new();
        for listed in exceptions::cases_of(&exception) {
            let (answer, run) = mpsc::channel();
            jobs.send((index, listed, answer)).map_err(|_| "the suite has ended")?;
            outcomes.push(run.recv().map_err(|_| "the case ended without a result")?.outcome);
        }
        exceptions::no_longer_needed(&exception, &outcomes).map_or(Ok(()), |told| Err(Failed::from(told)))
    })
}

fn trial(subject: &Subject<'_>, index: usize, listed: Listed, jobs: mpsc::Sender<Job>) -> Trial {
    let name = format!("{}::{}", subject.name(), listed.name());
    let skipped = subject.skips(&listed);
    let trial = Trial::test(name, move || {
        let (answer, run) = mpsc::channel();
        jobs.send((index, listed, answer)).map_err(|_| "the suite has ended")?;
        match run.recv().map_err(|_| "the case ended without a result")?.outcome {
            Outcome::Passed | Outcome::Excepted { .. } => Ok(()),
            Outcome::Skipped(reason) => Err(Failed::from(format!("skipped: {reason}"))),
            Outcome::Failed { failure, transcript, .. } => {
                let (ids, title) = (listed.case.requirements.join(", "), listed.case.title);
                Err(Failed::from(format!("[{ids}] {title}\n\n  {failure}\n\n{transcript}")))
            }
        }
    });
    match skipped {
        Some(reason) => trial.with_ignored_flag(true).with_kind(format!("skipped: {reason}")),
        None => trial,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use adapter_core::{
        DynApplication, ListenAddr, ServeError, ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger,
    };

    use super::*;

    /// Listens nowhere, and owns something outside of the process until it has stopped.
    struct Owner(Arc<AtomicBool>);

    impl Server for Owner {
        fn info(&self) -> ServerInfo {
            ServerInfo::new("owner", "1")
        }

        fn start(&self, _: DynApplication, _: ServerConfig) -> Result<ServerHandle, ServeError> {
            let (owned, trigger) = (self.0.clone(), ShutdownTrigger::new());
            owned.store(true, Ordering::SeqCst);
            let forced = trigger.reached(adapter_core::server::ShutdownLevel::Forced);
            let nowhere = vec![ListenAddr::Tcp(([127, 0, 0, 1], 1).into())];
            Ok(ServerHandle::new(nowhere, trigger, move || {
                futures_lite::future::block_on(forced);
                owned.store(false, Ordering::SeqCst);
                Ok(())
            }))
        }
    }

    #[test]
    fn servers_have_stopped_when_the_suite_ends() {
        let owned = Arc::new(AtomicBool::new(false));
        let owner = Owner(owned.clone());
        // The report of what fails here on purpose is for nobody.
        let report = tempfile::NamedTempFile::new().unwrap();
        let arguments = Arguments {
            filter: Some("target::path_is_raw".into()),
            logfile: Some(report.path().to_string_lossy().into_owned()),
            ..Arguments::default()
        };
        let conclusion = run(&[&owner], arguments);
        assert_eq!(conclusion.num_failed, 1, "nobody listens");
        assert!(!owned.load(Ordering::SeqCst));
    }
}
