//! A connection: HTTP/1.1 by `adapter-http1`, or HTTP/2 by hyper, as the client begins, or as TLS has agreed.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use adapter_core::server::Guard;
use adapter_core::{DynApplication, ListenAddr, ServerConfig};
use adapter_http1::connection::{Connection, End, Secured, Served, Settings};
use adapter_hyper::engine::{self, Connect, Engine, Front};

use crate::transport::Stream;

/// Makes the connections of a server.
#[derive(Clone)]
pub(crate) struct Connecting {
    engine: Arc<Engine>,
    http1: Arc<Settings>,
}

impl Connecting {
    pub(crate) fn new(engine: &Arc<Engine>, application: DynApplication, config: &ServerConfig) -> Self {
        let http1 = Settings::new(application, engine.serving().clone(), config, engine.roster().clone());
        Connecting { engine: engine.clone(), http1: Arc::new(http1.with_http2(engine.serves_http2())) }
    }
}

impl Connect<Stream> for Connecting {
    type Connection = Either;

    fn connection(
        &self,
        io: Stream,
        peer: Option<SocketAddr>,
        local: ListenAddr,
        front: Front<'_>,
        guard: Guard,
    ) -> Either {
        let now = self.http1.serving().runtime.now();
        let transport = self.http1.secure(io, front.tls);
        let mut connection = Connection::new(self.http1.clone(), transport, peer, local, now);
        if front.proxy {
            connection = connection.behind_proxy();
        }
        Either::Http1 { served: Served::new(connection, guard), engine: self.engine.clone() }
    }
}

/// One connection, HTTP/1.1 until the client says otherwise.
#[expect(clippy::large_enum_variant, reason = "nearly every connection is the large one")]
pub(crate) enum Either {
    Http1 { served: Served<Secured<Stream>>, engine: Arc<Engine> },
    Http2(Box<engine::Connection>),
}

impl Future for Either {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Either::Http1 { served, engine } = &mut *self {
            let End::Http2 { transport, early, environ } = ready!(Pin::new(&mut *served).poll(cx)) else {
                return Poll::Ready(());
            };
            let Some(guard) = served.take_guard() else { return Poll::Ready(()) };
            let connection = match transport.into_parts() {
                (stream, None) => engine.http2_connection(stream, &early, environ, guard),
                (stream, Some(pump)) => {
                    let secured = engine::Secured::new(stream, pump);
                    engine.http2_connection(secured, &early, environ, guard)
                }
            };
            *self = Either::Http2(Box::new(connection));
        }
        match &mut *self {
            Either::Http2(connection) => Pin::new(connection).poll(cx),
            Either::Http1 { .. } => Poll::Ready(()),
        }
    }
}
