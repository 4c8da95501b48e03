//! What went over the connections of a case, in order, for the report of its failure.

use std::sync::{Arc, Mutex, PoisonError};

/// Octets kept of one connection and direction; what comes after is only counted.
const KEPT: usize = 16 * 1024;

/// Which way octets went, or that something else happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the suite to the server.
    Sent,
    /// From the server to the suite.
    Received,
    /// An event of the connection: opened, half-closed, closed, reset, timed out.
    Event,
}

/// A run of octets in one direction.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Number of the connection, from 1.
    pub connection: usize,
    /// Which way.
    pub direction: Direction,
    /// The octets, or the text of an event.
    pub bytes: Vec<u8>,
    /// Octets beyond those kept.
    pub more: usize,
}

#[derive(Default)]
struct Inner {
    connections: usize,
    exchanges: Vec<Exchange>,
}

/// The exchanges of one case; clones share.
#[derive(Clone, Default)]
pub struct Transcript(Arc<Mutex<Inner>>);

impl Transcript {
    /// A number for a new connection.
    pub(super) fn open(&self) -> usize {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.connections += 1;
        inner.connections
    }

    /// Adds octets; runs of the same connection and direction are joined.
    pub(super) fn add(&self, connection: usize, direction: Direction, bytes: &[u8]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.exchanges.last_mut() {
            Some(last)
                if last.connection == connection && last.direction == direction && direction != Direction::Event =>
            {
                let room = KEPT.saturating_sub(last.bytes.len()).min(bytes.len());
                last.bytes.extend_from_slice(&bytes[..room]);
                last.more += bytes.len() - room;
            }
            _ => {
                let kept = bytes.len().min(KEPT);
                let more = bytes.len() - kept;
                inner.exchanges.push(Exchange { connection, direction, bytes: bytes[..kept].to_vec(), more });
            }
        }
    }

    /// Everything so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).exchanges.clone()
    }

    /// For a terminal: one block an exchange, long ones cut.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for exchange in self.exchanges() {
            let mark = match exchange.direction {
                Direction::Sent => ">",
                Direction::Received => "<",
                Direction::Event => "-",
            };
            for line in crate::text::show(&exchange.bytes, 1200).lines() {
                text.push_str(&format!("  {}{mark} {line}\n", exchange.connection));
            }
            if exchange.more > 0 {
                text.push_str(&format!("  {}{mark} … and {} octets more\n", exchange.connection, exchange.more));
            }
        }
        text
    }
}
