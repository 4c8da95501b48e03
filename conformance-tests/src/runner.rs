//! Runs cases: starts a server per setting, lazily, and gives each case a context of its own.
//!
//! A server that was started is shared by all cases of its setting, and forced to stop when its subject is dropped.
//! Cases run on the caller's thread; several may run at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use adapter_core::{Server, ServerHandle};

use crate::abilities::Abilities;
use crate::alone;
use crate::answered::{self, Others};
use crate::application::Conformance;
use crate::case::{Failure, Script};
use crate::context::{self, Context};
use crate::exceptions;
use crate::front::{self, Front};
use crate::lifecycle::Lifecycle;
use crate::registry::{HTTP1, Listed};
use crate::secure;
use crate::setting::{self, Setting};
use crate::wire::{Client, Endpoint, Exchange, Transcript};

/// How long servers are waited for when the cases are over.
const ENDING: Duration = Duration::from_secs(10);

/// What became of a case.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The server does what is required.
    Passed,
    /// It does not: why, and what went over the wire.
    Failed {
        /// What was expected and what was seen.
        failure: Failure,
        /// The octets.
        exchanges: Vec<Exchange>,
        /// The same for a terminal.
        transcript: String,
    },
    /// It does not, and is excused for a stated reason.
    Excepted {
        /// The reason of the entry.
        reason: String,
        /// What was expected and what was seen.
        failure: Failure,
    },
    /// It was not run, for the reason given.
    Skipped(String),
}

/// One run of a case.
#[derive(Clone, Debug)]
pub struct Run {
    /// The case.
    pub listed: Listed,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
}

/// A server under test.
pub enum Subject<'s> {
    /// In this process.
    Local {
        /// The server.
        server: &'s dyn Server,
        /// Instances by setting.
        instances: Instances,
    },
    /// In another one, with the conformance application mounted.
    External {
        /// Addresses by setting; at least one for `default`.
        addresses: HashMap<String, SocketAddr>,
        /// What clients speak there, where that is TLS.
        tls: Option<Client>,
        /// What the server says it can do.
        capabilities: HashMap<String, bool>,
        /// What the application there can do.
        abilities: Abilities,
        /// Its name.
        name: String,
    },
}

type Started = Arc<OnceLock<Result<Instance, String>>>;

/// A server that runs.
struct Instance {
    /// Where clients find it.
    address: SocketAddr,
    /// Taken when it is to end; with who stands in front.
    parts: Mutex<Option<(ServerHandle, Option<Front>)>>,
}

/// The servers of one subject that are running, by setting.
#[derive(Default)]
pub struct Instances(Mutex<HashMap<&'static str, Started>>);

impl Drop for Instances {
    fn drop(&mut self) {
        let instances = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let (end, ended) = mpsc::channel::<()>();
        for started in instances.into_values() {
            let Some(Ok(instance)) = started.get() else { continue };
            if let Some((handle, front)) = instance.parts.lock().unwrap_or_else(PoisonError::into_inner).take() {
                handle.trigger().force();
                let end = end.clone();
                std::thread::spawn(move || {
                    drop(front);
                    // What became of it is the business of cases.
                    let _ = handle.wait();
                    drop(end);
                });
            }
        }
        drop(end);
        // A server may own what outlives this process if it is not stopped; and one under test may never end.
        let _ = ended.recv_timeout(ENDING);
    }
}

impl<'s> Subject<'s> {
    /// A server in this process.
    pub fn local(server: &'s dyn Server) -> Self {
        Subject::Local { server, instances: Instances::default() }
    }

    /// A server somewhere, which is asked what it is. Where clients speak TLS with it, they do so at all its addresses.
    ///
    /// # Errors
    /// Nobody answers there as the conformance application does.
    pub fn external(endpoint: impl Into<Endpoint>) -> Result<Self, Failure> {
        let endpoint = endpoint.into();
        let address = endpoint.address;
        let about = context::about(&endpoint)?;
        let abilities = Abilities::parse(&about).map_err(|failure| format!("{address}: {failure}"))?;
        let mut name = String::new();
        let mut capabilities = HashMap::new();
        let mut addresses = HashMap::from([("default".to_owned(), address)]);
        for line in about.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["server", found] => found.clone_into(&mut name),
                ["capability", capability, there] => drop(capabilities.insert(capability.to_owned(), there == "true")),
                ["setting", setting, there] => {
                    // A port alone is one beside that which was asked.
                    let port = there.strip_prefix(':').and_then(|port| port.parse().ok());
                    let there = port.map(|port| SocketAddr::new(address.ip(), port)).or_else(|| there.parse().ok());
                    let there = there.ok_or_else(|| format!("{line:?} of \"about\" has no address"))?;
                    addresses.insert(setting.to_owned(), there);
                }
                _ => {}
            }
        }
        Ok(Subject::External { addresses, tls: endpoint.tls, capabilities, abilities, name })
    }

    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Subject::Local { server, .. } => server.info().name.into_owned(),
            Subject::External { name, .. } => name.clone(),
        }
    }

    /// Whether it has a capability: one it declares, or one of its concurrency model, of the build, or of the operating system.
    pub fn has(&self, capability: &str) -> bool {
        match self {
            Subject::External { capabilities, .. } => {
                capabilities.get(capability).copied().unwrap_or(match capability {
                    // Who says nothing of it is somebody who was asked by it.
                    HTTP1 => true,
                    "descriptor-limit" => cfg!(unix),
                    _ => false,
                })
            }
            Subject::Local { server, .. } => {
                let info = server.info();
                match capability {
                    HTTP1 => !front::is_needed(&info.protocol),
                    "panic-unwind" => cfg!(panic = "unwind"),
                    "descriptor-limit" => cfg!(unix),
                    "asynchronous" => info.concurrency.asynchronous,
                    "multithread" => info.concurrency.multithread,
                    name => info.capabilities.get(name).unwrap_or(false),
                }
            }
        }
    }

    /// Why a case can't be run, if it can't.
    pub fn skips(&self, listed: &Listed) -> Option<String> {
        if let Some(capability) = listed.capabilities().find(|capability| !self.has(capability)) {
            return Some(format!("does not declare {capability}"));
        }
        if let Some(reason) = self.behind(listed) {
            return Some(reason);
        }
        if let Some(reason) = listed.case.plain
            && self.is_over_tls()
        {
            return Some(format!("is for connections without TLS: {reason}"));
        }
        if listed.case.makes_tls && !secure::is_provided() {
            return Some("needs TLS for servers, which this runner does not give".into());
        }
        if listed.case.setting.name == setting::MOUNTED.name && !crate::mount::prefix().is_empty() {
            return Some("is about a mount prefix of its own".into());
        }
        if listed.case.alone && matches!(self, Subject::Local { .. }) && !alone::is_possible() {
            return Some("needs a process of its own, which this runner does not start".into());
        }
        if let Subject::External { addresses, .. } = self {
            if matches!(listed.case.script, Script::Owned(_)) {
                return Some("needs to start and stop the server".into());
            }
            if !addresses.contains_key(listed.case.setting.name) {
                return Some(format!("needs the setting {}", listed.case.setting.name));
            }
        }
        None
    }

    /// Who may have answered instead of the application.
    fn others(&self) -> Others {
        match self {
            Subject::External { .. } => Others::Unknown,
            Subject::Local { server, .. } if front::is_needed(&server.info().protocol) => {
                Others::Behind(front::chosen())
            }
            Subject::Local { .. } => Others::Server,
        }
    }

    /// Why a case can't pass behind the web server in front of a gateway.
    fn behind(&self, listed: &Listed) -> Option<String> {
        let Subject::Local { server, .. } = self else { return None };
        let protocol = server.info().protocol;
        front::is_needed(&protocol).then(|| front::limit(front::chosen(), &protocol, listed)).flatten()
    }

    fn is_over_tls(&self) -> bool {
        match self {
            Subject::Local { .. } => secure::is_everywhere(),
            Subject::External { tls, .. } => tls.is_some(),
        }
    }

    /// Runs one case.
    pub fn run(&self, listed: Listed) -> Run {
        let started = Instant::now();
        let outcome = match self.skips(&listed) {
            Some(reason) => Outcome::Skipped(reason),
            None => {
                let transcript = Transcript::default();
                let abilities = self.abilities();
                let result = catch_unwind(AssertUnwindSafe(|| self.script(&listed, &transcript, &abilities)));
                let result = result.unwrap_or_else(|_| Err("the case itself panicked".into()));
                match (abilities.lacking(), result) {
                    (Some(lacking), _) => Outcome::Skipped(format!("the application does not know {lacking}")),
                    (None, Ok(())) => Outcome::Passed,
                    (None, Err(Failure(mut failure))) => match exceptions::excuse(&self.name(), listed.case) {
                        Some(reason) => Outcome::Excepted { reason, failure: Failure(failure) },
                        None => {
                            let exchanges = transcript.exchanges();
                            if let Some(who) = answered::by(&exchanges, self.others()) {
                                failure.push_str(&format!("; {who}"));
                            }
                            Outcome::Failed { failure: Failure(failure), exchanges, transcript: transcript.render() }
                        }
                    },
                }
            }
        };
        Run { listed, outcome, duration: started.elapsed() }
    }

    /// What its application can do, for one case.
    fn abilities(&self) -> Abilities {
        match self {
            Subject::Local { .. } => Abilities::default(),
            Subject::External { abilities, .. } => abilities.afresh(),
        }
    }

    fn script(&self, listed: &Listed, transcript: &Transcript, abilities: &Abilities) -> Result<(), Failure> {
        match (listed.case.script, self) {
            (Script::Shared(script), _) => {
                let endpoint = Endpoint { abilities: abilities.clone(), ..self.endpoint(listed.case.setting)? };
                let mut context = Context::new(endpoint, transcript.clone());
                let result = script(&mut context).and_then(|()| context.no_violations());
                if matches!(self, Subject::External { .. }) {
                    context.end();
                }
                result
            }
            (Script::Owned(_), Subject::Local { .. }) if listed.case.alone => alone::run(&self.name(), listed),
            (Script::Owned(script), Subject::Local { server, .. }) => {
                let mut life = Lifecycle::new(*server, transcript.clone());
                script(&mut life)?;
                life.no_violations()
            }
            (Script::Owned(_), Subject::External { .. }) => Err("needs to start and stop the server".into()),
        }
    }

    /// The instance under `setting`, started now if it is the first time.
    fn endpoint(&self, setting: &'static Setting) -> Result<Endpoint, Failure> {
        let (server, instances) = match self {
            Subject::External { addresses, tls, .. } => {
                let address = addresses.get(setting.name).copied().ok_or("an unknown setting")?;
                return Ok(Endpoint { tls: tls.clone(), ..address.into() });
            }
            Subject::Local { server, instances } => (server, instances),
        };
        let started: Started =
            instances.0.lock().unwrap_or_else(PoisonError::into_inner).entry(setting.name).or_default().clone();
        let started = started.get_or_init(|| {
            let handle =
                server.start(Conformance::new().mount(), setting.config()).map_err(|error| error.to_string())?;
            let front = front::before(&server.info(), handle.local_addrs())?;
            let own = handle.local_addrs().iter().find_map(adapter_core::ListenAddr::tcp);
            let address =
                front.as_ref().map(|front| front.address).or(own).ok_or("the server reports no TCP address")?;
            Ok(Instance { address, parts: Mutex::new(Some((handle, front))) })
        });
        match started {
            Ok(Instance { address, .. }) => {
                let tls = self.is_over_tls().then(secure::client).flatten();
                Ok(Endpoint { tls, ..(*address).into() })
            }
            Err(error) => Err(format!("the server did not start: {error}").into()),
        }
    }
}
