//! What a server says of itself. \[ENV-06\], \[CON-06\], \[LIF-05\]

use std::borrow::Cow;

use crate::config::ListenAddr;
use crate::runtime::Runtime;

/// What a server can do beyond the required; an application may look, a suite skips by it (\[TST-04\]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// WebSockets, see `websocket`.
    pub websocket: bool,
    /// Raw upgrades to a byte stream.
    pub upgrade: bool,
    /// Response trailers.
    pub trailers: bool,
    /// 103 Early Hints over HTTP/1.1, see [`Environ::early_hints`](crate::Environ::early_hints).
    pub early_hints: bool,
    /// 103 Early Hints over HTTP/2, where browsers take them.
    pub early_hints_http2: bool,
    /// The request body can be read while the response body is written.
    pub full_duplex: bool,
    /// HTTP/2.
    pub http2: bool,
    /// File bodies are sent by the operating system without passing through this process.
    pub sendfile: bool,
    /// Listening on `unix:` paths.
    pub unix_socket: bool,
    /// TLS.
    pub tls: bool,
    /// Listeners behind the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Capabilities {
    /// None of them.
    pub const fn none() -> Self {
        Capabilities {
            websocket: false,
            upgrade: false,
            trailers: false,
            early_hints: false,
            early_hints_http2: false,
            full_duplex: false,
            http2: false,
            sendfile: false,
            unix_socket: false,
            tls: false,
            proxy_protocol: false,
        }
    }

    /// Name and value of each, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, bool)> {
        [
            ("websocket", self.websocket),
            ("upgrade", self.upgrade),
            ("trailers", self.trailers),
            ("early-hints", self.early_hints),
            ("early-hints-http2", self.early_hints_http2),
            ("full-duplex", self.full_duplex),
            ("http2", self.http2),
            ("sendfile", self.sendfile),
            ("unix-socket", self.unix_socket),
            ("tls", self.tls),
            ("proxy-protocol", self.proxy_protocol),
        ]
        .into_iter()
    }

    /// Whether the capability of that name is there; `None` for a name that is none.
    ///
    /// ```
    /// let mut can = adapter_core::Capabilities::none();
    /// can.trailers = true;
    /// assert_eq!(can.get("trailers"), Some(true));
    /// assert_eq!(can.get("teleport"), None);
    /// ```
    pub fn get(&self, name: &str) -> Option<bool> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// How calls of one application run beside each other: WSGI's `wsgi.multithread`, `multiprocess`, `run_once`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Concurrency {
    /// Several threads may be inside the application at once.
    pub multithread: bool,
    /// Other processes may serve the same application at once.
    pub multiprocess: bool,
    /// The process serves one request and ends.
    pub run_once: bool,
    /// A pending handler holds no thread.
    pub asynchronous: bool,
}

impl Concurrency {
    /// One process, many threads, handlers that wait hold none: true of all servers of this project.
    pub const fn threads_and_tasks() -> Self {
        Concurrency { multithread: true, multiprocess: false, run_once: false, asynchronous: true }
    }

    /// One process, a thread held from the call to the end of the response.
    pub const fn threads() -> Self {
        Concurrency { multithread: true, multiprocess: false, run_once: false, asynchronous: false }
    }
}

/// A server's name, version, abilities and, once it listens, its addresses and runtime.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The name it is picked by: `hyper`, `smol`, …
    pub name: Cow<'static, str>,
    /// Its version.
    pub version: Cow<'static, str>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How calls run beside each other.
    pub concurrency: Concurrency,
    /// The addresses it listens on, with actual ports; empty before it is bound. \[LIF-05\]
    pub local_addrs: Vec<ListenAddr>,
    /// Its runtime, once it has started; the startup hook may spawn with it.
    pub runtime: Option<Runtime>,
    /// What is spoken on its sockets, as the scheme of a URL has it: `http`, unless it is another protocol, such as `fastcgi`.
    pub protocol: Cow<'static, str>,
}

impl ServerInfo {
    /// A server that is not listening yet and declares no capability.
    pub fn new(name: impl Into<Cow<'static, str>>, version: impl Into<Cow<'static, str>>) -> Self {
        ServerInfo {
            name: name.into(),
            version: version.into(),
            capabilities: Capabilities::none(),
            concurrency: Concurrency::threads_and_tasks(),
            local_addrs: Vec::new(),
            runtime: None,
            protocol: Cow::Borrowed("http"),
        }
    }

    /// With another protocol than HTTP on its sockets.
    #[must_use]
    pub fn with_protocol(mut self, protocol: impl Into<Cow<'static, str>>) -> Self {
        self.protocol = protocol.into();
        self
    }

    /// With these capabilities.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// With this concurrency model.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: Concurrency) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Now listening.
    #[must_use]
    pub fn listening(mut self, local_addrs: Vec<ListenAddr>, runtime: Runtime) -> Self {
        self.local_addrs = local_addrs;
        self.runtime = Some(runtime);
        self
    }
}
