//! The WebSocket for blocking code: the same calls, which park their thread instead of a task.
//!
//! Sender and receiver may be two threads. The keeper runs as a task of the server and answers pings meanwhile.

use futures_lite::future::block_on;

use super::message::{Close, Error, Message};
use super::socket;

/// An open WebSocket whose calls block.
///
/// ```
/// use adapter_core::websocket::BlockingWebSocket;
///
/// fn echo(mut socket: BlockingWebSocket) -> Result<(), adapter_core::Error> {
///     while let Some(message) = socket.recv() {
///         socket.send(message?)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct BlockingWebSocket(socket::WebSocket);

impl BlockingWebSocket {
    pub(super) fn new(socket: socket::WebSocket) -> Self {
        BlockingWebSocket(socket)
    }

    /// Blocks until there is a message; `None` once it is closed, also by the shutdown of the server. See
    /// [`WebSocket::recv`](super::WebSocket::recv).
    ///
    /// # Errors
    /// As [`WebSocket::recv`](super::WebSocket::recv).
    pub fn recv(&mut self) -> Option<Result<Message, Error>> {
        block_on(self.0.recv())
    }

    /// Sends a message, and blocks until it is handed to the operating system.
    ///
    /// # Errors
    /// As [`WebSocket::send`](super::WebSocket::send).
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        block_on(self.0.send(message))
    }

    /// Closes, and blocks until the client answers, up to the close timeout.
    ///
    /// # Errors
    /// As [`WebSocket::close`](super::WebSocket::close).
    pub fn close(&mut self, code: u16, reason: &str) -> Result<(), Error> {
        block_on(self.0.close(code, reason))
    }

    /// How it was closed, `None` while it is open. Does not block.
    pub fn closed(&self) -> Option<Close> {
        self.0.closed()
    }

    /// A sender and a receiver, for two threads. The sender can be cloned.
    pub fn split(self) -> (BlockingSender, BlockingReceiver) {
        let (sender, receiver) = self.0.split();
        (BlockingSender(sender), BlockingReceiver(receiver))
    }

    /// The asynchronous WebSocket.
    pub fn into_inner(self) -> super::WebSocket {
        self.0
    }
}

/// The sending side of a [`BlockingWebSocket`]; clones send on the same one.
#[derive(Clone, Debug)]
pub struct BlockingSender(socket::Sender);

impl BlockingSender {
    /// As [`BlockingWebSocket::send`].
    ///
    /// # Errors
    /// As [`WebSocket::send`](super::WebSocket::send).
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        block_on(self.0.send(message))
    }

    /// Sends without blocking; see [`Sender::try_send`](super::Sender::try_send).
    ///
    /// # Errors
    /// As [`WebSocket::send`](super::WebSocket::send).
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.0.try_send(message)
    }

    /// As [`BlockingWebSocket::close`].
    ///
    /// # Errors
    /// As [`WebSocket::close`](super::WebSocket::close).
    pub fn close(&self, code: u16, reason: &str) -> Result<(), Error> {
        block_on(self.0.close(code, reason))
    }

    /// How it was closed, `None` while it is open. Does not block.
    pub fn closed(&self) -> Option<Close> {
        self.0.closed()
    }

    /// The asynchronous sender.
    pub fn into_inner(self) -> super::Sender {
        self.0
    }
}

/// The receiving side of a [`BlockingWebSocket`].
#[derive(Debug)]
pub struct BlockingReceiver(socket::Receiver);

impl BlockingReceiver {
    /// As [`BlockingWebSocket::recv`].
    ///
    /// # Errors
    /// As [`WebSocket::recv`](super::WebSocket::recv).
    pub fn recv(&mut self) -> Option<Result<Message, Error>> {
        block_on(self.0.recv())
    }

    /// How it was closed, `None` while it is open. Does not block.
    pub fn closed(&self) -> Option<Close> {
        self.0.closed()
    }
}
