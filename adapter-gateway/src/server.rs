//! The servers `fastcgi` and `scgi`, on the threads and sockets of `smol`.

use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use adapter_core::environ;
use adapter_core::server::{Guard, LastReference};
use adapter_core::{
    Capabilities, DynApplication, ListenAddr, ServeError, Server, ServerConfig, ServerHandle, ServerInfo,
};
use adapter_hyper::engine::{Connect, Front};
use adapter_smol::Stream;

use crate::connection::{self, Settings};
use crate::fastcgi::FastCgi;
use crate::framing::Framing;
use crate::scgi::Scgi;

/// The server `fastcgi`: behind nginx's `fastcgi_pass`, Apache httpd's `mod_proxy_fcgi`, lighttpd, HAProxy, Caddy. As a responder, one request at a
/// time on a connection, which is kept where the web server wants that.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastCgiServer;

/// The server `scgi`: behind nginx's `scgi_pass`, Apache httpd's `mod_proxy_scgi`, lighttpd. One request a connection. The protocol can't say that a
/// response was broken off; a web server sees it by a length that was declared, and over TCP by a reset.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScgiServer;

fn info(name: &'static str) -> ServerInfo {
    let mut can = Capabilities::none();
    (can.unix_socket, can.full_duplex) = (true, true);
    ServerInfo::new(name, env!("CARGO_PKG_VERSION")).with_capabilities(can).with_protocol(name)
}

fn start<F: Framing>(
    info: ServerInfo,
    application: DynApplication,
    config: ServerConfig,
) -> Result<ServerHandle, ServeError> {
    let _last = LastReference::of(&application);
    // Dropped before it, should the start fail. [LIF-09]
    let application = application;
    config.validate()?;
    config.refuse_unknown_options(&info.name, &[])?;
    let binds = config.binds_or_default();
    if let Some(bind) = binds.iter().find(|bind| bind.options().tls || bind.options().proxy) {
        return Err(ServeError::config("binds", format!("{bind}: {} is spoken in plain, to a web server", info.name)));
    }
    adapter_smol::start(info, application, config, |engine, application, config| {
        let settings = Settings::new(application, engine.serving().clone(), config);
        Connecting::<F> { settings: Arc::new(settings), framing: PhantomData }
    })
}

impl Server for FastCgiServer {
    fn info(&self) -> ServerInfo {
        info("fastcgi")
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        start::<FastCgi>(self.info(), application, config)
    }
}

impl Server for ScgiServer {
    fn info(&self) -> ServerInfo {
        info("scgi")
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        start::<Scgi>(self.info(), application, config)
    }
}

/// Makes connections.
struct Connecting<F> {
    settings: Arc<Settings>,
    framing: PhantomData<fn() -> F>,
}

impl<F> Clone for Connecting<F> {
    fn clone(&self) -> Self {
        Connecting { settings: self.settings.clone(), framing: PhantomData }
    }
}

impl<F: Framing> Connect<Stream> for Connecting<F> {
    type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn connection(
        &self,
        io: Stream,
        peer: Option<SocketAddr>,
        local: ListenAddr,
        _front: Front<'_>,
        guard: Guard,
    ) -> Self::Connection {
        let environ = Arc::new(environ::Connection::new(self.settings.serving.clone(), peer, local));
        Box::pin(connection::serve::<F, _>(self.settings.clone(), io, environ, guard))
    }
}
