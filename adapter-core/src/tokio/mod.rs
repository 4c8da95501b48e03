//! tokio's libraries on every server. Feature `tokio`.
//!
//! `tokio::time::sleep`, `tokio::spawn`, `tokio::fs`, `tokio::net` and all that is built upon them (reqwest, sqlx, tower's
//! `Timeout`, axum's `Sse::keep_alive`) need a runtime of tokio's around whoever calls them. On servers that run on
//! tokio there is one; on the others they panic. [`application`] wraps an application so that there is one everywhere:
//!
//! * If the thread that polls is in a runtime of tokio's, that is used, and the wrapper does nothing.
//! * Otherwise one of the wrapper's own is: multi-threaded, started when it is first needed, which is the startup hook's
//!   turn. The server goes on polling the application; the runtime's threads drive timers and sockets, and run what is
//!   spawned with `tokio::spawn`.
//!
//! It is entered around each poll of a handler, of the hooks and of response bodies, around blocking iterators, what
//! [`Body::on_finish`](crate::Body::on_finish) adds, and the drops of all these. What is spawned with
//! [`Runtime::spawn`](crate::Runtime::spawn) or runs by [`Runtime::run_blocking`](crate::Runtime::run_blocking) inherits
//! the runtime of who began it.
//!
//! The application's own drop runs where blocking is allowed, its panic contained: an application may own a
//! `tokio::runtime::Runtime`. It may ask for the runtime there, but a server's own has ended by then: what is to be waited
//! for belongs into the shutdown hook. The wrapper's runtime ends after it, without waiting for what is still spawned on it.
//!
//! ```
//! use std::time::Duration;
//! use adapter_core::{Body, Environ, Error, Request, Response, testing::Client, tokio as with_tokio};
//!
//! async fn late(_request: Request, _environ: Environ) -> Result<Response, Error> {
//!     tokio::time::sleep(Duration::from_millis(5)).await;
//!     Ok(Response::new(Body::from("late")))
//! }
//!
//! let client = Client::new(with_tokio::application(late));
//! assert_eq!(client.get("/").send().text(), "late"); // there is no runtime in this program
//! ```

mod driver;
mod shared;

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::tokio::runtime::Handle;
use pin_project_lite::pin_project;

use self::shared::Shared;
use crate::application::{Application, Arguments, DynApplication, Handler, Request, Response, answer, boxed};
use crate::contain;
use crate::environ::Environ;
use crate::error::Error;
use crate::server::ServerInfo;

/// `application`, able to use tokio's libraries on every server.
///
/// Costs one allocation a request, and one more for a streamed body where the runtime is the wrapper's own. Starts
/// nothing by itself: see the [module](self).
pub fn application(application: impl Application) -> WithTokio {
    WithTokio::around(DynApplication::new(application))
}

/// An application that makes handlers without allocating them.
#[doc(hidden)]
pub trait Begin: Application {
    /// A call under way.
    type Handler: Handler + 'static;

    /// Calls it; may panic.
    fn begin(&self, given: &mut Arguments) -> Self::Handler;
}

impl Begin for DynApplication {
    type Handler = Pin<Box<dyn Handler>>;

    #[inline(always)]
    fn begin(&self, given: &mut Arguments) -> Self::Handler {
        self.call_erased(given)
    }
}

/// The application made by [`application`].
///
/// Its drop blocks as the application's own does. Where it happens in a runtime of tokio's, another thread does it and
/// this one waits for that: an application's drop must not wait for the server's own runtime.
pub struct WithTokio<A: Application = DynApplication>(Arc<Shared<A>>);

impl<A: Application> WithTokio<A> {
    pub(crate) fn around(application: A) -> Self {
        WithTokio(Arc::new(Shared::new(application)))
    }

    /// So many threads for the runtime of its own, where it needs one. Default: one per core.
    #[must_use]
    pub fn worker_threads(mut self, threads: NonZeroUsize) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.worker_threads(threads);
        }
        self
    }
}

impl<A: Begin> WithTokio<A> {
    #[inline(always)]
    fn begin(&self, given: &mut Arguments) -> Entered<A> {
        let _entered = self.0.missing().map(Handle::enter);
        Entered { handler: Some(self.0.application().begin(given)), shared: self.0.clone() }
    }
}

impl<A: Begin> Application for WithTokio<A> {
    fn call(&self, request: Request, environ: Environ) -> impl Future<Output = Result<Response, Error>> + Send {
        answer(self.begin(&mut Some((request, environ))))
    }

    fn call_owned(&self, _: &DynApplication, given: &mut Arguments) -> Pin<Box<dyn Handler>> {
        boxed(|| self.begin(given))
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        self.0.start()?;
        Hook { future: Some(Box::pin(self.0.application().startup(server))), shared: &self.0 }.await
    }

    async fn shutdown(&self) -> Result<(), Error> {
        Hook { future: Some(Box::pin(self.0.application().shutdown())), shared: &self.0 }.await
    }
}

impl<A: Application> std::fmt::Debug for WithTokio<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WithTokio")
    }
}

pin_project! {
    /// A call under way. Holds the application, so that its last reference is never the handler's within.
    struct Entered<A: Begin> {
        // `None` once it is ready.
        #[pin]
        handler: Option<A::Handler>,
        shared: Arc<Shared<A>>,
    }

    impl<A: Begin> PinnedDrop for Entered<A> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.handler.is_some() {
                this.shared.within(|| this.handler.set(None));
            }
        }
    }
}

impl<A: Begin> Handler for Entered<A> {
    fn poll_into(self: Pin<&mut Self>, cx: &mut Context<'_>, answer: &mut Option<Response>) -> Poll<Result<(), Error>> {
        let mut this = self.project();
        let shared = this.shared;
        let running = this.handler.as_mut().as_pin_mut().expect("invariant: there until it is ready");
        let missing = shared.missing();
        let _entered = missing.map(Handle::enter);
        let polled = running.poll_into(cx, answer);
        if polled.is_ready() {
            // Here, so that the runtime need not be looked for again. [ERR-08]
            let _ = contain::catch("drop of a handler", || this.handler.set(None));
        }
        if let (Some(handle), Some(response)) = (missing, answer) {
            response.body_mut().enter(handle);
        }
        polled
    }
}

type Hooked<'a> = dyn Future<Output = Result<(), Error>> + Send + 'a;

/// A hook under way.
struct Hook<'a, A: Application> {
    /// `None` only while it is dropped.
    future: Option<Pin<Box<Hooked<'a>>>>,
    shared: &'a Shared<A>,
}

impl<A: Application> Future for Hook<'_, A> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Hook { future, shared } = &mut *self;
        let future = future.as_mut().expect("invariant: there until it is dropped").as_mut();
        shared.within(|| future.poll(cx))
    }
}

impl<A: Application> Drop for Hook<'_, A> {
    fn drop(&mut self) {
        let future = self.future.take();
        self.shared.within(|| drop(future));
    }
}
