//! What all requests of one `serve` share.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;

use crate::config::{Believed, ServerConfig};
use crate::contain;
use crate::info::ServerInfo;
use crate::observe::{Observer, Observers};
use crate::pulse::Pulse;
use crate::runtime::Runtime;
use crate::shutdown::{ShutdownLevel, ShutdownTrigger};

/// What all requests of one `serve` share. For servers.
pub struct Serving {
    /// The server, listening.
    pub info: ServerInfo,
    /// Its runtime.
    pub runtime: Runtime,
    /// Its shutdown.
    pub shutdown: ShutdownTrigger,
    /// What the deployer hands over.
    pub values: Extensions,
    /// See [`ServerConfig::mount_prefix`].
    pub mount_prefix: Option<Arc<str>>,
    /// Whose word is taken: see [`ServerConfig::trusted_proxies`], [`ServerConfig::proxy_protocol_sources`].
    pub believed: Believed,
    /// See [`Limits::min_rate`](crate::Limits::min_rate).
    pub min_rate: Option<u32>,
    /// See [`ServerConfig::pulse`]. The runtime's is in it already.
    pub pulse: Option<Pulse>,
    /// See [`ServerConfig::observe`].
    pub(crate) observers: Observers,
    /// Keeps them told of panics.
    _panics: Option<Arc<dyn Fn(&'static str) + Send + Sync>>,
}

impl Serving {
    /// From a configuration and a server that is bound.
    pub fn new(info: ServerInfo, runtime: Runtime, shutdown: ShutdownTrigger, config: &ServerConfig) -> Arc<Self> {
        if let Some(pulse) = &config.pulse {
            let (timers, forced) = (runtime.clone(), shutdown.reached(ShutdownLevel::Forced));
            let beat = pulse.beat_after(move || timers.sleep(Duration::from_millis(1)));
            let until_forced = async {
                forced.await;
            };
            runtime.drive(futures_lite::future::or(until_forced, beat));
        }
        let observers = config.observers.clone();
        let panics = (!observers.is_empty()).then(|| {
            runtime.tasks().watch_jobs(Arc::new(observers.clone()));
            let told = observers.clone();
            contain::tell_of_panics(Arc::new(move |place| told.tell(|one| one.panicked(place))))
        });
        Arc::new(Serving {
            info,
            runtime,
            shutdown,
            values: config.values.clone(),
            mount_prefix: (!config.mount_prefix.is_empty()).then(|| config.mount_prefix.as_str().into()),
            believed: config.believed.clone().unwrap_or_else(|| Believed::new(config)),
            min_rate: config.limits.min_rate,
            pulse: config.pulse.clone(),
            observers,
            _panics: panics,
        })
    }

    /// A connection could not be accepted. Tells the observers; the log is `adapter_listen::complain`'s. For servers.
    #[cold]
    pub fn accept_failed(&self, error: &io::Error) {
        self.observers.tell(|one| one.accept_failed(error));
    }

    /// The drain has begun. Tells the observers. For servers without a [`Lifecycle`](crate::server::Lifecycle). \[OBS-11\]
    #[cold]
    pub fn drain_started(&self) {
        self.observers.tell(Observer::drain_started);
    }

    /// The drain is over. Likewise. \[OBS-11\]
    #[cold]
    pub fn drain_ended(&self, in_time: bool) {
        self.observers.tell(|one| one.drain_ended(in_time));
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("server", &self.info.name).finish_non_exhaustive()
    }
}
