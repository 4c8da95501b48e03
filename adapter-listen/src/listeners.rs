//! Where a server inside of a program listens: anything from one `std` listener to a list of addresses.
//!
//! Binding is on the caller's thread, at the latest when the server starts.

use std::net::TcpListener;

use adapter_core::server::{Bind, ListenAddr, ServeError, ServerConfig};

use super::{Listener, bind_all};

/// What the embedded entries of the servers take: a `TcpListener` or `UnixListener` of `std`, a [`Bind`], or an array or a
/// `Vec` of one kind of them; for several kinds, of `Bind`s, which each of them becomes.
///
/// [`bind`](Self::bind) tells the addresses before anything is served, for who asks for port 0:
///
/// ```
/// use adapter_core::Bind;
/// use adapter_listen::Listeners;
///
/// let listeners = Listeners::bind(["127.0.0.1:0".parse::<Bind>()?, "[::1]:0".parse()?])?;
/// let first = listeners.local_addrs().remove(0);
/// assert_ne!(first.tcp().unwrap().port(), 0);
///
/// let own = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # #[cfg(unix)] {
/// # let folder = std::env::temp_dir().join(format!("listeners-{}", std::process::id()));
/// let unix = std::os::unix::net::UnixListener::bind(&folder)?;
/// let both: Listeners = vec![Bind::from(own), Bind::from(unix)].into();
/// # std::fs::remove_file(folder)?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Listeners {
    bound: Vec<Listener>,
    binds: Vec<Bind>,
}

impl Listeners {
    /// Binds all of `listeners` that are not yet. Resolves nothing, and blocks as binding does: a moment.
    ///
    /// # Errors
    /// [`ServeError::Bind`] for the first address that can't be bound. \[SHU-11\]
    pub fn bind(listeners: impl Into<Listeners>) -> Result<Self, ServeError> {
        let Listeners { mut bound, binds } = listeners.into();
        bound.extend(bind_all(&binds, false)?);
        Ok(Listeners { bound, binds: Vec::new() })
    }

    /// The addresses of those that are bound, with the actual ports; empty before [`bind`](Self::bind). A host may have
    /// several. \[LIF-05\]
    pub fn local_addrs(&self) -> Vec<ListenAddr> {
        self.bound.iter().map(|listener| listener.addr().clone()).collect()
    }

    /// All of them, bound. Where `config` has TLS and none of them is marked for it, all are. For servers.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and [`ServeError::Config`] if there are none, or one is marked for TLS that `config` does
    /// not have, or for the PROXY protocol from nobody.
    pub fn into_bound(self, config: &ServerConfig) -> Result<Vec<Listener>, ServeError> {
        let mut bound = Listeners::bind(self)?.bound;
        if bound.is_empty() {
            return Err(ServeError::config("listeners", "there are none"));
        }
        if config.is_tls_everywhere(bound.iter().map(Listener::tls)) {
            bound.iter_mut().for_each(|listener| listener.options.tls = true);
        }
        if let Some(listener) = bound.iter().find(|listener| listener.proxy()) {
            config.check_proxy_protocol(format_args!("{},proxy", listener.addr()))?;
        }
        match bound.iter().find(|listener| listener.tls() && config.tls.is_none()) {
            Some(listener) => {
                Err(ServeError::config("tls", format!("there are no certificates for {},tls", listener.addr())))
            }
            None => Ok(bound),
        }
    }
}

impl From<Bind> for Listeners {
    fn from(bind: Bind) -> Self {
        Listeners { bound: Vec::new(), binds: vec![bind] }
    }
}

impl From<TcpListener> for Listeners {
    fn from(listener: TcpListener) -> Self {
        Bind::from(listener).into()
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for Listeners {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Bind::from(listener).into()
    }
}

impl<T: Into<Bind>> From<Vec<T>> for Listeners {
    fn from(listeners: Vec<T>) -> Self {
        listeners.into_iter().collect()
    }
}

impl<T: Into<Bind>, const N: usize> From<[T; N]> for Listeners {
    fn from(listeners: [T; N]) -> Self {
        listeners.into_iter().collect()
    }
}

impl<T: Into<Bind>> FromIterator<T> for Listeners {
    fn from_iter<I: IntoIterator<Item = T>>(listeners: I) -> Self {
        Listeners { bound: Vec::new(), binds: listeners.into_iter().map(Into::into).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_for_tls_needs_tls() {
        let listeners = |texts: &[&str]| texts.iter().map(|text| text.parse::<Bind>().unwrap()).collect::<Listeners>();
        let config = ServerConfig::default();
        let bound = listeners(&["127.0.0.1:0"]).into_bound(&config).unwrap();
        assert!(!bound[0].tls());
        let refused = listeners(&["127.0.0.1:0", "127.0.0.1:0,tls"]).into_bound(&config).unwrap_err().to_string();
        assert!(refused.starts_with("tls: there are no certificates for 127.0.0.1:"), "{refused}");
        let bound = bind_all(&["127.0.0.1:0,tls".parse().unwrap()], true).unwrap();
        assert!(bound[0].tls() && bound[0].sibling().unwrap().tls());
    }

    #[test]
    fn a_mark_for_the_proxy_protocol_needs_proxies() {
        let listeners = || Listeners::from("127.0.0.1:0,proxy".parse::<Bind>().unwrap());
        let mut config = ServerConfig::default();
        let refused = listeners().into_bound(&config).unwrap_err().to_string();
        assert!(refused.starts_with("proxy_protocol_from: has to name"), "{refused}");
        config.trusted_proxies = vec![[127, 0, 0, 1].into()];
        let bound = listeners().into_bound(&config).unwrap();
        assert!(bound[0].proxy() && !bound[0].tls() && bound[0].sibling().unwrap().proxy());
    }
}
