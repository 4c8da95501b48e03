//! The broken servers: a sound server, its configuration, the application and the wire as a [`Fault`] has them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adapter_core::{
    Application, Bind, DynApplication, Environ, Error, ListenAddr, Request, Response, ServeError, Server, ServerConfig,
    ServerHandle, ServerInfo,
};
use conformance_tests::application::CONTROL;

use crate::fault::{Base, Fault};
use crate::minimal_server::MinimalServer;
use crate::proxy;

/// A server with one fault, or, without one, a sound server behind the proxy.
pub(crate) struct Broken(pub(crate) &'static Fault);

fn base(base: Base) -> Box<dyn Server> {
    match base {
        Base::Minimal => Box::new(MinimalServer),
        Base::ThreadPool => Box::new(adapter_threadpool::ThreadPoolServer::new()),
        Base::Hyper => Box::new(adapter_hyper::HyperServer::new()),
    }
}

impl Server for Broken {
    fn info(&self) -> ServerInfo {
        let info = base(self.0.base).info();
        ServerInfo::new(self.0.name, info.version.clone())
            .with_capabilities(info.capabilities)
            .with_concurrency(info.concurrency)
    }

    fn start(&self, application: DynApplication, mut config: ServerConfig) -> Result<ServerHandle, ServeError> {
        let fault = self.0;
        let application = DynApplication::new(Wrapped { fault, application });
        if let Some(change) = fault.config {
            change(&mut config);
        }
        if let Some(mutation) = &fault.mutation {
            mutation.config(&mut config);
        }
        let server = base(fault.base);
        let start = |config| match fault.start {
            Some(start) => start(&*server, application, config),
            None => server.start(application, config),
        };
        if !fault.is_proxied() {
            return start(config);
        }
        let mut listeners = Vec::new();
        for bind in &mut config.binds {
            let mut place = bind;
            // Its options stay.
            while let Bind::With(inner, _) = place {
                place = inner;
            }
            let Bind::Tcp(address) = place else { return Err(ServeError::config("binds", "the proxy is for TCP")) };
            let error = |source| ServeError::Bind { address: address.to_string(), source };
            listeners.push(TcpListener::bind(*address).map_err(error)?);
            *address = SocketAddr::from(([127, 0, 0, 1], 0));
        }
        let inner = start(config)?;
        let over = Arc::new(AtomicBool::new(false));
        let mut addresses = Vec::new();
        let behind: Vec<SocketAddr> = inner.local_addrs().iter().filter_map(ListenAddr::tcp).collect();
        for (listener, server) in listeners.into_iter().zip(behind) {
            addresses.push(ListenAddr::Tcp(listener.local_addr()?));
            let over = over.clone();
            std::thread::spawn(move || proxy::run(listener, server, fault, over));
        }
        Ok(ServerHandle::new(addresses, inner.trigger(), move || {
            let ended = inner.wait();
            over.store(true, Ordering::SeqCst);
            ended
        }))
    }
}

/// The application as the fault has it. Requests about the records are left alone.
struct Wrapped {
    fault: &'static Fault,
    application: DynApplication,
}

impl Application for Wrapped {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        match self.fault.call {
            Some(call) if !request.headers().contains_key(CONTROL) => {
                call(self.application.clone(), request, environ).await
            }
            _ => self.application.call(request, environ).await,
        }
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        match self.fault.startup {
            Some(startup) => startup(self.application.clone(), server.clone()).await,
            None => self.application.startup(server).await,
        }
    }

    async fn shutdown(&self) -> Result<(), Error> {
        match self.fault.shutdown {
            Some(shutdown) => shutdown(self.application.clone()).await,
            None => self.application.shutdown().await,
        }
    }
}
