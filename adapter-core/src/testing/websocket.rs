//! The client's end of a WebSocket: the calls of [`BlockingWebSocket`](crate::websocket::BlockingWebSocket), with the
//! client's patience.

use std::fmt;

use http::response;

use super::answer::Answer;
use super::client::{Client, RequestBuilder};
use crate::websocket::{self, Close, Error, Message};

/// An open WebSocket to the application under test. Made by [`RequestBuilder::websocket`].
///
/// It is the same implementation as at the other end, as a client: pings are answered beside it, dropping it closes with
/// 1000, and [`Close::by_peer`] means the application or its server.
pub struct WebSocket {
    client: Client,
    head: response::Parts,
    socket: websocket::WebSocket,
}

impl RequestBuilder {
    /// Sends it as a handshake and gives the WebSocket. Blocks; the application is polled on this thread until it has
    /// answered.
    ///
    /// ```
    /// use adapter_core::websocket::{self, Upgrade};
    /// use adapter_core::{Environ, Error, Request, Response, testing::Client};
    ///
    /// async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
    ///     Ok(Upgrade::from_request(&request, &environ)?.accept(|mut socket| async move {
    ///         while let Some(message) = socket.recv().await {
    ///             socket.send(message?).await?;
    ///         }
    ///         Ok::<_, websocket::Error>(())
    ///     })?)
    /// }
    ///
    /// let mut socket = Client::new(echo).get("/").websocket().unwrap();
    /// socket.send("hello")?;
    /// assert_eq!(socket.recv().unwrap()?.as_text(), Some("hello"));
    /// socket.close(1000, "")?;
    /// # Ok::<_, websocket::Error>(())
    /// ```
    ///
    /// With a header `sec-websocket-extensions: permessage-deflate`, compression is used where the application agrees to it, and its
    /// feature is on.
    ///
    /// # Errors
    /// The answer that denies it.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub fn websocket(self) -> Result<WebSocket, Box<Answer>> {
        let client = self.client.clone();
        let asked = self.header("upgrade", "websocket").header("connection", "Upgrade");
        // RFC 6455 §1.3
        let key = asked.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let (head, stream) = key.header("sec-websocket-version", "13").upgrade()?;
        let socket = websocket::WebSocket::of_client(stream, &head.headers, &client.site.serving.runtime);
        Ok(WebSocket { client, head, socket })
    }
}

impl WebSocket {
    /// The head of the answer that accepted it.
    pub fn head(&self) -> &response::Parts {
        &self.head
    }

    /// The subprotocol the application chose.
    pub fn protocol(&self) -> Option<&str> {
        self.head.headers.get(http::header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()
    }

    /// Blocks until there is a message; `None` once it is closed.
    ///
    /// # Errors
    /// As [`websocket::WebSocket::recv`].
    ///
    /// # Panics
    /// If nothing came for [`Client::patience`].
    pub fn recv(&mut self) -> Option<Result<Message, Error>> {
        self.client.wait("message", self.socket.recv())
    }

    /// Sends a message, and blocks until the application's end has room for it.
    ///
    /// # Errors
    /// As [`websocket::WebSocket::send`].
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.client.wait("room for a message", self.socket.send(message))
    }

    /// Closes, and blocks until that is answered.
    ///
    /// # Errors
    /// As [`websocket::WebSocket::close`].
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    pub fn close(&mut self, code: u16, reason: &str) -> Result<(), Error> {
        self.client.wait("answer to the close", self.socket.close(code, reason))
    }

    /// How it was closed, `None` while it is open. Does not block.
    pub fn closed(&self) -> Option<Close> {
        self.socket.closed()
    }

    /// For asynchronous code, or for two threads.
    pub fn into_inner(self) -> websocket::WebSocket {
        self.socket
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("closed", &self.closed()).finish_non_exhaustive()
    }
}
