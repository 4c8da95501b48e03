//! What a broken server is: a sound one with one thing done wrong, and the cases that must notice.

use adapter_core::{
    DynApplication, Environ, Error, Request, Response, ServeError, Server, ServerConfig, ServerHandle, ServerInfo,
};

use crate::generated::Mutation;
use crate::proxy::Flow;

/// An owned future.
pub(crate) type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;
/// What a handler gives.
pub(crate) type Answer = Result<Response, Error>;
/// Calls the application, wrongly.
pub(crate) type Call = fn(DynApplication, Request, Environ) -> BoxFuture<Answer>;
/// Starts a server, wrongly.
pub(crate) type Start = fn(&dyn Server, DynApplication, ServerConfig) -> Result<ServerHandle, ServeError>;
/// Changes octets on their way.
pub(crate) type Filter = fn(&mut Flow, &mut Vec<u8>);
/// Runs the startup hook, wrongly.
pub(crate) type Startup = fn(DynApplication, ServerInfo) -> BoxFuture<Result<(), Error>>;
/// Runs the shutdown hook, wrongly.
pub(crate) type Shutdown = fn(DynApplication) -> BoxFuture<Result<(), Error>>;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// The sound server a fault is built on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Base {
    /// The example of a minimal server.
    Minimal,
    /// One with early hints.
    ThreadPool,
    /// One with trailers, full duplex and Unix sockets.
    Hyper,
}

/// One thing done wrong.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) kills: &'static [&'static str],
    pub(crate) base: Base,
    pub(crate) config: Option<fn(&mut ServerConfig)>,
    pub(crate) call: Option<Call>,
    pub(crate) startup: Option<Startup>,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) start: Option<Start>,
    pub(crate) up: Option<Filter>,
    pub(crate) down: Option<Filter>,
    pub(crate) end: Option<fn(&mut Flow)>,
    pub(crate) deaf: bool,
    pub(crate) mutation: Option<Mutation>,
}

impl Fault {
    /// Nothing wrong yet; the cases in `kills` must fail.
    pub(crate) const fn new(name: &'static str, kills: &'static [&'static str]) -> Self {
        Fault {
            name,
            kills,
            base: Base::Minimal,
            config: None,
            call: None,
            startup: None,
            shutdown: None,
            start: None,
            up: None,
            down: None,
            end: None,
            deaf: false,
            mutation: None,
        }
    }

    pub(crate) const fn on(mut self, base: Base) -> Self {
        self.base = base;
        self
    }

    pub(crate) const fn config(mut self, config: fn(&mut ServerConfig)) -> Self {
        self.config = Some(config);
        self
    }

    pub(crate) const fn call(mut self, call: Call) -> Self {
        self.call = Some(call);
        self
    }

    pub(crate) const fn startup(mut self, startup: Startup) -> Self {
        self.startup = Some(startup);
        self
    }

    pub(crate) const fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    pub(crate) const fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    pub(crate) const fn up(mut self, filter: Filter) -> Self {
        self.up = Some(filter);
        self
    }

    pub(crate) const fn down(mut self, filter: Filter) -> Self {
        self.down = Some(filter);
        self
    }

    /// What happens when the client has ended its stream or reset it.
    pub(crate) const fn end(mut self, end: fn(&mut Flow)) -> Self {
        self.end = Some(end);
        self
    }

    /// Accepts nobody any more after an accept has failed.
    pub(crate) const fn deaf(mut self) -> Self {
        self.deaf = true;
        self
    }

    /// What was changed by rule.
    pub(crate) const fn mutation(mut self, mutation: Mutation) -> Self {
        self.mutation = Some(mutation);
        self
    }

    /// Whether it needs the proxy.
    pub(crate) fn is_proxied(&self) -> bool {
        let is_filtered = self.up.is_some() || self.down.is_some() || self.end.is_some();
        is_filtered || self.deaf || self.mutation.is_some_and(|mutation| mutation.is_proxied())
    }

    /// Changes a piece that goes that way; an empty one downwards is the end.
    pub(crate) fn filter(&self, way: Way, flow: &mut Flow, data: &mut Vec<u8>) {
        let filter = if way == Way::Up { self.up } else { self.down };
        if let Some(filter) = filter {
            filter(flow, data);
        }
        if let Some(mutation) = &self.mutation {
            mutation.filter(way, flow, data);
        }
    }
}
