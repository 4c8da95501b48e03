//! What an operator asks of a server that goes on: SIGHUP reads certificates and trusted proxies again and opens log files again,
//! SIGUSR1 opens log files again.
//!
//! Reading files may take its time, and must not hold up a SIGTERM: it is done on a thread of its own (`adapter-control`),
//! which ends when nobody can ask any more. What is asked for twice before it has begun is done once. Each says on stderr, in
//! one line, what it did.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use adapter_core::server::Believed;
use adapter_core::tls::Tls;
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use signal_hook::low_level;

use crate::cli::{Again, Args, Exit};
use crate::output::Queue;
use crate::stderr;
use crate::systemd::Manager;

const NO_FILE: &str = "there is no log file to open again";

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Certificates, trusted proxies and log files.
    Reload,
    /// Log files.
    Reopen,
    /// The program anew.
    Upgrade,
}

/// A file with lines, by its name and the way to the thread that writes it.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    pub(crate) lines: Queue,
}

/// Whom the server believes, and the way to read that again.
pub(crate) struct Trust {
    pub(crate) believed: Believed,
    pub(crate) again: Again,
    /// What a start refuses of flags.
    pub(crate) check: Box<Checking>,
}

type Checking = dyn Fn(&Args) -> Result<(), Exit> + Send;

impl Trust {
    /// Does it, and says what was done.
    fn read(&self) -> String {
        let set = |(config, changed): (_, Vec<String>)| {
            let fault = |error| format!("{}: {}", self.again, Exit::from(error).text());
            self.believed.set(&config).map(|()| changed).map_err(fault)
        };
        match self.again.read(&self.check).and_then(set) {
            Ok(changed) if !changed.is_empty() => {
                let (again, changed) = (&self.again, changed.join(", "));
                format!(
                    "read the trusted proxies of {again} again; what it says else has changed ({changed}), and is read at the next start"
                )
            }
            Ok(_) => format!("read the trusted proxies of {} again", self.again),
            Err(why) => format!("trusting the proxies from before: {why}"),
        }
    }
}

/// The way to the thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    asked: Arc<Mutex<Vec<Ask>>>,
    wake: SyncSender<()>,
    upgrade: Arc<OnceLock<Upgrade>>,
}

/// What starts the program anew. Returns when that is done, and what there is to say has been given to what says it.
pub(crate) struct Upgrade(pub(crate) Box<Upgrading>);

type Upgrading = dyn Fn(&dyn Fn(&str)) + Send + Sync;

impl std::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Upgrade")
    }
}

impl Control {
    /// Starts the thread, which reads `tls` and `trust` again, and opens `log`, and tells the `manager`.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn start(
        tls: Option<Tls>,
        trust: Option<Trust>,
        log: Option<LogFile>,
        manager: Manager,
    ) -> io::Result<Self> {
        let (wake, woken) = mpsc::sync_channel(1);
        let control = Control { asked: Arc::default(), wake, upgrade: Arc::default() };
        let asked = control.asked.clone();
        let what = Reloaded { tls, trust, log, manager, upgrade: control.upgrade.clone(), upgrading: Arc::default() };
        thread::Builder::new().name("adapter-control".into()).spawn(move || serve(&woken, &asked, &what))?;
        Ok(control)
    }

    /// Where to say how to upgrade, once that can be done.
    pub(crate) fn upgrade(&self) -> Arc<OnceLock<Upgrade>> {
        self.upgrade.clone()
    }

    /// Never waits.
    pub(crate) fn ask(&self, ask: Ask) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.contains(&ask) {
            asked.push(ask);
        }
        // Full: it is about to look.
        let _ = self.wake.try_send(());
    }
}

fn serve(woken: &Receiver<()>, asked: &Mutex<Vec<Ask>>, what: &Reloaded) {
    while let Ok(()) = woken.recv() {
        let asked = std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner));
        for ask in asked {
            match ask {
                Ask::Reload => {
                    what.manager.reloading();
                    let said = what.reload();
                    say(SIGHUP, &said);
                    what.manager.ready("serving");
                }
                Ask::Upgrade => what.upgrade(),
                Ask::Reopen => say(SIGUSR1, &what.reopen().unwrap_or_else(|| NO_FILE.into())),
            }
        }
    }
}

/// As a signal is called in what is said of it.
pub(crate) fn name(signal: i32) -> &'static str {
    low_level::signal_name(signal).unwrap_or("signal")
}

/// One line, whatever the names of files have in them.
fn say(signal: i32, what: &str) {
    stderr::say(format!("adapter: {}: {}\n", name(signal), Exit::failed(what).text()));
}

struct Reloaded {
    tls: Option<Tls>,
    trust: Option<Trust>,
    log: Option<LogFile>,
    manager: Manager,
    upgrade: Arc<OnceLock<Upgrade>>,
    upgrading: Arc<AtomicBool>,
}

impl Reloaded {
    /// Does it, and says what was done.
    fn reload(&self) -> String {
        let certificates = self.tls.as_ref().map(|tls| match tls.reload() {
            Ok(()) => "read the certificates again".into(),
            Err(error) => format!("serving the certificates from before: {error}"),
        });
        let said: Vec<_> =
            certificates.into_iter().chain(self.trust.as_ref().map(Trust::read)).chain(self.reopen()).collect();
        if said.is_empty() { "there is nothing to read again".into() } else { said.join("; ") }
    }

    /// On a thread of its own, for it may take minutes.
    fn upgrade(&self) {
        if self.upgrade.get().is_none() {
            return say(
                SIGUSR2,
                "it can't be upgraded: it has not started, its server binds by itself, or it is a worker",
            );
        }
        if self.upgrading.swap(true, Ordering::SeqCst) {
            return say(SIGUSR2, "an upgrade is on its way already");
        }
        say(SIGUSR2, "starting the program anew");
        let (upgrade, upgrading) = (self.upgrade.clone(), self.upgrading.clone());
        let work = move || {
            if let Some(upgrade) = upgrade.get() {
                (upgrade.0)(&|said| say(SIGUSR2, said));
            }
            upgrading.store(false, Ordering::SeqCst);
        };
        if let Err(error) = thread::Builder::new().name("adapter-upgrade".into()).spawn(work) {
            self.upgrading.store(false, Ordering::SeqCst);
            say(SIGUSR2, &error.to_string());
        }
    }

    fn reopen(&self) -> Option<String> {
        let LogFile { path, lines } = self.log.as_ref()?;
        let path = path.display();
        Some(match lines.reopen() {
            Ok(()) => format!("opened {path} again"),
            Err(error) => format!("writing {path} as it was opened before: {error}"),
        })
    }
}
