//! The conformance application: an ordinary [`Application`] that does what the request says and remembers what it saw.
//!
//! A request says what to do in `x-conformance-do` (see `script`), and under which token to remember it in
//! `x-conformance-token`. Requests with `x-conformance-control` read the records back, wait for an event, or open a
//! gate; they travel on connections of their own. So the application can be mounted in any server in any process.

mod blocking;
mod control;
mod draft;
mod handler;
mod items;
mod records;
mod script;
mod services;
mod session;
mod stream;
mod takeover;

use std::sync::{Arc, OnceLock};

use adapter_core::lint::Lint;
use adapter_core::{
    Application, Blocking, BlockingBody, DynApplication, Environ, Error, Request, Response, ServerInfo,
};
use http::HeaderMap;

pub use self::control::Advertised;
pub use self::records::{Event, Log, Records, is_match, matching};
pub(crate) use self::services::TriggerSlot;
use crate::text;

/// The version of spec/APPLICATION.md.
pub(crate) const CONTRACT: u32 = 1;
/// The field that names the token of a request.
pub const TOKEN: &str = "x-conformance-token";
/// The field that holds the script of a request.
pub const DO: &str = "x-conformance-do";
/// The field that asks for what was recorded.
pub const CONTROL: &str = "x-conformance-control";
/// The field the application adds to every response of its own.
pub const MARK: &str = "x-conformance-application";
/// What a script begins with that is to run without lint.
const BARE: &str = "bare; ";
/// The token under which hooks are recorded.
pub const LIFESPAN: &str = "lifespan";

/// What the outer part of the application hands to the inner one (ENV-07).
#[derive(Clone)]
struct MiddlewareValue(&'static str);

type BlockingFn = Box<dyn Fn(Request<BlockingBody>, Environ) -> Result<Response, Error> + Send + Sync>;

/// The conformance application. Each call runs wrapped in lint, wherever it is mounted \[TST-02\]; a script that begins
/// with `bare; ` runs without, as the bodies lint makes of others have no fast paths through a server.
pub struct Conformance {
    records: Records,
    hooks: Hooks,
    blocking: Arc<Blocking<BlockingFn>>,
    started: OnceLock<String>,
}

/// One call of it, inside the lint.
struct Call {
    log: Log,
    started: Option<String>,
    blocking: Arc<Blocking<BlockingFn>>,
}

/// What the hooks of a [`Conformance`] do.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// `startup` waits at the gate of this name.
    pub startup_gate: Option<&'static str>,
    /// `startup` fails.
    pub startup_fails: bool,
    /// `startup` panics.
    pub startup_panics: bool,
    /// `shutdown` waits at the gate of this name.
    pub shutdown_gate: Option<&'static str>,
    /// `shutdown` fails.
    pub shutdown_fails: bool,
}

impl Conformance {
    /// An application that remembers nothing yet.
    pub fn new() -> Self {
        Self::with_hooks(Records::default(), Hooks::default())
    }

    /// One with the given records and hooks.
    pub fn with_hooks(records: Records, hooks: Hooks) -> Self {
        let run: BlockingFn = Box::new(blocking::run);
        Conformance { records, hooks, blocking: Arc::new(adapter_core::blocking(run)), started: OnceLock::new() }
    }

    /// What it remembers.
    pub fn records(&self) -> Records {
        self.records.clone()
    }

    /// Erased, as servers take it.
    pub fn mount(self) -> DynApplication {
        DynApplication::new(self)
    }
}

impl Default for Conformance {
    fn default() -> Self {
        Self::new()
    }
}

impl Application for Call {
    async fn call(&self, mut request: Request, environ: Environ) -> Result<Response, Error> {
        remember(&self.log, &request, &environ, self.started.as_deref());
        let script = field(request.headers(), DO).unwrap_or_default();
        if script.trim_start_matches(BARE).starts_with("blocking") {
            request.extensions_mut().insert(self.log.clone());
            return self.blocking.call(request, environ).await;
        }
        handler::run(self.log.clone(), request, environ).await
    }
}

impl Application for Conformance {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        if let Some(what) = field(request.headers(), CONTROL) {
            return control::answer(&self.records, &what, &environ).await;
        }
        let log = self.records.begin(&field(request.headers(), TOKEN).unwrap_or_default());
        let call = Call { log: log.clone(), started: self.started.get().cloned(), blocking: self.blocking.clone() };
        let script = field(request.headers(), DO).unwrap_or_default();
        if script.starts_with(BARE) {
            return call.call(request, environ).await;
        }
        let (call, violations) = Lint::collecting(call);
        log.attach(violations);
        let mut request = request;
        if script.starts_with("middleware") {
            request.extensions_mut().insert(MiddlewareValue("conformance"));
        }
        call.call(request, environ).await
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        let log = self.records.begin(LIFESPAN);
        log.record("startup");
        for address in &server.local_addrs {
            log.record(format!("startup-address {address}"));
        }
        if let Some(gate) = self.hooks.startup_gate {
            log.gate(gate).await;
        }
        if self.hooks.startup_panics {
            panic("in startup")
        }
        if self.hooks.startup_fails {
            return Err("conformance: startup fails".into());
        }
        let _ = self.started.set("made at startup".into());
        log.record("started");
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), Error> {
        let log = self.records.begin(LIFESPAN);
        log.record("shutdown");
        if let Some(gate) = self.hooks.shutdown_gate {
            log.gate(gate).await;
        }
        if self.hooks.shutdown_fails { Err("conformance: shutdown fails".into()) } else { Ok(()) }
    }
}

/// Remembers the head and the environment of a call, in one piece: a case that waits for the call may look at all of it.
fn remember<B>(log: &Log, request: &http::Request<B>, environ: &Environ, started: Option<&str>) {
    let uri = request.uri();
    let (method, version) = (request.method().as_str(), request.version());
    let mut said = vec![format!("call {} {} {version:?}", text::encode(method), text::encode(uri.to_string()))];
    said.push(format!("path {}", text::encode(uri.path())));
    if let Some(query) = uri.query() {
        said.push(format!("query {}", text::encode(query)));
    }
    for (name, value) in request.headers() {
        said.push(format!("header {} {}", text::encode(name), text::encode(value)));
    }
    let mut env = |key: &str, value: String| said.push(format!("env {key} {}", text::encode(value)));
    env("scheme", environ.scheme().to_string());
    let forwarded = environ.forwarded().map(|by| (by.host.clone(), by.prefix.clone()));
    let (host, prefix) = forwarded.unwrap_or_default();
    env("forwarded-host", host.map_or("none".into(), String::from));
    env("forwarded-prefix", prefix.map_or("none".into(), String::from));
    env("peer", environ.peer_addr().map_or("none".to_owned(), |peer| peer.to_string()));
    env("socket-peer", environ.socket_peer_addr().map_or("none".to_owned(), |peer| peer.to_string()));
    env("local", environ.local_addr().to_string());
    env("mount-prefix", environ.mount_prefix().to_owned());
    env("path-info", environ.path_info(uri.path()).to_owned());
    env("interface", environ.interface_version().to_owned());
    env("server", environ.server().name.to_string());
    env("tls", environ.tls().is_some().to_string());
    if let Some(tls) = environ.tls() {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        env("tls-protocol", or_none(&tls.protocol));
        env("tls-cipher-suite", or_none(&tls.cipher_suite));
        env("tls-name", or_none(&tls.server_name));
        env("tls-alpn", tls.alpn.as_ref().map_or("none".into(), |alpn| String::from_utf8_lossy(alpn).into_owned()));
        env("tls-resumed", tls.resumed.to_string());
        // In hexadecimal, by commas.
        let hex = |chain: &Vec<u8>| chain.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        env("tls-certificates", tls.peer_certificates.iter().map(hex).collect::<Vec<_>>().join(","));
    }
    env("early-hints", environ.early_hints().is_some().to_string());
    env("disconnected", environ.is_disconnected().to_string());
    env("shutting-down", environ.is_shutting_down().to_string());
    env("age-us", environ.received_at().elapsed().as_micros().to_string());
    env("instance", log.instance());
    env("extensions", request.extensions().len().to_string());
    if let Some(started) = started {
        env("started", started.to_owned());
    }
    if let Some(deployed) = environ.deployed::<crate::setting::Deployed>() {
        env("deployed", deployed.0.clone());
    }
    log.record_all(said);
}

/// The first value of a field, as text.
fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Panics with a text by which [`quiet_panics`] knows it.
pub(crate) fn panic(place: &str) -> ! {
    panic!("{PANIC}: {place}")
}

/// What panics of the application say.
const PANIC: &str = "conformance: a panic that was asked for";

/// Keeps the panics that cases ask for out of stderr; others are printed as before. For runners, in their process.
pub fn quiet_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let asked_for = text.is_some_and(|text| text.starts_with(PANIC));
        if !asked_for {
            before(info);
        }
    }));
}
