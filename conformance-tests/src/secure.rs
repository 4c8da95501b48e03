//! TLS of the servers under test: who makes it, and the whole suite over it.
//!
//! The suite knows no library for TLS on the server's side, so that every server stands on equal footing: a program
//! [gives](provide) a function that makes [`Tls`] of the suite's certificates, as `own_tls::make` does with adapter-tls. Both
//! settings are the process's, and made before anything runs. The client's side, and with it the cases about TLS, is the
//! feature `tls`.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use adapter_core::tls::Tls;

use crate::wire::Client;

/// What TLS is to be like. Files are in PEM.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Certificate chains and their keys. A client gets the one of the name it asks for, else the first.
    pub identities: Vec<(PathBuf, PathBuf)>,
    /// The authority for certificates of clients; they are not asked for one where there is none.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must have one.
    pub client_required: bool,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
}

/// Makes TLS for a server; an error is for people.
pub type Maker = fn(&Terms) -> Result<Tls, String>;

static MAKER: OnceLock<Maker> = OnceLock::new();
static EVERYWHERE: AtomicBool = AtomicBool::new(false);

/// Servers get the TLS that `maker` makes. Only the first call of a process counts. Without one, cases about TLS are skipped.
pub fn provide(maker: Maker) {
    let _ = MAKER.set(maker);
}

/// Makes the TLS of the suite's own servers, which else is made when it is first needed.
///
/// # Errors
/// There is no TLS to be had in this build.
pub fn ready() -> Result<(), String> {
    config().map(drop)
}

/// Runs the whole suite over TLS: every server of the suite's own is started with it, and its clients speak it.
///
/// # Errors
/// There is no TLS to be had in this build.
pub fn everywhere() -> Result<(), String> {
    ready()?;
    EVERYWHERE.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether the whole suite runs over TLS.
pub(crate) fn is_everywhere() -> bool {
    EVERYWHERE.load(Ordering::Relaxed)
}

/// Whether servers can be given any.
pub(crate) fn is_provided() -> bool {
    MAKER.get().is_some()
}

/// TLS by the terms.
pub(crate) fn make(terms: &Terms) -> Result<Tls, String> {
    MAKER.get().ok_or("nobody has given the suite TLS for servers")?(terms)
}

/// TLS for servers of the suite that are about something else, one for the process.
pub(crate) fn config() -> Result<Tls, String> {
    static MADE: OnceLock<Result<Tls, String>> = OnceLock::new();
    MADE.get_or_init(|| make(&Terms { identities: vec![identity()?], ..Terms::default() })).clone()
}

/// What clients of such a server speak.
#[cfg(feature = "tls")]
pub(crate) fn client() -> Option<Client> {
    Some(Client::trusting(crate::certificates::authority().ok()?.der()).name(crate::certificates::NAME))
}

#[cfg(feature = "tls")]
fn identity() -> Result<(PathBuf, PathBuf), String> {
    let authority = crate::certificates::authority()?;
    authority.write("suite", &authority.sign(&[crate::certificates::NAME, "127.0.0.1"])?)
}

/// There are none without the feature `tls`.
#[cfg(not(feature = "tls"))]
pub(crate) fn client() -> Option<Client> {
    None
}

#[cfg(not(feature = "tls"))]
fn identity() -> Result<(PathBuf, PathBuf), String> {
    Err("this build of the suite has no TLS (feature tls)".into())
}
