//! `--metrics-bind`: what a server does, for who scrapes it, and whether it serves, for who balances load.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | the counts, as Prometheus text 0.0.4, or as OpenMetrics 1.0 where `Accept` prefers that |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 while the server serves; 503 before that, and from the begin of a drain, or of its delay, on |
//!
//! One thread of its own (`adapter-metrics`) answers over listeners of its own: it is asked when all threads of the server are busy.
//! It never blocks but in `poll`, has a few connections at most, and gives each a few seconds; one too many takes the place of the
//! oldest.
//!
//! In an upgrade (SIGUSR2) the new process gets the listeners with the others, and answers from when it serves; the old one
//! lets go of them then.

mod endpoint;
mod page;
mod request;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use self::endpoint::{Endpoint, Site};
pub(crate) use self::page::About;

/// Whether requests are to be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Starting,
    Serving,
    Draining,
}

impl Readiness {
    fn name(self) -> &'static str {
        match self {
            Readiness::Starting => "starting",
            Readiness::Serving => "serving",
            Readiness::Draining => "draining",
        }
    }
}
