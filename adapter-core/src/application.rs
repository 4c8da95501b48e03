//! The application side of the interface: one trait, and its erased form.
//!
//! `call` runs on whatever the server uses: a task of an event loop, or a worker thread. Servers hold a
//! [`DynApplication`]; everything else stays generic. Requirements: APP side of \[CON-10\], \[LIF-03\], \[LIF-08\].

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::body::Body;
use crate::contain::{self, Panic};
use crate::environ::Environ;
use crate::error::Error;
use crate::info::ServerInfo;
use crate::request_body::RequestBody;
use crate::runtime::TaskError;

/// A request as the application receives it: head and body, see [`RequestBody`].
pub type Request<B = RequestBody> = http::Request<B>;

/// A response as the application returns it, see [`Body`].
pub type Response<B = Body> = http::Response<B>;

/// What a server runs.
///
/// A plain async function or closure `Fn(Request, Environ) -> impl Future<Output = Result<Response, E>>` is one, for
/// any `E: Into<Error>`; so is [`blocking(f)`](crate::blocking()), an `Arc` of one and, with the feature `axum`, an
/// axum `Router`; with the feature `tower`, any tower service as `tower::application(service)`. A boxed function is one as
/// functions are; for others whose type is to be erased there is [`DynApplication`].
///
/// ```
/// use adapter_core::{Application, Body, Environ, Error, Request, Response};
///
/// // a function ...
/// async fn hello(_request: Request, _environ: Environ) -> Result<Response, Error> {
///     Ok(Response::new(Body::from("Hello, World!\n")))
/// }
///
/// // ... or a type with state and hooks
/// struct Greeter { greeting: String }
///
/// impl Application for Greeter {
///     async fn call(&self, request: Request, _environ: Environ) -> Result<Response, Error> {
///         Ok(Response::new(Body::from(format!("{} {}\n", self.greeting, request.uri().path()))))
///     }
/// }
/// # fn takes(_: impl Application) {}
/// # takes(hello); takes(Greeter { greeting: "Hello".into() });
/// ```
pub trait Application: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// Called once per request, concurrently from several threads or tasks. The future must not block its thread
    /// (wrap blocking code in [`blocking`](crate::blocking()) or [`Runtime::run_blocking`](crate::Runtime::run_blocking)).
    ///
    /// The response head is committed when the future returns `Ok`. `Err` and panics before that are answered by the
    /// server, see [`Error::status`]; they never end the server. \[RSP-09\], \[ERR-01\], \[ERR-02\]
    ///
    /// *Cancellation*: the future is dropped at any await point when the client has gone (see
    /// [`Environ::disconnected`]) or at the shutdown deadline. Work that must complete whoever waits for it belongs into
    /// [`Runtime::spawn`](crate::Runtime::spawn), which a shutdown gives as long as it gives responses.
    fn call(&self, request: Request, environ: Environ) -> impl Future<Output = Result<Response, Error>> + Send;

    /// [`call`](Self::call) as a future that owns all it needs, `owner` being what holds `self`; overridden where that
    /// saves a reference count and moves of the request. A panic is contained here and logged.
    #[doc(hidden)]
    fn call_owned(&self, owner: &DynApplication, given: &mut Arguments) -> Pin<Box<dyn Handler>>
    where
        Self: Sized,
    {
        let owner = owner.clone();
        let (request, environ) = arguments(given);
        let future = async move {
            let this = (*owner.0).as_any().downcast_ref::<Self>();
            let this = this.expect("invariant: an application is called by what holds it");
            Application::call(this, request, environ).await
        };
        Box::pin(Handling { future })
    }

    /// Erases the type, as [`DynApplication::new`] does; overridden where something has to stand around the application,
    /// or nothing need.
    #[doc(hidden)]
    fn erase(self) -> DynApplication
    where
        Self: Sized,
    {
        DynApplication(Arc::new(self))
    }

    /// Called once per `serve`, after the listeners are bound and before the first connection is accepted. An error
    /// makes `serve` return it, and nothing is accepted. Default: does nothing. \[LIF-01\], \[LIF-02\]
    fn startup(&self, server: &ServerInfo) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = server;
        async { Ok(()) }
    }

    /// Called once per `serve`, after the last connection is closed and what was [spawned](crate::Runtime::spawn) has
    /// ended, or was dropped at the deadline. An error is reported by
    /// [`ServerHandle::wait`](crate::ServerHandle::wait). Default: does nothing. \[LIF-06\], \[RTM-05b\]
    fn shutdown(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }
}

impl<F, Fut, E> Application for F
where
    F: Fn(Request, Environ) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, E>> + Send + 'static,
    E: Into<Error>,
{
    fn call(&self, request: Request, environ: Environ) -> impl Future<Output = Result<Response, Error>> + Send {
        let future = self(request, environ);
        async { future.await.map_err(Into::into) }
    }

    fn call_owned(&self, _: &DynApplication, given: &mut Arguments) -> Pin<Box<dyn Handler>> {
        boxed(|| {
            let (request, environ) = arguments(given);
            Handling { future: self(request, environ) }
        })
    }
}

/// What an application is called with, until it takes them: a request is large, and every move of one costs 50 instructions.
pub(crate) type Arguments = Option<(Request, Environ)>;

/// Them, which nobody has taken yet.
#[inline(always)]
pub(crate) fn arguments(given: &mut Arguments) -> (Request, Environ) {
    given.take().expect("invariant: an application is called once with them")
}

/// The response of a handler.
pub(crate) async fn answer(handler: impl Handler) -> Result<Response, Error> {
    let mut handler = pin!(handler);
    let mut answer = None;
    poll_fn(|cx| handler.as_mut().poll_into(cx, &mut answer)).await?;
    Ok(answer.expect("invariant: a handler that is ready has answered"))
}

/// What `call` makes, or its panic, as a handler: for [`Application::call_owned`].
#[inline]
pub(crate) fn boxed<H: Handler + 'static>(call: impl FnOnce() -> H) -> Pin<Box<dyn Handler>> {
    // Allocated before there is a handler, so that it need not be moved there.
    let place = Box::new_uninit();
    match contain::catch("handler", || Box::write(place, call())) {
        Ok(handler) => Box::into_pin(handler as Box<dyn Handler>),
        Err(panic) => Box::pin(Panicked(panic)),
    }
}

/// A call under way, its type erased. A future whose output goes straight to where it is wanted: most moves of a
/// response can't be seen through by the compiler, and cost 5 to 8 ns each (measured).
#[doc(hidden)]
pub trait Handler: Send {
    /// Puts the response into `answer` once it is there: ready with `Ok` means that it has. As [`Future::poll`] otherwise.
    fn poll_into(self: Pin<&mut Self>, cx: &mut Context<'_>, answer: &mut Option<Response>) -> Poll<Result<(), Error>>;
}

pin_project_lite::pin_project! {
    /// A future of an application's as a [`Handler`].
    pub(crate) struct Handling<Fut> {
        #[pin]
        pub(crate) future: Fut,
    }
}

impl<Fut, E> Handler for Handling<Fut>
where
    Fut: Future<Output = Result<Response, E>> + Send,
    E: Into<Error>,
{
    #[inline]
    fn poll_into(self: Pin<&mut Self>, cx: &mut Context<'_>, answer: &mut Option<Response>) -> Poll<Result<(), Error>> {
        self.project().future.poll(cx).map(|outcome| match outcome {
            Ok(response) => {
                *answer = Some(response);
                Ok(())
            }
            Err(error) => Err(error.into()),
        })
    }
}

impl Handler for Pin<Box<dyn Handler>> {
    #[inline]
    fn poll_into(self: Pin<&mut Self>, cx: &mut Context<'_>, answer: &mut Option<Response>) -> Poll<Result<(), Error>> {
        self.get_mut().as_mut().poll_into(cx, answer)
    }
}

/// A closure that panicked before there was a future; logged where it was caught.
struct Panicked(Panic);

impl Handler for Panicked {
    fn poll_into(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut Option<Response>) -> Poll<Result<(), Error>> {
        Poll::Ready(Err(Error::new(TaskError::of(&self.0))))
    }
}

impl<A: Application> Application for Arc<A> {
    fn call(&self, request: Request, environ: Environ) -> impl Future<Output = Result<Response, Error>> + Send {
        A::call(self, request, environ)
    }

    fn startup(&self, server: &ServerInfo) -> impl Future<Output = Result<(), Error>> + Send {
        A::startup(self, server)
    }

    fn shutdown(&self) -> impl Future<Output = Result<(), Error>> + Send {
        A::shutdown(self)
    }
}

/// The object-safe twin of [`Application`].
#[async_trait::async_trait]
trait Erased: Send + Sync + 'static {
    fn call(&self, owner: &DynApplication, given: &mut Arguments) -> Pin<Box<dyn Handler>>;
    fn as_any(&self) -> &dyn Any;
    async fn startup(&self, server: &ServerInfo) -> Result<(), Error>;
    async fn shutdown(&self) -> Result<(), Error>;
}

#[async_trait::async_trait]
impl<A: Application> Erased for A {
    fn call(&self, owner: &DynApplication, given: &mut Arguments) -> Pin<Box<dyn Handler>> {
        Application::call_owned(self, owner, given)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        Application::startup(self, server).await
    }

    async fn shutdown(&self) -> Result<(), Error> {
        Application::shutdown(self).await
    }
}

/// Any [`Application`] with its type erased; cheap to clone, what servers hold.
///
/// ```
/// # use adapter_core::{Body, DynApplication, Environ, Error, Request, Response};
/// let application = DynApplication::new(|_request: Request, _environ: Environ| async {
///     Ok::<_, Error>(Response::new(Body::from("hi")))
/// });
/// let same = application.clone();
/// ```
#[derive(Clone)]
pub struct DynApplication(Arc<dyn Erased>);

impl DynApplication {
    /// Erases `application`; one that is erased already is the same.
    pub fn new(application: impl Application) -> Self {
        application.erase()
    }

    /// How many other references to it there are.
    pub(crate) fn others(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    /// [`Application::call`] as a future that owns all it needs.
    #[inline]
    pub(crate) fn call_erased(&self, given: &mut Arguments) -> Pin<Box<dyn Handler>> {
        self.0.call(self, given)
    }
}

impl Application for DynApplication {
    fn call(&self, request: Request, environ: Environ) -> impl Future<Output = Result<Response, Error>> + Send {
        answer(self.call_erased(&mut Some((request, environ))))
    }

    fn erase(self) -> DynApplication {
        self
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        self.0.startup(server).await
    }

    async fn shutdown(&self) -> Result<(), Error> {
        self.0.shutdown().await
    }
}

impl std::fmt::Debug for DynApplication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DynApplication")
    }
}
