//! What only cases about TLS want of a connection: what was agreed on, how it was refused, how it ended. Feature `tls`.

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::tls::{Agreed, Ended};
use super::{Connection, patience};
use crate::case::{Failure, ensure};

impl Connection {
    /// Waits for the handshake, and says what it agreed on.
    ///
    /// # Errors
    /// It fails, or there is no TLS.
    pub(crate) fn agreed(&mut self) -> Result<Agreed, Failure> {
        self.stream.open(patience());
        let session = self.stream.session.as_ref().ok_or("no TLS on this connection")?;
        let failed = || {
            format!(
                "the handshake failed: {}",
                session.failure().map_or("it was cut".into(), |error| error.to_string())
            )
        };
        session.agreed().ok_or_else(|| failed().into())
    }

    /// Waits until the server refuses to go on, and says by which alert.
    ///
    /// # Errors
    /// It does not, or without one.
    pub(crate) fn alert(&mut self) -> Result<String, Failure> {
        self.stream.open(patience());
        // TLS 1.3 lets a client speak before it is refused.
        let answer = self.rest()?;
        ensure!(answer.is_empty(), "octets came: {}", crate::text::show(&answer, 200));
        let failure = self.stream.session.as_ref().and_then(|session| session.failure());
        match failure {
            Some(rustls::Error::AlertReceived(alert)) => Ok(format!("{alert:?}")),
            Some(other) => Err(format!("no alert, but: {other}").into()),
            None => Err("the connection was closed without an alert".into()),
        }
    }

    /// Whether the server has let the client speak before the handshake had ended.
    pub(crate) fn took_early_data(&self) -> bool {
        self.stream.session.as_ref().is_some_and(|session| session.took_early_data())
    }

    /// Ends the client's direction without close_notify.
    pub(crate) fn cut(&mut self) {
        let _ = self.stream.socket.shutdown(Shutdown::Write);
    }

    /// The server ends its side by close_notify, says nothing before it, and ends its stream behind it.
    ///
    /// # Errors
    /// It does something else.
    pub(crate) fn ends_in_order(&mut self) -> Result<(), Failure> {
        self.closed()?;
        ensure!(self.stream.ended() == Some(Ended::Closed), "the connection ended without close_notify");
        let deadline = Instant::now() + patience();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "the connection stays open behind close_notify");
            let _ = self.stream.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))));
            match self.stream.socket.read(&mut [0; 1024]) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err("octets behind close_notify".into()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Err("a reset behind close_notify".into());
                }
                Err(_) => {}
            }
        }
    }

    /// The server's side has ended, and not by close_notify.
    ///
    /// # Errors
    /// It has.
    pub(crate) fn ended_broken(&mut self) -> Result<(), Failure> {
        self.rest()?;
        ensure!(self.stream.ended() != Some(Ended::Closed), "what was broken off ended by close_notify");
        Ok(())
    }
}
