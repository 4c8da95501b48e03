//! The servers `cgi`, `fastcgi`, `scgi` and `uwsgi`, on the threads and sockets of `smol`.

use std::future::Future;
#[cfg(unix)]
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
#[cfg(unix)]
use std::thread::JoinHandle;

#[cfg(unix)]
use adapter_core::Bind;
use adapter_core::environ;
use adapter_core::server::{Guard, LastReference};
use adapter_core::{
    Capabilities, Concurrency, DynApplication, ListenAddr, ServeError, Server, ServerConfig, ServerHandle, ServerInfo,
};
use adapter_hyper::engine::{Connect, Front};
use adapter_smol::Stream;

#[cfg(unix)]
use crate::cgi::{self, Place};
use crate::connection::{self, Settings};
use crate::fastcgi::FastCgi;
use crate::framing::Framing;
use crate::scgi::Scgi;
use crate::uwsgi::Uwsgi;

/// The server `fastcgi`: behind nginx's `fastcgi_pass`, Apache httpd's `mod_proxy_fcgi`, lighttpd, HAProxy, Caddy. As a responder, one request at a
/// time on a connection, which is kept where the web server wants that.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastCgiServer;

/// The server `scgi`: behind nginx's `scgi_pass`, Apache httpd's `mod_proxy_scgi`, lighttpd. One request a connection. The protocol can't say that a
/// response was broken off; a web server sees it by a length that was declared, and over TCP by a reset.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScgiServer;

/// The server `cgi`: one request, of which the environment of the process, its input and its output are, RFC 3875; then it ends. Behind Apache
/// httpd's `mod_cgid` and whatever else starts programs. Hooks run in each process: [`Concurrency`] says `run_once` and `multiprocess`. What the
/// program itself writes to its output spoils the response; its standard error is the web server's log.
///
/// Where there are no Unix-domain sockets, [`start`](Server::start) fails with [`ServeError::Config`].
///
/// [`wait`](ServerHandle::wait) is over when the response is out and the shutdown hook has run. A thread may wait for input until the process ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct CgiServer;

/// The server `uwsgi`: behind nginx's `uwsgi_pass` and Apache httpd's `mod_proxy_uwsgi`, by the protocol of that name. One request a connection. As
/// for [`ScgiServer`], the protocol can't say that a response was broken off.
#[derive(Clone, Copy, Debug, Default)]
pub struct UwsgiServer;

fn info(name: &'static str) -> ServerInfo {
    let mut can = Capabilities::none();
    (can.unix_socket, can.full_duplex) = (cfg!(unix), true);
    ServerInfo::new(name, env!("CARGO_PKG_VERSION")).with_capabilities(can).with_protocol(name)
}

fn check(info: &ServerInfo, config: &ServerConfig) -> Result<(), ServeError> {
    config.validate()?;
    config.refuse_unknown_options(&info.name, &[])?;
    match config.binds_or_default().iter().find(|bind| bind.options().tls || bind.options().proxy) {
        Some(bind) => {
            Err(ServeError::config("binds", format!("{bind}: {} is spoken in plain, to a web server", info.name)))
        }
        None => Ok(()),
    }
}

fn start<F: Framing>(
    info: ServerInfo,
    application: DynApplication,
    config: ServerConfig,
) -> Result<ServerHandle, ServeError> {
    let _last = LastReference::of(&application);
    // Dropped before it, should the start fail. [LIF-09]
    let application = application;
    check(&info, &config)?;
    adapter_smol::start(info, application, config, |engine, application, config| {
        let settings = Settings::new(application, engine.serving().clone(), config);
        Connecting::<F> { settings: Arc::new(settings), framing: PhantomData }
    })
}

impl Server for FastCgiServer {
    fn info(&self) -> ServerInfo {
        info("fastcgi")
    }

    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        check(&self.info(), config)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        start::<FastCgi>(self.info(), application, config)
    }
}

impl Server for ScgiServer {
    fn info(&self) -> ServerInfo {
        info("scgi")
    }

    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        check(&self.info(), config)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        start::<Scgi>(self.info(), application, config)
    }
}

impl Server for UwsgiServer {
    fn info(&self) -> ServerInfo {
        info("uwsgi")
    }

    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        check(&self.info(), config)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        start::<Uwsgi>(self.info(), application, config)
    }
}

impl Server for CgiServer {
    fn info(&self) -> ServerInfo {
        let mut concurrency = Concurrency::threads_and_tasks();
        (concurrency.multiprocess, concurrency.run_once) = (true, true);
        let mut can = Capabilities::none();
        can.full_duplex = true;
        info("cgi").with_concurrency(concurrency).with_capabilities(can)
    }

    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        if let Some(bind) = config.binds.first() {
            return Err(ServeError::config(
                "binds",
                format!("{bind}: cgi listens nowhere, its one request is there already"),
            ));
        }
        check(&self.info(), config)
    }

    #[cfg(not(unix))]
    fn start(&self, application: DynApplication, _: ServerConfig) -> Result<ServerHandle, ServeError> {
        let _last = LastReference::of(&application);
        // Dropped before it. [LIF-09]
        let _application = application;
        Err(ServeError::config("server", "cgi needs Unix-domain sockets, which this system does not have"))
    }

    #[cfg(unix)]
    fn start(&self, application: DynApplication, mut config: ServerConfig) -> Result<ServerHandle, ServeError> {
        let _last = LastReference::of(&application);
        // Dropped before it, should the start fail. [LIF-09]
        let application = application;
        self.check(&config)?;
        let place = Place::new()?;
        let socket = place.socket();
        config.binds.push(Bind::Unix(socket.clone()));
        config.threads.get_or_insert(1);
        let server = start::<Scgi>(self.info(), application, config)?;
        let trigger = server.trigger();
        let output = match cgi::request(std::env::vars_os()) {
            Ok((request, length)) => {
                cgi::converse(&socket, request, length, io::stdin(), io::stdout(), trigger.clone()).map(Some)
            }
            Err(rejection) => cgi::refuse(&rejection, io::stdout(), &trigger).map(|()| None),
        };
        let output = match output {
            Ok(output) => output,
            Err(error) => {
                let _ = server.stop();
                return Err(error.into());
            }
        };
        Ok(ServerHandle::new(Vec::new(), trigger, move || {
            let ended = server.wait();
            // What was answered goes out before the process does; a web server that does not take it is one whose client is gone.
            let _ = output.map(JoinHandle::join);
            drop(place);
            ended
        }))
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
