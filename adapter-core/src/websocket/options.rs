//! Limits and times of a WebSocket.

use std::time::Duration;

use super::deflate::Agreed;

/// What an application may set, with defaults that bound everything.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) max_message: usize,
    /// `None`: as a message.
    pub(super) max_frame: Option<usize>,
    pub(super) max_write_buffer: usize,
    pub(super) ping_interval: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) send_timeout: Duration,
    pub(super) close_timeout: Duration,
    /// Compression, if that was agreed on.
    pub(super) deflate: Option<Agreed>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_message: 1 << 20,
            max_frame: None,
            max_write_buffer: 1 << 20,
            ping_interval: Some(Duration::from_secs(30)),
            idle_timeout: None,
            send_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
            deflate: None,
        }
    }
}
