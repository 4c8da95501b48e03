//! Whose cryptography: what the features of this build say, never the default of the process.
//!
//! rustls panics where a process has two of them and names none; so every configuration here names its own.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

/// Primitives, and tickets made with them.
pub(crate) struct Provider {
    pub(crate) crypto: Arc<CryptoProvider>,
    pub(crate) ticketer: fn() -> Result<Arc<dyn ProducesTickets>, rustls::Error>,
}

/// `None` in a build with neither of the features.
#[cfg(feature = "aws-lc-rs")]
pub(crate) fn provider() -> Option<Provider> {
    use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
    Some(Provider { crypto: Arc::new(default_provider()), ticketer: Ticketer::new })
}

/// `None` in a build with neither of the features.
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub(crate) fn provider() -> Option<Provider> {
    use rustls::crypto::ring::{Ticketer, default_provider};
    Some(Provider { crypto: Arc::new(default_provider()), ticketer: Ticketer::new })
}

/// `None` in a build with neither of the features.
#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
pub(crate) fn provider() -> Option<Provider> {
    None
}
