//! Rules of trust that change while a server serves.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{ListenAddr, ServerConfig, Trust};
use crate::serve_error::ServeError;

/// Whose word a server takes: the trusted proxies, their fields, and who may speak the PROXY protocol. Cheap to clone; all clones
/// are one.
///
/// For who changes that while the server serves, such as by SIGHUP: it is [`ServerConfig::believed`] from the start on. Connections go
/// on, and their next request is read by the new rules; whom the PROXY protocol has announced on them stays.
///
/// ```
/// use adapter_core::{ServerConfig, server::Believed};
///
/// let mut config = ServerConfig::default();
/// let believed = Believed::new(&config);
/// config.believed = Some(believed.clone());
/// // … serve with it; later:
/// config.trusted_proxies = vec!["10.0.0.0/8".parse()?];
/// believed.set(&config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Believed(Arc<Inner>);

struct Inner {
    /// Whether nobody's fields are believed, which is most servers', and asked for each request.
    is_nobody: AtomicBool,
    rules: RwLock<Rules>,
}

struct Rules {
    /// Of fields.
    forwarded: Trust,
    /// Of the PROXY protocol.
    announcing: Trust,
}

impl Rules {
    fn new(config: &ServerConfig) -> Self {
        Rules { forwarded: Trust::new(config), announcing: Trust::of_peers(config.proxy_protocol_sources()) }
    }
}

impl Believed {
    /// What `config` says of it: `trusted_proxies`, `forwarded`, `forwarded_also`, `trusted_hops`, `proxy_protocol_from`.
    pub fn new(config: &ServerConfig) -> Self {
        let rules = Rules::new(config);
        Believed(Arc::new(Inner { is_nobody: rules.forwarded.is_nobody().into(), rules: RwLock::new(rules) }))
    }

    /// From now on what `config` says of it. Its other settings change nothing. Does not block for longer than a request's fields
    /// are read.
    ///
    /// # Errors
    /// [`ServeError::Config`] where [`ServerConfig::validate`] would refuse these settings, with the addresses that `config` binds; the
    /// rules from before hold.
    pub fn set(&self, config: &ServerConfig) -> Result<(), ServeError> {
        config.check_proxies()?;
        let rules = Rules::new(config);
        let mut current = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        // Who reads it too early or too late has the rules from before for one more request.
        self.0.is_nobody.store(rules.forwarded.is_nobody(), Ordering::Relaxed);
        *current = rules;
        Ok(())
    }

    /// Whether nobody's fields are believed.
    #[inline]
    pub(crate) fn is_nobody(&self) -> bool {
        self.0.is_nobody.load(Ordering::Relaxed)
    }

    /// What `read` makes of the rules for fields.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Trust) -> T) -> T {
        read(&self.0.rules.read().unwrap_or_else(PoisonError::into_inner).forwarded)
    }

    /// Whether the peer may speak the PROXY protocol.
    pub(crate) fn may_announce(&self, peer: Option<SocketAddr>, local: &ListenAddr) -> bool {
        self.0.rules.read().unwrap_or_else(PoisonError::into_inner).announcing.includes_hop(peer, local)
    }
}

impl fmt::Debug for Believed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Believed").field(&self.with(Trust::clone)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_change_for_all_who_hold_them_or_not_at_all() {
        let mut config = ServerConfig::default();
        let believed = Believed::new(&config);
        let servers = believed.clone();
        let (peer, local) = (Some(([10, 0, 0, 1], 9).into()), ListenAddr::Tcp(([127, 0, 0, 1], 80).into()));
        let holds = || (servers.is_nobody(), servers.may_announce(peer, &local));
        assert_eq!(holds(), (true, false));
        config.trusted_proxies = vec![[10, 0, 0, 1].into()];
        assert_eq!(believed.set(&config).map(|()| holds()).ok(), Some((false, true)));
        config.proxy_protocol_from = vec![[10, 0, 0, 2].into()];
        assert_eq!(believed.set(&config).map(|()| holds()).ok(), Some((false, false)));
        config.trusted_hops = Some(1);
        assert!(believed.set(&config).is_err());
        assert_eq!(holds(), (false, false));
        // Nobody would be left to speak there.
        let mut config = ServerConfig::default().bind("127.0.0.1:80,proxy".parse().expect("an address"));
        assert!(believed.set(&config).is_err());
        config.trusted_hops = Some(2);
        assert!(believed.set(&config).is_err());
        config.binds.clear();
        assert_eq!(believed.set(&config).map(|()| holds()).ok(), Some((false, false)));
    }
}
