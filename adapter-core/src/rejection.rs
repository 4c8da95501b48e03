//! Why a request is answered by the server alone.

use http::StatusCode;

/// Why a request is answered by the server alone. The connection is closed after the answer where its end is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong, in a few words; the body of the answer.
    pub reason: &'static str,
    /// The requirement it breaks.
    pub requirement: &'static str,
}

impl Rejection {
    /// A rejection of a server's own, for what it finds while it parses.
    pub const fn new(status: StatusCode, requirement: &'static str, reason: &'static str) -> Self {
        Rejection { status, reason, requirement }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}] {}", self.status.as_u16(), self.requirement, self.reason)
    }
}
