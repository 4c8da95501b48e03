//! The client, and requests under construction.

use std::backtrace::Backtrace;
use std::fmt;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version, request, response};

use super::answer::Answer;
use super::clock::{self, Clock};
use super::exchange::{Hints, Outbound, Site, respond};
use super::open::OpenAnswer;
use crate::application::{Application, DynApplication};
use crate::carried::Carried;
use crate::error::Error;
use crate::request_body::RequestBody;
use crate::rules::{Rejection, target};
use crate::runtime::Runtime;
use crate::server::{ServerConfig, ShutdownTrigger, Tracker, lifecycle};
use crate::signal::Signal;
use crate::upgrade::Upgraded;

/// How long a blocking method waits before it takes the application for stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it waits before it looks whether the application can go on at all.
const SUSPICION: Duration = Duration::from_secs(5);

/// Drives an application in this process. Cheap to clone; all clones share one application and one startup.
///
/// The startup hook runs before the first request, see [`startup`](Self::startup).
#[derive(Clone)]
pub struct Client {
    pub(super) site: Arc<Site>,
    /// `None`: [`PATIENCE`], if there is hope.
    patience: Option<Duration>,
    /// `None`: cookies are left to the test.
    #[cfg(feature = "testing")]
    pub(super) jar: Option<super::cookies::Jar>,
}

impl Client {
    /// A client of `application`, which is polled as on an event loop: what blocks runs on other threads.
    ///
    /// With the feature `tokio` the application has a tokio runtime, see the [module](super#tokio).
    pub fn new(application: impl Application) -> Self {
        let application = DynApplication::new(application);
        #[cfg(feature = "tokio")]
        let application = DynApplication::new(crate::tokio::application(application));
        Client::of(Site::new(application, ServerConfig::default(), false, false))
    }

    /// As [`new`](Self::new), with a clock that stands still and jumps: `environ.runtime()` and all that the client times sleep
    /// no real time. While the test waits in a call of the client and nothing has anything to do, the clock goes to the next
    /// deadline at once; [`advance`](Self::advance) moves it by hand. Code that sleeps on a thread of its own, or by other
    /// timers such as tokio's, takes its real time. While blocking code runs the clock stands, also where that only waits, such as
    /// for a message of a WebSocket or a piece of an upload; and blocking code that waits for the runtime's own timers waits for
    /// ever. What the test polls itself, by `send_async` for one, is not counted.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use adapter_core::{Body, Environ, Error, Request, Response, testing::Client};
    ///
    /// async fn patient(_request: Request, environ: Environ) -> Result<Response, Error> {
    ///     environ.runtime().sleep(Duration::from_secs(3600)).await;
    ///     Ok(Response::new(Body::from("an hour later")))
    /// }
    ///
    /// let client = Client::with_paused_time(patient);
    /// let began = client.now();
    /// assert_eq!(client.get("/").send().text(), "an hour later"); // now
    /// assert_eq!(client.now() - began, Duration::from_secs(3600));
    /// ```
    pub fn with_paused_time(application: impl Application) -> Self {
        let client = Client::new(application);
        let site = Site::new(client.site.application.clone(), ServerConfig::default(), false, true);
        Client { site: Arc::new(site), ..client }
    }

    fn of(site: Site) -> Self {
        Client {
            site: Arc::new(site),
            patience: None,
            #[cfg(feature = "testing")]
            jar: None,
        }
    }

    /// The same application, not started, on threads that may block, as on a thread-pool server: blocking applications
    /// and iterators run on the thread that asks.
    #[must_use]
    pub fn on_threads(self) -> Self {
        let site = &self.site;
        let site = Site::new(site.application.clone(), site.config.clone(), true, site.clock.is_some());
        Client { site: Arc::new(site), ..self }
    }

    /// The same application, not started, under `config`: its limits, mount prefix, trusted proxies, values, handler
    /// timeout and bounds on blocking work count here.
    ///
    /// # Panics
    /// If no server could follow it, see [`ServerConfig::validate`].
    #[must_use]
    pub fn configured(self, config: ServerConfig) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        let site = &self.site;
        let site = Site::new(site.application.clone(), config, site.may_block, site.clock.is_some());
        Client { site: Arc::new(site), ..self }
    }

    /// Waits at most that long in any method that blocks, then panics. The default is 60 s, or 5 s on a thread that drives
    /// a tokio runtime of one thread, see [`RequestBuilder::send`].
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Runs the startup hook unless it has run; requests do so by themselves. Blocks. \[LIF-01\]
    ///
    /// # Errors
    /// The hook's error, on each call.
    pub fn startup(&self) -> Result<(), Error> {
        let site = self.site.clone();
        self.run("startup hook", async move { site.start().await })
    }

    /// What tells the application that the server is stopping, see [`Environ::shutting_down`](crate::Environ::shutting_down).
    pub fn trigger(&self) -> ShutdownTrigger {
        self.site.serving.shutdown.clone()
    }

    /// Tells the application that the server is stopping, waits for what it spawned until the configured deadline, as a
    /// server does, drops what is left, and runs its shutdown hook. Blocks; does not wait for open answers. \[LIF-06\],
    /// \[RTM-05b\]
    ///
    /// # Errors
    /// The hook's.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.trigger().drain();
        let serving = &self.site.serving;
        let graceful = self.site.config.timeouts.graceful_shutdown;
        self.wait("spawned tasks", lifecycle::drain(serving, &Tracker::default(), graceful));
        let application = self.site.application.clone();
        let outcome = self.run("shutdown hook", async move { application.shutdown().await });
        serving.runtime.tasks().close();
        self.site.threads.stop();
        outcome
    }

    /// The time of the client's clock, see [`with_paused_time`](Self::with_paused_time).
    pub fn now(&self) -> Instant {
        self.site.serving.runtime.now()
    }

    /// Lets `time` pass on a [paused](Self::with_paused_time) clock, with all that happens in it, in order; returns when nothing
    /// has anything to do any more. Does not sleep.
    ///
    /// # Panics
    /// If the clock is not paused, or something is busy for longer than [`patience`](Self::patience).
    pub fn advance(&self, time: Duration) {
        let clock = self.site.clock.as_ref().expect("a client `with_paused_time`");
        clock.advance(time, self.patience.unwrap_or(PATIENCE));
    }

    /// A GET request.
    pub fn get(&self, target: &str) -> RequestBuilder {
        self.build(Method::GET, target)
    }

    /// A HEAD request.
    pub fn head(&self, target: &str) -> RequestBuilder {
        self.build(Method::HEAD, target)
    }

    /// A POST request.
    pub fn post(&self, target: &str, body: impl Into<RequestBody>) -> RequestBuilder {
        self.build(Method::POST, target).body(body)
    }

    /// A PUT request.
    pub fn put(&self, target: &str, body: impl Into<RequestBody>) -> RequestBuilder {
        self.build(Method::PUT, target).body(body)
    }

    /// A PATCH request.
    pub fn patch(&self, target: &str, body: impl Into<RequestBody>) -> RequestBuilder {
        self.build(Method::PATCH, target).body(body)
    }

    /// A DELETE request.
    pub fn delete(&self, target: &str) -> RequestBuilder {
        self.build(Method::DELETE, target)
    }

    /// An OPTIONS request.
    pub fn options(&self, target: &str) -> RequestBuilder {
        self.build(Method::OPTIONS, target)
    }

    /// A request with any method.
    ///
    /// # Panics
    /// If `method` is not a token.
    pub fn method(&self, method: &str, target: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_else(|_| panic!("{method:?} is no method"));
        self.build(method, target)
    }

    /// A request made elsewhere.
    pub fn request<B: Into<RequestBody>>(&self, request: http::Request<B>) -> RequestBuilder {
        let (head, body) = request.into_parts();
        let target = Ok(head.uri.clone());
        RequestBuilder::new(self.clone(), head, target, body.into())
    }

    fn build(&self, method: Method, text: &str) -> RequestBuilder {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = method;
        let malformed = Rejection::new(StatusCode::BAD_REQUEST, "TGT-16", "the request target is malformed");
        let target = target::check_raw(text.as_bytes()).and_then(|()| text.parse::<Uri>().map_err(|_| malformed));
        RequestBuilder::new(self.clone(), head, target, RequestBody::empty())
    }

    /// Blocks on `future`, which polls the application: on this thread, unless that would hold up what the application
    /// waits for.
    ///
    /// # Panics
    /// As [`wait`](Self::wait), and with the panic of `future`.
    pub(super) fn run<F>(&self, what: &str, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let Some(runtime) = elsewhere() else { return self.wait(what, future) };
        let future = clock::track(self.site.clock.as_ref(), future);
        let (sender, receiver) = async_channel::bounded(1);
        // Log lines stay where the test looks for them.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let work = move || {
            let answer = || runtime.within(|| futures_lite::future::block_on(future));
            let output = tracing::dispatcher::with_default(&dispatch, answer);
            let _ = sender.send_blocking(output);
        };
        let thread = thread::Builder::new().name("testing-client".into()).spawn(work);
        let thread = thread.expect("a thread for the testing client");
        match self.wait(what, receiver.recv()) {
            Ok(output) => output,
            Err(_) => match thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => unreachable!("it sends what it has, unless it panics"),
            },
        }
    }

    /// Blocks on `future`.
    ///
    /// # Panics
    /// When the client's patience is over.
    pub(super) fn wait<F: Future>(&self, what: &str, future: F) -> F::Output {
        // Patience is real time, whatever the application's is.
        let patience = Runtime::new(self.site.threads.clone());
        // Dropped in this order: the test goes on when it does not wait any more.
        let mut future = pin!(clock::track(self.site.clock.as_ref(), future));
        let _waiting = self.site.clock.as_ref().map(Clock::waiting);
        let mut wait = |time| futures_lite::future::block_on(patience.timeout(time, future.as_mut()));
        let mut outcome = wait(self.patience.unwrap_or(SUSPICION));
        if outcome.is_err() && self.patience.is_none() {
            if drives_tokio() {
                panic!(
                    "{what}: nothing in {SUSPICION:?}, and this thread drives a tokio runtime whose timers and sockets \
                     stand still while it blocks: use `send_async().await`, a runtime of several threads, or the \
                     feature `tokio`"
                );
            }
            outcome = wait(PATIENCE - SUSPICION);
        }
        outcome.unwrap_or_else(|_| panic!("{what}: nothing in {:?}", self.patience.unwrap_or(PATIENCE)))
    }
}

/// Where the application runs instead, if this thread is in a tokio runtime, of which it may be the only one, or hold tasks that
/// no other takes: in the same runtime, if that has threads of its own.
#[cfg(feature = "tokio")]
fn elsewhere() -> Option<Carried> {
    use ::tokio::runtime::{Handle, RuntimeFlavor};
    let runtime = Handle::try_current().ok()?;
    // A single worker may be the one that is blocked.
    let goes_on = runtime.runtime_flavor() != RuntimeFlavor::CurrentThread && runtime.metrics().num_workers() > 1;
    Some(if goes_on { Carried::from(&runtime) } else { Carried::default() })
}

#[cfg(not(feature = "tokio"))]
fn elsewhere() -> Option<Carried> {
    None
}

/// Whether this thread is the one of a tokio runtime that has only one, as in `#[tokio::test]`. Nothing but the stack can
/// tell without tokio; where it has no names, nobody is accused.
fn drives_tokio() -> bool {
    Backtrace::force_capture().to_string().contains("tokio::runtime::scheduler::current_thread")
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("may_block", &self.site.may_block).finish_non_exhaustive()
    }
}

/// A request under construction.
#[must_use = "nothing happens before `send`, `send_async` or `open`"]
pub struct RequestBuilder {
    pub(super) client: Client,
    pub(super) outbound: Outbound,
    /// Redirects to be followed at most.
    #[cfg(feature = "testing")]
    pub(super) redirects: usize,
}

impl RequestBuilder {
    fn new(client: Client, head: request::Parts, target: Result<Uri, Rejection>, body: RequestBody) -> Self {
        let peer = Some(SocketAddr::from(([127, 0, 0, 1], 50_000)));
        RequestBuilder {
            client,
            outbound: Outbound { head, target, body, peer, host: true },
            #[cfg(feature = "testing")]
            redirects: 0,
        }
    }

    /// Adds a field. `Host: testing` and the framing of the body are added if they are absent.
    ///
    /// # Panics
    /// If name or value could not stand in a head; servers refuse such a head with 400 and no application sees it.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let name = name.try_into().unwrap_or_else(|_| panic!("not the name of a header field"));
        let value = value.try_into().unwrap_or_else(|_| panic!("not the value of the header field {name}"));
        self.outbound.head.headers.append(name, value);
        self
    }

    /// Leaves out the Host that would be added.
    pub fn without_host(mut self) -> Self {
        self.outbound.host = false;
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<RequestBody>) -> Self {
        self.outbound.body = body.into();
        self
    }

    /// The version; HTTP/1.1 by default.
    pub fn version(mut self, version: Version) -> Self {
        self.outbound.head.version = version;
        self
    }

    /// Where the request comes from; `127.0.0.1:50000` by default. `None` is a Unix-domain socket.
    pub fn peer_addr(mut self, peer: impl Into<Option<SocketAddr>>) -> Self {
        self.outbound.peer = peer.into();
        self
    }

    /// A value for the request's extensions, as middleware in front would add.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.outbound.head.extensions.insert(value);
        self
    }

    /// Sends it and collects the answer. Blocks; the application is polled on this thread, or on another one where this
    /// is a tokio runtime's, as in `#[tokio::test]` (see the [module](super#tokio)).
    ///
    /// # Panics
    /// If the startup hook failed, or nothing came for [`Client::patience`].
    pub fn send(self) -> Answer {
        let client = self.client.clone();
        client.run("answer", self.send_async())
    }

    /// Sends it and collects the answer; the application is polled by whoever polls this, so that one that needs tokio
    /// finds it in `#[tokio::test]`. Dropping the future is the client going away: the handler and the body are dropped
    /// with it.
    ///
    /// # Panics
    /// If the startup hook failed.
    pub async fn send_async(self) -> Answer {
        #[cfg(feature = "testing")]
        return self.following().await;
        #[cfg(not(feature = "testing"))]
        self.exchange().await.0
    }

    /// Sends it, which must ask for another protocol, and gives the head of the answer with the client's end of the
    /// stream. Blocks; the application is polled on this thread until it has answered.
    ///
    /// # Errors
    /// The answer, if it does not switch protocols or nobody took the connection.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub fn upgrade(self) -> Result<(response::Parts, Upgraded), Box<Answer>> {
        let client = self.client.clone();
        match client.run("answer", self.exchange()) {
            (answer, Some(stream)) => Ok((answer.head, stream)),
            (answer, None) => Err(Box::new(answer)),
        }
    }

    /// The whole answer, and the stream if it switched protocols.
    #[cfg_attr(not(feature = "testing"), allow(unused_mut, reason = "cookies"))]
    pub(super) async fn exchange(mut self) -> (Answer, Option<Upgraded>) {
        #[cfg(feature = "testing")]
        let cookies = self.with_cookies();
        let RequestBuilder { client, outbound, .. } = self;
        let site = &*client.site;
        if let Err(error) = site.start().await {
            panic!("the application could not start: {error}");
        }
        let mut gone = FireOnDrop(Some(Signal::new()));
        let signal = gone.0.clone().unwrap_or_default();
        let hints = Hints::default();
        let mut reply = respond(site, outbound, signal, hints.clone()).await;
        let mut body = BytesMut::new();
        let mut trailers = None;
        let mut error = None;
        while let Some(frame) = reply.next(site).await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => body.extend_from_slice(&data),
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(broken) => {
                    error = Some(broken);
                    break;
                }
            }
        }
        // The connection persists: the client is not gone.
        gone.0 = None;
        #[cfg(feature = "testing")]
        if let Some((jar, path)) = cookies {
            jar.take(&path, &reply.head.headers);
        }
        (Answer { head: reply.head, body: body.freeze(), trailers, error, hints: hints.list() }, reply.stream)
    }

    /// Sends it and gives the answer as it comes, head first; the application runs on a thread of its own. Does not block.
    #[cfg_attr(not(feature = "testing"), allow(unused_mut, reason = "cookies"))]
    pub fn open(mut self) -> OpenAnswer {
        #[cfg(feature = "testing")]
        let cookies = self.with_cookies();
        let answer = OpenAnswer::start(self.client, self.outbound);
        #[cfg(feature = "testing")]
        let answer = answer.with_cookies(cookies);
        answer
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder").field("head", &self.outbound.head).finish_non_exhaustive()
    }
}

/// The client goes away when its future is dropped halfway.
struct FireOnDrop(Option<Signal>);

impl Drop for FireOnDrop {
    fn drop(&mut self) {
        if let Some(signal) = &self.0 {
            signal.fire();
        }
    }
}
