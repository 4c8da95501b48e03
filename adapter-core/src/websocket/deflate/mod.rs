//! permessage-deflate: messages compressed, each by itself or with what was said before. RFC 7692
//!
//! Around the library for frames, which knows no extension. What comes passes [`Marks`] before it, which take the bit off that says
//! that a message is compressed, and remember it; the library gives the payload as it came, and [`Codec`] inflates it. What is
//! sent is compressed first, and given to the library as a frame with that bit.
//!
//! By zlib-rs: pure Rust, without dependencies, a port of zlib-ng that browsers and curl use. Directly and not by way of flate2,
//! which does not pass on how much a compressor buffers beside its window, and whose other engine in Rust knows no windows.
//!
//! \[UPG-24\]

mod codec;
mod compress;
mod grammar;
mod inflate;
mod marks;
mod offer;
mod pool;

#[cfg(test)]
mod tests;

use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

pub(super) use self::codec::Codec;
pub(super) use self::marks::Marks;
pub(super) use self::offer::Agreed;
use self::offer::{LEAST_BITS, MOST_BITS};
use crate::causes::HandshakeError;

/// permessage-deflate, as an application wants it: with [`Upgrade::deflate`](super::Upgrade::deflate).
///
/// ```
/// use adapter_core::websocket::{self, Deflate, Upgrade};
/// use adapter_core::{Environ, Error, Request, Response};
///
/// async fn feed(request: Request, environ: Environ) -> Result<Response, Error> {
///     let upgrade = Upgrade::from_request(&request, &environ)?.deflate(Deflate::default().level(1));
///     Ok(upgrade.accept(|mut socket| async move {
///         socket.send("the same again and again, ".repeat(100)).await?;
///         Ok::<_, websocket::Error>(())
///     })?)
/// }
/// ```
///
/// It is for text that is sent often, to clients whose network is slow: JSON becomes a quarter or less, for processor time, some
/// 10 µs for 1 KiB, which is as much as all else that a message costs. What would not become smaller, images and the like, is sent as
/// it is, but that is found out by trying. What is said to many is compressed for each of them. It happens at once, on the thread that
/// sends: a message of a MiB holds up what else that thread does for 10 ms.
///
/// By default each message is compressed by itself, in both directions, and the WebSocket holds no memory for it between
/// messages. Where the windows go from one message to the next (*context takeover*), small messages that resemble each other become
/// much smaller; each WebSocket then holds a compressor, 370 KiB with the largest window and 160 KiB with one of 12 bits, and 46 KiB
/// to inflate, from its first message of that direction on.
///
/// What a compressed message has of a secret, and of somebody else's words beside it, may be guessed by its length (as CRIME and
/// BREACH did): do not put both into one message, nor, with context takeover, into one WebSocket.
#[derive(Clone, Debug)]
pub struct Deflate {
    level: u8,
    threshold: usize,
    server_bits: u8,
    client_bits: u8,
    server_takeover: bool,
    client_takeover: bool,
}

impl Default for Deflate {
    fn default() -> Self {
        Deflate {
            level: 2,
            threshold: 128,
            server_bits: MOST_BITS,
            client_bits: MOST_BITS,
            server_takeover: false,
            client_takeover: false,
        }
    }
}

impl Deflate {
    /// How much time it takes to make a message small: 1 little, 9 much. What is outside is the nearest of these. Default 2.
    pub fn level(mut self, level: u8) -> Self {
        self.level = level.clamp(1, 9);
        self
    }

    /// Bytes of a message at least for it to be compressed; smaller ones are sent as they are. Default 128.
    pub fn min_message_bytes(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The window of messages to the client, as the power of two of its bytes: 9 to 15, and what is outside is the nearest of these.
    /// A client may ask for a smaller one. Default 15, which is 32 KiB.
    pub fn server_window_bits(mut self, bits: u8) -> Self {
        self.server_bits = bits.clamp(LEAST_BITS, MOST_BITS);
        self
    }

    /// The window of messages from the client; it saves memory of the client's. 9 to 15, and what is outside is the nearest of these.
    /// A client that does not know how to limit it is accepted all the same. Default 15, which is 32 KiB.
    pub fn client_window_bits(mut self, bits: u8) -> Self {
        self.client_bits = bits.clamp(LEAST_BITS, MOST_BITS);
        self
    }

    /// Whether messages to the client refer to earlier ones, unless the client does not want it. Default no.
    pub fn server_context_takeover(mut self, takeover: bool) -> Self {
        self.server_takeover = takeover;
        self
    }

    /// Whether messages from the client may refer to earlier ones. Default no.
    pub fn client_context_takeover(mut self, takeover: bool) -> Self {
        self.client_takeover = takeover;
        self
    }
}

/// What the client offers, and whether the application wants it.
#[derive(Debug)]
pub(super) struct Negotiation {
    offers: Vec<HeaderValue>,
    wanted: Option<Deflate>,
}

impl Negotiation {
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let offers = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter().cloned().collect();
        Negotiation { offers, wanted: None }
    }

    pub(super) fn want(&mut self, deflate: Deflate) {
        self.wanted = Some(deflate);
    }

    /// The value of Sec-WebSocket-Extensions in the response, and what it means.
    pub(super) fn agree(&self) -> Result<Option<(HeaderValue, Agreed)>, HandshakeError> {
        let Some(wanted) = &self.wanted else { return Ok(None) };
        let bad = HandshakeError::Malformed("Sec-WebSocket-Extensions is no list of extensions");
        let found = offer::agree(self.offers.iter().map(HeaderValue::as_bytes), wanted);
        let Some((answer, agreed)) = found.map_err(|_| bad.clone())? else { return Ok(None) };
        Ok(Some((HeaderValue::try_from(answer).map_err(|_| bad)?, agreed)))
    }
}

/// What a client has agreed on, by the head of the response.
pub(super) fn agreed_by_answer(headers: &HeaderMap) -> Option<Agreed> {
    offer::agreed_by_answer(headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter().map(HeaderValue::as_bytes))
}
