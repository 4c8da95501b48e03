//! Whose word is taken, and which fields of it: the operator's settings as the rules ask for them.

use std::net::{IpAddr, SocketAddr};

use super::{ForwardedAlso, ForwardedFields, ListenAddr, ServerConfig, TrustedProxy};

/// Whom the operator trusts, and with which fields.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    fields: ForwardedFields,
    also: Vec<ForwardedAlso>,
    proxies: Vec<TrustedProxy>,
    hops: Option<u32>,
}

impl Trust {
    /// What `config` says of it.
    pub fn new(config: &ServerConfig) -> Self {
        Trust {
            fields: config.forwarded.clone(),
            also: config.forwarded_also.clone(),
            proxies: config.trusted_proxies.clone(),
            hops: config.trusted_hops,
        }
    }

    /// Peers that are believed of the PROXY protocol, whatever fields there are.
    pub(crate) fn of_peers(proxies: &[TrustedProxy]) -> Self {
        Trust { proxies: proxies.to_vec(), ..Trust::default() }
    }

    /// Whether nobody is believed in anything, so that [`evaluate`](crate::rules::forwarded::evaluate) need not be asked.
    pub fn is_nobody(&self) -> bool {
        (self.proxies.is_empty() && self.hops.is_none()) || self.fields == ForwardedFields::Off
    }

    pub(crate) fn includes(&self, address: IpAddr) -> bool {
        // An IPv4 address may stand in its mapped form on either side.
        let address = address.to_canonical();
        self.proxies.iter().any(|proxy| match proxy {
            TrustedProxy::Ip(ip) => ip.to_canonical() == address,
            TrustedProxy::Network(network) => network.contains(address),
            TrustedProxy::Unix | TrustedProxy::Any => false,
        })
    }

    pub(crate) fn includes_unix(&self) -> bool {
        self.proxies.contains(&TrustedProxy::Unix)
    }

    /// Whether the last hop is trusted. No address on a socket that is not Unix-domain is nobody we know.
    pub(crate) fn includes_hop(&self, peer: Option<SocketAddr>, local: &ListenAddr) -> bool {
        // [HDR-27] counted, not known
        self.hops.is_some()
            || match (peer, local) {
                (Some(peer), _) => self.proxies.contains(&TrustedProxy::Any) || self.includes(peer.ip()),
                (None, ListenAddr::Unix(_)) => self.includes_unix(),
                (None, _) => false,
            }
    }

    pub(crate) fn fields(&self) -> &ForwardedFields {
        &self.fields
    }

    /// Through how many proxies requests come, where they are counted.
    pub(crate) fn hops(&self) -> Option<usize> {
        self.hops.map(|hops| hops as usize)
    }

    pub(crate) fn asks_for(&self, also: ForwardedAlso) -> bool {
        self.also.contains(&also)
    }

    /// Whether it asks for anything besides the client's address.
    pub(crate) fn asks_for_more(&self) -> bool {
        !self.also.is_empty()
    }
}
