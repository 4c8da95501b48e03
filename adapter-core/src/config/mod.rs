//! One configuration with one meaning on every server.
//!
//! Plain data with safe defaults; [`ServerConfig::validate`] refuses what no server could follow, servers refuse what
//! they can't (\[REG-03\]). Limits and timeouts: LIM-01 to LIM-09, KAP-08.

mod believed;
mod bind;
mod bind_options;
mod proxies;
mod trust;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;

pub use self::believed::Believed;
pub use self::bind::{Bind, InheritedListener, InheritedSocket, ListenAddr, ParseBindError};
pub use self::bind_options::{BindOptions, KeepAlive};
pub use self::proxies::{
    ForwardedAlso, ForwardedFields, Network, ParseForwardedAlsoError, ParseForwardedError, ParseTrustedProxyError,
    TrustedProxy,
};
pub use self::trust::Trust;
use crate::observe::{Observer, Observers};
use crate::pulse::Pulse;
use crate::serve_error::ServeError;
use crate::shutdown::ShutdownTrigger;
use crate::tls::Tls;

/// How a server is to serve.
///
/// ```
/// use std::time::Duration;
/// use adapter_core::ServerConfig;
///
/// let mut config = ServerConfig::default().bind("127.0.0.1:0".parse()?).threads(4);
/// config.timeouts.keep_alive = Some(Duration::from_secs(5));
/// config.limits.body_bytes = Some(1 << 20);
/// config.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where to listen; empty means `127.0.0.1:8080`.
    pub binds: Vec<Bind>,
    /// Threads that run the application: event-loop threads (default: one per core), or the thread pool's upper bound
    /// (default 256).
    pub threads: Option<usize>,
    /// Event-loop servers: threads at most for blocking applications, iterators and files. Default 256.
    pub blocking_threads: usize,
    /// Blocking work that waits at most for a thread; beyond it the answer is 503. Default 8192.
    pub blocking_queue: usize,
    /// Sizes and counts.
    pub limits: Limits,
    /// Durations.
    pub timeouts: Timeouts,
    /// Whether connections persist at all (\[KAP-12\]). Default true.
    pub keep_alive: bool,
    /// Peers whose forwarded fields are believed (\[HDR-17b\]). Default: none.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Which fields those are (\[HDR-21\]). Default: `X-Forwarded-For` and `X-Forwarded-Proto`.
    pub forwarded: ForwardedFields,
    /// What else is believed of what they write (\[HDR-28\]). Default: nothing.
    pub forwarded_also: Vec<ForwardedAlso>,
    /// How many proxies a request comes through, where nobody knows their addresses: as many elements of the forwarded fields
    /// are believed, whoever connects, and nothing where there are fewer (\[HDR-27\]). Clients must not reach the server past them. Instead of
    /// [`trusted_proxies`](Self::trusted_proxies). Default: `None`.
    pub trusted_hops: Option<u32>,
    /// Who may speak on listeners marked by [`Bind::with_proxy_protocol`], and is believed in whom it speaks for (\[PRX-02\]).
    /// Default: none, which stands for [`trusted_proxies`](Self::trusted_proxies).
    pub proxy_protocol_from: Vec<TrustedProxy>,
    /// The rules of the five fields before, for who changes them while the server serves: what is in it holds, and they do not.
    /// Default: one of the server's own.
    pub believed: Option<Believed>,
    /// Prefix of the path under which the application is mounted: empty or `/x`, never ending in `/` (\[ENV-05\]).
    pub mount_prefix: String,
    /// Values the deployer hands to the application, see [`Environ::deployed`](crate::Environ::deployed) (\[ENV-10\]).
    pub values: Extensions,
    /// See [`observe`](Self::observe).
    pub(crate) observers: Observers,
    /// TLS for the listeners that are to have it: those marked by [`Bind::with_tls`], or all where none is marked. Default: none.
    pub tls: Option<Tls>,
    /// What stops the server, for who wants to do that while it still starts; [`ServerHandle::trigger`](crate::ServerHandle::trigger)
    /// is the same one then. Default: one of the server's own.
    pub trigger: Option<ShutdownTrigger>,
    /// Whoever watches whether the server lives. Default: nobody.
    pub pulse: Option<Pulse>,
    /// Settings only one server knows, by name; a server refuses those it does not know (\[REG-03\]).
    pub options: BTreeMap<String, String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            binds: Vec::new(),
            threads: None,
            blocking_threads: 256,
            blocking_queue: 8192,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            keep_alive: true,
            trusted_proxies: Vec::new(),
            forwarded: ForwardedFields::default(),
            forwarded_also: Vec::new(),
            trusted_hops: None,
            proxy_protocol_from: Vec::new(),
            believed: None,
            mount_prefix: String::new(),
            values: Extensions::new(),
            observers: Observers::default(),
            tls: None,
            trigger: None,
            pulse: None,
            options: BTreeMap::new(),
        }
    }
}

impl ServerConfig {
    /// Listens on `bind` too.
    #[must_use]
    pub fn bind(mut self, bind: Bind) -> Self {
        self.binds.push(bind);
        self
    }

    /// Runs the application on at most `threads` threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Hands `value` to the application. \[ENV-10\]
    #[must_use]
    pub fn value<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.values.insert(value);
        self
    }

    /// Tells `observer`, and those that were named before, what the server does.
    #[must_use]
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers = self.observers.and(observer);
        self
    }

    /// Takes the observers away, in their order: for who puts one in between.
    pub fn take_observers(&mut self) -> Vec<Arc<dyn Observer>> {
        std::mem::take(&mut self.observers).into_iter().collect()
    }

    /// Speaks TLS on the listeners that are marked by [`Bind::with_tls`], or on all where none is.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Where to listen, with the default filled in; with TLS and no listener marked for it, all are.
    pub fn binds_or_default(&self) -> Vec<Bind> {
        let binds = if self.binds.is_empty() {
            vec![Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))]
        } else {
            self.binds.clone()
        };
        if self.is_tls_everywhere(binds.iter().map(|bind| bind.options().tls)) {
            binds.into_iter().map(Bind::with_tls).collect()
        } else {
            binds
        }
    }

    /// Whether there is TLS, and none of the listeners is `marked` for it, so that all are to have it.
    pub fn is_tls_everywhere(&self, marked: impl IntoIterator<Item = bool>) -> bool {
        self.tls.is_some() && !marked.into_iter().any(|marked| marked)
    }

    /// Who may speak on listeners with the PROXY protocol: [`proxy_protocol_from`](Self::proxy_protocol_from), or else
    /// [`trusted_proxies`](Self::trusted_proxies).
    pub fn proxy_protocol_sources(&self) -> &[TrustedProxy] {
        if self.proxy_protocol_from.is_empty() { &self.trusted_proxies } else { &self.proxy_protocol_from }
    }

    /// Refuses a listener, told by `place`, with the PROXY protocol from nobody: it could serve nobody. For servers.
    ///
    /// # Errors
    /// [`ServeError::Config`]. \[PRX-02\]
    pub fn check_proxy_protocol(&self, place: impl fmt::Display) -> Result<(), ServeError> {
        if self.proxy_protocol_sources().is_empty() {
            let reason = format!("has to name the proxies that may speak on {place}, as none are trusted");
            return Err(ServeError::config("proxy_protocol_from", reason));
        }
        Ok(())
    }

    /// Refuses settings no server could follow.
    ///
    /// # Errors
    /// [`ServeError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), ServeError> {
        let counts = [
            ("threads", self.threads.unwrap_or(1)),
            ("blocking_threads", self.blocking_threads),
            ("limits.header_count", self.limits.header_count),
            ("limits.target_bytes", self.limits.target_bytes),
            ("limits.connections", self.limits.connections),
            ("limits.handshakes", self.limits.handshakes),
            ("limits.min_rate", self.limits.min_rate.unwrap_or(1) as usize),
        ];
        for (setting, value) in counts {
            if value == 0 {
                return Err(ServeError::config(setting, "must be at least 1"));
            }
        }
        if self.limits.head_bytes < 8192 {
            return Err(ServeError::config("limits.head_bytes", "must be at least 8192"));
        }
        // A limit that can't be kept would be found out by a client.
        let most = [
            ("limits.head_bytes", self.limits.head_bytes, Limits::MOST_HEAD_BYTES),
            ("limits.header_count", self.limits.header_count, Limits::MOST_HEADERS),
            ("limits.target_bytes", self.limits.target_bytes, Limits::MOST_TARGET_BYTES),
        ];
        for (setting, value, most) in most {
            if value > most {
                return Err(ServeError::config(setting, format!("must be at most {most}")));
            }
        }
        if self.threads.is_some_and(|threads| threads > 4096) || self.blocking_threads > 4096 {
            return Err(ServeError::config("threads", "more than 4096 threads"));
        }
        let durations = [
            ("timeouts.header_read", self.timeouts.header_read),
            ("timeouts.tls_handshake", self.timeouts.tls_handshake),
            ("timeouts.keep_alive", self.timeouts.keep_alive),
            ("timeouts.body_read", self.timeouts.body_read),
            ("timeouts.write", self.timeouts.write),
            ("timeouts.handler", self.timeouts.handler),
        ];
        for (setting, value) in durations {
            if value.is_some_and(|value| value.is_zero()) {
                return Err(ServeError::config(setting, "must not be zero (None, or \"off\", for no limit)"));
            }
        }
        if self.tls.is_none()
            && let Some(bind) = self.binds.iter().find(|bind| bind.options().tls)
        {
            return Err(ServeError::config("tls", format!("there are no certificates for {bind}")));
        }
        self.binds.iter().try_for_each(Bind::check)?;
        self.check_proxies()?;
        let prefix = &self.mount_prefix;
        if !prefix.is_empty() && (!prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['?', '#', ' ']))
        {
            return Err(ServeError::config("mount_prefix", "must be empty or begin with \"/\" and not end with it"));
        }
        Ok(())
    }

    /// Refuses what [`validate`](Self::validate) refuses of the rules for proxies.
    fn check_proxies(&self) -> Result<(), ServeError> {
        match self.trusted_hops {
            Some(0) => return Err(ServeError::config("trusted_hops", "must be at least 1")),
            Some(_) if !self.trusted_proxies.is_empty() => {
                return Err(ServeError::config(
                    "trusted_hops",
                    "proxies are counted or listed (trusted_proxies), not both",
                ));
            }
            _ => {}
        }
        let announced = self.binds.iter().find(|bind| bind.options().proxy);
        announced.map_or(Ok(()), |bind| self.check_proxy_protocol(bind))
    }

    /// Refuses options that are not in `known`. For servers. \[REG-03\]
    ///
    /// # Errors
    /// [`ServeError::Config`] naming the first unknown option.
    pub fn refuse_unknown_options(&self, server: &str, known: &[&str]) -> Result<(), ServeError> {
        match self.options.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(ServeError::config(name, format!("the server {server:?} has no such option (it has: {known})")))
            }
        }
    }
}

/// Sizes and counts a server enforces.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request head, request line included; beyond it 431 (\[LIM-01\]). Default 64 KiB, at least 8 KiB and at
    /// most [`MOST_HEAD_BYTES`](Self::MOST_HEAD_BYTES).
    pub head_bytes: usize,
    /// Header lines of a request; beyond it 431 (\[LIM-02\]). Default 100, at most [`MOST_HEADERS`](Self::MOST_HEADERS).
    pub header_count: usize,
    /// Bytes of a request target; beyond it 414 (\[TGT-24\]). Default 16 KiB, at most
    /// [`MOST_TARGET_BYTES`](Self::MOST_TARGET_BYTES).
    pub target_bytes: usize,
    /// Bytes of a request body; beyond it 413 (\[LIM-03\]). Default 1 GiB; `None`: no limit.
    pub body_bytes: Option<u64>,
    /// Connections open at once; beyond it the next one waits in the listen backlog (\[LIM-07\]). Default 16 384.
    pub connections: usize,
    /// Requests served on one connection before it is closed (\[KAP-12\]). Default `None`: no limit.
    pub requests_per_connection: Option<u64>,
    /// TLS handshakes that go on at once; beyond it a connection waits for its turn, within
    /// [`Timeouts::tls_handshake`]. Default 16 384, as many as connections: a client that begins one and says no more holds its
    /// place up to that timeout, so a lower number is for servers that are short of memory and whose clients are known.
    pub handshakes: usize,
    /// Octets a second that a client has to send of a body that blocking code waits for, on average and with 5 s to begin; then
    /// the read fails as [`RequestBodyError::TimedOut`](crate::RequestBodyError::TimedOut) (\[LIM-12\]). Each such client holds a
    /// thread. What it sends faster earns it pauses of up to a minute. Async code is not meant: only
    /// [`Timeouts::body_read`] ends its wait. Default 240; `None`: no limit.
    pub min_rate: Option<u32>,
}

impl Limits {
    /// A head beyond 16 MiB is for every server as good as none: 10,000 clients would take 160 GB.
    pub const MOST_HEAD_BYTES: usize = 16 << 20;
    /// An [`http::HeaderMap`] ends at 24,576 fields, and panics; servers and middleware add to those of the client.
    pub const MOST_HEADERS: usize = 16_384;
    /// An [`http::Uri`] ends there.
    pub const MOST_TARGET_BYTES: usize = 65_534;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_bytes: 64 * 1024,
            header_count: 100,
            target_bytes: 16 * 1024,
            body_bytes: Some(1 << 30),
            connections: 16_384,
            requests_per_connection: None,
            handshakes: 16_384,
            min_rate: Some(240),
        }
    }
}

/// Durations a server enforces; `None` means no limit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the accept, or from the first byte of a later request, to the end of its head (\[LIM-04\]), the header of the PROXY
    /// protocol in front of it included (\[PRX-09\]). Default 30 s.
    pub header_read: Option<Duration>,
    /// From the accept to the end of the TLS handshake (\[TLS-03\]). Default 10 s.
    pub tls_handshake: Option<Duration>,
    /// A connection without a request (\[KAP-08\]). Default 75 s.
    pub keep_alive: Option<Duration>,
    /// Between two pieces of a request body the application waits for (\[LIM-05\]). Default 60 s.
    pub body_read: Option<Duration>,
    /// Between two pieces of a response the client takes (\[LIM-06\]). Default 60 s.
    pub write: Option<Duration>,
    /// From the call of the application to its response; then 503 (\[LIM-09\]). Default `None`.
    pub handler: Option<Duration>,
    /// From the start of a shutdown until what still runs, responses and spawned tasks, is dropped (\[SHU-06\],
    /// \[RTM-05b\]). Default 30 s; zero: at once.
    pub graceful_shutdown: Duration,
    /// For the startup hook, and again for the shutdown hook (\[LIF-07\]). Default 60 s.
    pub hooks: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            header_read: Some(Duration::from_secs(30)),
            tls_handshake: Some(Duration::from_secs(10)),
            keep_alive: Some(Duration::from_secs(75)),
            body_read: Some(Duration::from_secs(60)),
            write: Some(Duration::from_secs(60)),
            handler: None,
            graceful_shutdown: Duration::from_secs(30),
            hooks: Some(Duration::from_secs(60)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_settings_are_named() {
        let config = ServerConfig { mount_prefix: "/x/".into(), ..ServerConfig::default() };
        assert!(config.validate().unwrap_err().to_string().starts_with("mount_prefix:"));
        let mut config = ServerConfig::default();
        config.timeouts.write = Some(Duration::ZERO);
        assert!(config.validate().unwrap_err().to_string().starts_with("timeouts.write:"));
        assert!(ServerConfig::default().threads(0).validate().is_err());
        let refused = |change: fn(&mut Limits)| {
            let mut config = ServerConfig::default();
            change(&mut config.limits);
            config.validate().map_err(|error| error.to_string()).unwrap_err()
        };
        assert_eq!(refused(|it| it.header_count = 40_000), "limits.header_count: must be at most 16384");
        assert_eq!(refused(|it| it.target_bytes = 65_535), "limits.target_bytes: must be at most 65534");
        assert_eq!(refused(|it| it.head_bytes = usize::MAX), "limits.head_bytes: must be at most 16777216");
        config = ServerConfig::default().bind(":443,tls".parse().unwrap());
        assert_eq!(config.validate().unwrap_err().to_string(), "tls: there are no certificates for :443,tls");
        config = ServerConfig::default().bind(":80,proxy".parse().unwrap());
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "proxy_protocol_from: has to name the proxies that may speak on :80,proxy, as none are trusted"
        );
        config.trusted_proxies = vec![TrustedProxy::Unix];
        assert!(config.validate().is_ok() && config.proxy_protocol_sources() == [TrustedProxy::Unix]);
        config.proxy_protocol_from = vec![[10, 0, 0, 1].into()];
        assert_eq!(config.proxy_protocol_sources(), [[10, 0, 0, 1].into()]);
        config = ServerConfig::default();
        config.options.insert("colour".into(), "red".into());
        let message = config.refuse_unknown_options("hyper", &["http2"]).unwrap_err().to_string();
        assert_eq!(message, "colour: the server \"hyper\" has no such option (it has: http2)");
    }
    #[derive(Debug)]
    struct NoTls;

    impl crate::tls::Acceptor for NoTls {
        fn accept(&self, _http2: bool) -> Box<dyn crate::tls::Session> {
            unreachable!("nobody connects")
        }

        fn reload(&self) -> Result<(), crate::Error> {
            Ok(())
        }
    }

    #[test]
    fn tls_is_for_those_who_are_marked_or_for_all() {
        let told = |binds: &[&str], tls: bool| {
            let binds = binds.iter().map(|bind| bind.parse().unwrap()).collect();
            let mut config = ServerConfig { binds, ..ServerConfig::default() };
            if tls {
                config = config.tls(Tls::new(NoTls));
            }
            config.binds_or_default().iter().map(Bind::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&[], false), ["127.0.0.1:8080"]);
        assert_eq!(told(&[], true), ["127.0.0.1:8080,tls"]);
        assert_eq!(told(&[":80", ":81"], true), [":80,tls", ":81,tls"]);
        assert_eq!(told(&[":80", ":443,tls"], true), [":80", ":443,tls"]);
    }
}
