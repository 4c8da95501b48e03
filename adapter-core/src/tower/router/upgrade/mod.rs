//! Connections that an axum program takes over: axum's own `WebSocketUpgrade`, and `hyper::upgrade::on`.
//!
//! axum looks for hyper's `OnUpgrade` in the request's extensions, which nobody but hyper can make. So a connection of
//! hyper's that exists in memory only makes one (`promise`), and what stands behind that is the stream the server hands
//! over (`link`), once the program has answered with a response that switches protocols. A WebSocket of axum's is the
//! program's own; the server adds what it owes every WebSocket at the boundaries of frames (`keeper`).
//!
//! On the server's threads; the keeper is a task of the server's [`Runtime`](crate::Runtime).

mod frames;
mod keeper;
mod link;
mod promise;

#[cfg(test)]
mod tests;

use http::{Method, StatusCode, header};
use tracing::{Instrument as _, Span};

use self::keeper::Patience;
use self::promise::Promise;
use crate::environ::Environ;
use crate::observe::OpenWebSocket;
use crate::rules;
use crate::upgrade::Offer;

/// Without a Close. RFC 6455 §7.4.1
const ABNORMAL: u16 = 1006;

/// A connection that the program may take.
pub(super) struct Offered {
    promise: Promise,
    environ: Environ,
    is_connect: bool,
}

impl Offered {
    /// Puts hyper's `OnUpgrade` into the request, where the server offers its connection.
    pub(super) fn with<B>(request: &mut http::Request<B>, environ: &Environ) -> Option<Box<Offered>> {
        if !environ.offer().is_ok_and(Offer::is_open) {
            return None;
        }
        let (promise, on_upgrade) = Promise::make()?;
        request.extensions_mut().insert(on_upgrade);
        let is_connect = request.method() == Method::CONNECT;
        Some(Box::new(Offered { promise, environ: environ.clone(), is_connect }))
    }

    /// Keeps the promise if `response` switches protocols and nothing of ours took the connection; breaks it otherwise.
    pub(super) fn settle<B>(self, response: &http::Response<B>) {
        let Offered { promise, environ, is_connect } = self;
        let switches = match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => true,
            status => is_connect && status.is_success(),
        };
        if !switches {
            return;
        }
        let is_websocket = if is_connect {
            environ.connect_protocol() == Some("websocket")
        } else {
            let chosen = response.headers().get_all(header::UPGRADE).into_iter();
            chosen.flat_map(rules::list_members).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        };
        let Ok(upgrade) = environ.upgrade() else { return };
        let (runtime, shutdown) = (environ.runtime().clone(), environ.shutdown().clone());
        let (keepers, span) = (runtime.clone(), Span::current());
        promise.is_of(span.clone());
        let within = span.clone();
        let served = async move {
            // The server does not switch after all, or the client is gone: the program's future fails.
            let Ok(stream) = upgrade.await else { return };
            let link = promise.keep(stream, is_websocket.then_some(&keepers)).await;
            if let Some(link) = link
                && is_websocket
            {
                let peer = environ.connection().peer();
                let open = OpenWebSocket::new(environ.observers(), peer, &shutdown, span);
                keeper::keep(link.clone(), &keepers, &shutdown, Patience::default()).await;
                match link.broken() {
                    Some(reason) => open.broken(ABNORMAL, &reason),
                    None => open.ended(None, &"the program has dropped it"),
                }
            }
        };
        // The connection is counted; this need not be.
        runtime.drive(served.instrument(within));
    }
}
