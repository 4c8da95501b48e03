//! An `OnUpgrade` of hyper's, made by the only one who can: a connection of hyper's, over a [`Link`] in memory.
//!
//! The connection reads one request, which asks for an upgrade, and answers it; the `OnUpgrade` is that request's. Its
//! response stays unwritten until there is a stream, so that the program's future is not ready before.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use tracing::Span;

use super::link::{Link, Socket};
use crate::runtime::Runtime;
use crate::upgrade::Upgraded;

/// What the connection reads.
pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n";

/// An `OnUpgrade` is ready when this is kept, and fails when it is dropped.
pub(super) struct Promise {
    link: Arc<Link>,
    connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
}

impl Promise {
    /// A promise, and who waits for it. Neither blocks nor starts anything. `None` never comes.
    pub(super) fn make() -> Option<(Promise, OnUpgrade)> {
        let link = Arc::new(Link::default());
        let caught = Arc::new(Mutex::new(None));
        let catching = caught.clone();
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            let on_upgrade = hyper::upgrade::on(&mut request);
            *catching.lock().unwrap_or_else(PoisonError::into_inner) = Some(on_upgrade);
            let mut response = http::Response::new(::axum::body::Body::empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("a"));
            ready(Ok::<_, Infallible>(response))
        });
        let serving = Builder::new().header_read_timeout(None).serve_connection(Socket(link.clone()), service);
        let mut connection: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(serving.with_upgrades());
        // It reads the request and comes as far as writing the response. Nobody waits: it is polled again when it can.
        let _ = connection.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let on_upgrade = caught.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((Promise { link, connection }, on_upgrade))
    }

    /// The request's `span`, in which it is told what becomes of it.
    pub(super) fn is_of(&self, span: Span) {
        self.link.lock().span = Some(span);
    }

    /// Puts `stream` behind the `OnUpgrade`, which is ready then; of a `websocket` with the runtime of its keeper.
    pub(super) async fn keep(self, stream: Upgraded, websocket: Option<&Runtime>) -> Option<Arc<Link>> {
        self.link.open(stream, websocket);
        self.connection.await.ok().map(|()| self.link)
    }
}
