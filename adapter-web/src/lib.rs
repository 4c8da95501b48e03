//! Write an HTTP application once, pick its server by name when it starts.
//!
//! This crate is what an application depends on: the interface, which is all of [`adapter_core`], the servers behind features, and a
//! command line that every program gets for free.
//!
//! ```no_run
#![doc = include_str!("../examples/hello.rs")]
//! ```
//!
//! ```text
//! $ cargo run
//! adapter: hyper 0.2.0 listening on http://127.0.0.1:8080
//! $ cargo run -- --server threadpool --bind 127.0.0.1:9000 --access-log
//! adapter: threadpool 0.2.0 listening on http://127.0.0.1:9000
//! ```
//!
//! The repository has a guide (`guide/src/introduction.md`), with a page for each thing that one wants to do, from JSON with a
//! database to upgrades that lose no request.
//!
//! # What comes next
//!
//! | to | there is |
//! |---|---|
//! | answer | an async function as above, or a type of your own that is an [`Application`], with state and hooks |
//! | run code that blocks | [`blocking()`], and [`Runtime::run_blocking`] for one call within async code |
//! | read a request | [`Request`], whose body is a [`RequestBody`], or a [`BlockingBody`] in code that blocks |
//! | know the client, sleep, spawn | [`Environ`], [`Environ::runtime`] |
//! | answer at once, piece by piece, by a file | [`Response`], [`Body`] |
//! | fail with a status | [`Error`] |
#![cfg_attr(feature = "websocket", doc = "| talk both ways | [`websocket`] |")]
#![cfg_attr(
    feature = "files",
    doc = "| serve a folder, or answer with a file | [`files::Directory`], [`files::send`] |"
)]
//! | open a database before anybody is served | [`at_startup()`] |
#![cfg_attr(feature = "axum", doc = "| serve an axum `Router`, as it is | [`axum()`] |")]
#![cfg_attr(feature = "tokio", doc = "| use tokio's libraries on every server | [`tokio::application`] |")]
//! | start it, also with flags of your own | [`serve!`](crate::serve!), [`cli`], [`Launcher`] |
//! | test it without a socket, and find its mistakes | [`testing::Client`], [`lint::Lint`] |
//! | see what it does | [`access_log`], [`observe`] |
//!
//! Numbers in brackets at the end of a paragraph, such as \[BOD-04\], are requirements of the specification, which servers follow.
//! An application's author can pass them over.
//!
//! Nothing here touches a request unless the access log is on.
//!
//! Who writes a server begins at [`server`], and adds it to the [`registry`].
//!
//! # Embedding
//!
//! A program that has a life of its own, of which a server is a part, picks one of two ways.
//!
//! *Beside it, by name*: [`Server::start`] gives the server threads of its own, whatever it is, and returns a
//! [`ServerHandle`]: where it listens, how to stop it, and its end, to be awaited on any runtime
//! ([`ServerHandle::stopped`]) or by a thread ([`ServerHandle::wait`]). A handle that is dropped stops its server.
//!
//! ```
//! use adapter_web::{Body, DynApplication, Environ, Error, Request, Response, ServerConfig, registry};
//!
//! async fn hello(_request: Request, _environ: Environ) -> Result<Response, Error> {
//!     Ok(Response::new(Body::from("Hello, World!\n")))
//! }
//!
//! # #[cfg(feature = "hyper")] {
//! let config = ServerConfig::default().bind("127.0.0.1:0".parse()?); // a port that is free
//! let mut server = registry::server("auto")?.start(DynApplication::new(hello), config)?;
//! println!("listening on {}", server.local_addrs()[0]);
//! server.trigger().trigger(); // from anywhere
//! # futures_lite::future::block_on(async {
//! server.stopped().await
//! # })?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! *Within it*: `hyper::serve` is a future on the program's own tokio runtime, `smol::serve` one on any other. Both take a
//! listener of `std`'s, a [`Bind`], or several; run until a future of the program's is ready, then drain; and end at once
//! where they are dropped.
//!
//! ```
//! # use adapter_web::{Body, Environ, Error, Request, Response};
//! # async fn hello(_request: Request, _environ: Environ) -> Result<Response, Error> { Ok(Response::default()) }
//! # #[cfg(feature = "hyper")]
//! async fn program(stop: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
//!     use adapter_web::{Bind, ServerConfig, hyper};
//!
//!     let addresses: [Bind; 2] = ["127.0.0.1:0".parse()?, "unix:hello.sock".parse()?];
//!     let listeners = hyper::Listeners::bind(addresses)?;
//!     println!("listening on {}", listeners.local_addrs()[0]);
//!     hyper::serve(listeners, hello, ServerConfig::default(), stop).await?;
//!     Ok(())
//! }
//! ```
//!
//! An [`Application`] inside of a foreign server, such as axum's own, is what `tower::service` of the feature `tower` makes;
//! `tower::Host` is the environment it needs there.
//!
//! # Signals
//!
//! | signal | what it does |
//! |---|---|
//! | SIGTERM, SIGINT | drains: what is in flight completes until `--timeout-graceful-shutdown`. Another one forces, a third kills. Status 0, forced or not |
//! | SIGQUIT | stops at once, as the second SIGTERM; the shutdown hook runs, and logs are written. Status 0 |
//! | SIGHUP | reads certificates and the trusted proxies from files again, and opens the access log's file again; also under `nohup` |
//! | SIGUSR2 | starts the program on disk anew with the same arguments and listeners, and drains when that one serves |
//! | SIGUSR1 | opens the access log's file (`--access-log-file`) again |
//!
//! The same signal again within a second is the one before, passed on by a terminal or a wrapper. With `--drain-delay TIME` all
//! is served for that long between the signal and the draining, while load balancers learn of it; a second signal ends the delay.
//! Behind an upgrade, or in a worker that was replaced, what drains already drains on at the first signal, and is forced by the second.
//! While the program starts, SIGTERM, SIGINT and SIGQUIT drop the startup hook, and the process ends by that signal; a hook
//! that blocks goes on until the second one.
//!
//! SIGHUP and SIGUSR1 end nothing, and say in one line what they did. New connections get the new certificates, running ones go on;
//! whom the server believes (`--trusted-proxy`, `--trusted-hops`, `--forwarded`, `--forwarded-also`, `--proxy-protocol-from`) is read from the
//! file of `--config`, as far as neither the command line nor the environment says it, and holds from the next request on, on running
//! connections, too. What does not hold leaves in place what was there before. Log files are rotated by a rename and a signal, and lose no line.
//! Nobody has to read stdout or stderr for any of that.
//!
//! SIGUSR2 loses no request: the listeners are shared by both processes, whichever server it is. Where the new one does not start, or is
//! not ready a minute after the time its hooks have (`--timeout-hooks`), the old one goes on and says why. The program is started by the
//! name it was called by, so that the file, or a link on the way to it, is replaced beforehand; stdin, stdout and stderr
//! are the same ones. Addresses that the new one does not want any more are closed. As process 1 of a container it is refused.
//!
//! With `--workers N` these go to the process that was started, which serves nothing itself, and watches N others that do. SIGHUP
//! starts new ones, one by one, and each old one drains once another one serves in its place; SIGTTIN and SIGTTOU start one more and
//! end one; SIGUSR2 starts the watching process anew, which starts N workers of its own. The rest is passed on. A worker that ends
//! is replaced, as is one whose event loops do not answer for `--timeout-worker`; one whose parent ends drains. A program's `main`
//! runs in the parent as well, until it serves: what it opens before that is open there, too. Hooks run in workers only.
//!
//! Under systemd (`NOTIFY_SOCKET`), `Type=notify-reload` is told READY, RELOADING and STOPPING, and the watchdog of `WatchdogSec=` is
//! fed while the event loops of the server answer, so that one that hangs is restarted. `examples/deploy/systemd` has units.
//!
//! # Metrics
//!
//! `--metrics-bind ADDR` tells what the server does at `/metrics`, for Prometheus, whether the process lives at `/healthz`, and whether it
//! serves at `/readyz`, which says no from the begin of a drain, or of its delay, on. A thread of its own answers, over a listener of its
//! own, which SIGUSR2 hands on. Without the flag nothing is counted.
//!
//! # TLS
//!
//! The feature `tls` brings `--tls-cert FILE --tls-key FILE` (several pairs are picked from by the name a client asks for),
//! `--tls-client-ca`, `--tls-min-version`, and `--tls-self-signed` for development. All addresses have TLS then, or those
//! only with `,tls` behind them: `--bind :80 --bind :443,tls`. Sockets inherited through `LISTEN_FDS` all have it. Programs
//! that configure by code use `tls::TlsConfig`.
//!
//! # Behind a proxy
//!
//! `--trusted-proxy` names who is believed, an address or `unix`, and `--forwarded` the fields it writes: `x-forwarded`
//! (the default, for nginx, HAProxy, Caddy and load balancers) or `forwarded` (RFC 7239). The other family is the
//! client's own and changes nothing. [`Environ::peer_addr`] is `None` where a proxy does not say who the client is.
//!
//! A proxy that forwards octets says whose they are by the PROXY protocol: `--bind :443,tls,proxy` has its header in front of
//! everything, from the proxies of `--proxy-protocol-from` (default: the trusted ones) and nobody else. Health checks that come
//! without it need another `--bind`. [`Environ::socket_peer_addr`] is the proxy itself.

pub mod access_log;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(all(feature = "cli", any(not(unix), test)))]
#[cfg_attr(unix, allow(dead_code, reason = "here only its tests are run"))]
mod console;
#[cfg(all(feature = "cli", unix))]
mod control;
#[cfg(all(feature = "cli", unix))]
mod descriptors;
#[cfg(feature = "cli")]
mod inherited;
#[cfg(feature = "cli")]
mod launch;
#[cfg(feature = "cli")]
mod logging;
#[cfg(all(feature = "cli", unix))]
mod metrics;
#[cfg(all(feature = "cli", unix))]
mod operator;
mod output;
#[cfg(feature = "cli")]
mod program;
pub mod registry;
#[cfg(all(feature = "cli", unix))]
mod renewal;
#[cfg(all(feature = "cli", unix))]
mod signals;
#[cfg(feature = "cli")]
mod stderr;
#[cfg(feature = "cli")]
mod steps;
#[cfg(all(feature = "cli", unix))]
mod successor;
#[cfg(all(feature = "cli", unix))]
mod systemd;
#[cfg(feature = "cli")]
mod urls;
#[cfg(all(feature = "cli", unix))]
mod workers;

pub use adapter_core::*;

/// The server `hyper`, and its entry for programs that run tokio. Feature `hyper`.
#[cfg(feature = "hyper")]
pub mod hyper {
    pub use adapter_hyper::{HyperServer, Listeners, serve};
}

/// The server `actix`. Feature `actix`.
#[cfg(feature = "actix")]
pub mod actix {
    pub use adapter_hyper::ActixServer;
}

/// The server `smol`, and its entries for programs that run smol, or any executor. Feature `smol`.
#[cfg(feature = "smol")]
pub mod smol {
    pub use adapter_smol::{Listeners, SmolServer, serve, serve_on};
}

/// The server `threadpool`. Feature `threadpool`.
#[cfg(feature = "threadpool")]
pub mod threadpool {
    pub use adapter_threadpool::ThreadPoolServer;
}

/// The seam between servers and TLS, as in [`adapter_core::tls`], and TLS by rustls. Feature `tls`.
#[cfg(feature = "tls")]
pub mod tls {
    pub use adapter_core::tls::{Acceptor, Session, Tls, TlsError, TlsInfo};
    pub use adapter_tls::{ClientAuth, LoadError, MinVersion, ParseChoiceError, TlsConfig, from_rustls, rustls};
}

pub use self::access_log::AccessLog;
#[cfg(feature = "cli")]
pub use self::cli::{Args, Exit};
#[cfg(feature = "cli")]
pub use self::launch::{Launcher, run};
#[cfg(feature = "cli")]
pub use self::program::{Program, serve};
pub use self::registry::servers;

/// The programs that others are compared with compile as they stand.
#[cfg(doctest)]
#[doc = include_str!("../../spec/COMPARE.md")]
struct Compared;
