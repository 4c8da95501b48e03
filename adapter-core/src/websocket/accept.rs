//! Accepting a handshake: the response, and what runs on the WebSocket after it.
//!
//! The handler runs as a task of the server together with the keeper, or on a thread of its blocking pool with the
//! keeper as a task. It is contained: an error or a panic closes with 1011 and is logged. \[UPG-01\], \[UPG-07\],
//! \[UPG-08\], \[UPG-15\], \[UPG-22\]

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use tracing::Span;

use super::blocking::BlockingWebSocket;
#[cfg(feature = "deflate")]
use super::deflate::Deflate;
use super::deflate::{Agreed, Negotiation};
use super::handshake::{self, Answer};
use super::keeper::Keeper;
use super::link::Shared;
use super::message::{Error as SocketError, code};
use super::options::Options;
use super::socket::{Hold, WebSocket};
use super::wire::Role;
use crate::application::Response;
use crate::body::Body;
use crate::causes::HandshakeError;
use crate::contain::{self, Contained};
use crate::environ::Environ;
use crate::error::Error;
use crate::rules::response::is_hop_by_hop;
use crate::runtime::{Place, Task, TaskError};
use crate::upgrade::{OnUpgrade, UpgradeError};

/// A handshake that was found to be one, to be accepted or denied.
///
/// To deny it, return an ordinary response instead of accepting; its body is sent. \[UPG-04\]
#[must_use = "accept it, or deny it with an ordinary response"]
pub struct Upgrade {
    environ: Environ,
    answer: Answer,
    offered: Vec<String>,
    chosen: Option<String>,
    headers: HeaderMap,
    deflate: Negotiation,
    options: Options,
    origin: Option<HeaderValue>,
}

impl Upgrade {
    /// Looks whether `request` is a handshake. Neither takes the connection nor changes the request.
    ///
    /// # Errors
    /// [`HandshakeError`]. Pass it on with `?` to have it answered as the protocol wants, or serve a request that is
    /// [`NotWebSocket`](HandshakeError::NotWebSocket) as any other.
    pub fn from_request<B>(request: &Request<B>, environ: &Environ) -> Result<Upgrade, HandshakeError> {
        let answer = handshake::check(request, environ)?;
        Ok(Upgrade {
            environ: environ.clone(),
            answer,
            offered: handshake::offered_protocols(request.headers()),
            chosen: None,
            headers: HeaderMap::new(),
            deflate: Negotiation::new(request.headers()),
            options: Options::default(),
            origin: request.headers().get(header::ORIGIN).cloned(),
        })
    }

    /// The `Origin` a browser sends: the page that opened the WebSocket. Unlike other requests, those of a WebSocket are
    /// not bound to the page's own site, and they carry its cookies: who trusts cookies must look at it.
    pub fn origin(&self) -> Option<&HeaderValue> {
        self.origin.as_ref()
    }

    /// The subprotocols the client offers, in its order of preference.
    pub fn offered_protocols(&self) -> impl Iterator<Item = &str> {
        self.offered.iter().map(String::as_str)
    }

    /// Chooses the first of `supported` that the client offers; none if it offers none of them. \[UPG-07\]
    pub fn protocols<'p>(mut self, supported: impl IntoIterator<Item = &'p str>) -> Self {
        self.chosen = supported.into_iter().find(|name| self.offered.iter().any(|offer| offer == name)).map(Into::into);
        self
    }

    /// Chooses `name`. Accepting fails if the client does not offer it. \[UPG-07\]
    pub fn protocol(mut self, name: &str) -> Self {
        self.chosen = Some(name.to_owned());
        self
    }

    /// The subprotocol chosen.
    pub fn chosen_protocol(&self) -> Option<&str> {
        self.chosen.as_deref()
    }

    /// Adds a field to the response that accepts. What belongs to the handshake can't be set. \[UPG-08\]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Compresses messages, with a client that offers permessage-deflate; others are served without. Accepting fails where what the
    /// client offers is not formed as the protocol wants. Without this, offers are not looked at. \[UPG-24\]
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        self.deflate.want(deflate);
        self
    }

    /// Bytes of a message at most; a larger one closes with 1009. Default 1 MiB. \[UPG-11c\]
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.options.max_message = bytes;
        self
    }

    /// Bytes of a frame at most, as they come; a larger one closes with 1009. Default: as of a message. Below 125 it is 125,
    /// which control frames may have.
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.options.max_frame = Some(bytes);
        self
    }

    /// Bytes that may wait for a client that does not read; see [`Sender::try_send`](super::Sender::try_send). Default
    /// 1 MiB. \[UPG-20\]
    pub fn max_write_buffer(mut self, bytes: usize) -> Self {
        self.options.max_write_buffer = bytes.max(1);
        self
    }

    /// Pings a client that was silent for this long, and disconnects one that is silent for as long again. `None`: no
    /// pings. Default 30 s. \[UPG-23b\]
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.options.ping_interval = interval.into();
        self
    }

    /// Closes with 1001 when no message went either way for this long. Default `None`: never. \[UPG-23a\]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.idle_timeout = timeout.into();
        self
    }

    /// Disconnects a client that takes nothing of what waits for it for this long. Default 60 s. \[UPG-20\]
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.options.send_timeout = timeout;
        self
    }

    /// How long the client may take to answer a close. Default 5 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.options.close_timeout = timeout;
        self
    }

    /// Accepts, and runs `handler` on the WebSocket as a task of the server. Return the response from the application.
    ///
    /// When the handler returns, the WebSocket closes with 1000, or with 1011 where it fails or panics; an
    /// [`Error`](super::Error) of the WebSocket itself is no failure. At the server's shutdown it is closed with 1001
    /// and the handler receives the end; a handler that still runs at the deadline is dropped. \[UPG-15b\], \[UPG-22\]
    ///
    /// # Errors
    /// [`HandshakeError::Taken`], [`HandshakeError::Unsendable`]; [`HandshakeError::Malformed`] of what is offered.
    pub fn accept<F, Fut>(self, handler: F) -> Result<Response, HandshakeError>
    where
        F: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output: Verdict> + Send + 'static,
    {
        let runtime = self.environ.runtime().clone();
        let (response, accepted) = self.accept_future()?;
        runtime.spawn(accepted.run(handler)).detach();
        Ok(response)
    }

    /// As [`accept`](Self::accept), with `handler` on a thread of the server's blocking pool, which it holds until it
    /// returns. In a [`blocking`](crate::blocking) application that is, on event loops, the thread that calls this. Where all are taken it waits for one,
    /// in the line for blocking work.
    ///
    /// # Errors
    /// As [`accept`](Self::accept); [`HandshakeError::NoPlace`] where that line is full.
    pub fn blocking_accept<F, V>(self, handler: F) -> Result<Response, HandshakeError>
    where
        F: FnOnce(BlockingWebSocket) -> V + Send + 'static,
        V: Verdict,
    {
        let runtime = self.environ.runtime().clone();
        let (response, accepted) = self.accept_future()?;
        // Before the client is told that it is accepted.
        let work = move |socket| judge(handler(BlockingWebSocket::new(socket)));
        let (place, task) = runtime.reserve_blocking(work).ok_or(HandshakeError::NoPlace)?;
        runtime.spawn(accepted.run_blocking(place, task)).detach();
        Ok(response)
    }

    /// Accepts, and gives the WebSocket as a future, ready after the application has returned the response.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_future(self) -> Result<(Response, Accepted), HandshakeError> {
        let (response, deflate) = self.response()?;
        let on_upgrade = self.environ.upgrade().map_err(|_| HandshakeError::Taken)?;
        let options = Options { deflate, ..self.options };
        Ok((
            response,
            Accepted(Some(Box::new(Opening { on_upgrade, environ: self.environ, options, span: Span::current() }))),
        ))
    }

    fn response(&self) -> Result<(Response, Option<Agreed>), HandshakeError> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        for (name, value) in &self.headers {
            let ours =
                name.as_str().starts_with("sec-websocket-") || is_hop_by_hop(name) || *name == header::CONTENT_LENGTH;
            if ours {
                return Err(HandshakeError::Unsendable(format!("{name} is not the application's to set")));
            }
            headers.append(name.clone(), value.clone());
        }
        if let Some(chosen) = &self.chosen {
            // [UPG-07] RFC 6455 §4.2.2
            let offered = self.offered.iter().any(|offer| offer == chosen);
            let value = HeaderValue::from_str(chosen).ok().filter(|_| offered);
            let value = value.ok_or_else(|| {
                HandshakeError::Unsendable(format!("the client does not offer the subprotocol {chosen:?}"))
            })?;
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
        // [UPG-24] RFC 7692 §5.1
        let deflate = self.deflate.agree()?.map(|(answer, agreed)| {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, answer);
            agreed
        });
        match &self.answer {
            Answer::Switch(accept) => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.clone());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            }
            Answer::Connect => {}
        }
        Ok((response, deflate))
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("offered", &self.offered).field("chosen", &self.chosen).finish_non_exhaustive()
    }
}

/// A WebSocket to come: a future, ready when the response that accepts it has been sent.
///
/// # Errors
/// An [`UpgradeError`](crate::upgrade::UpgradeError) where the application answered something else, or the client went
/// away.
#[derive(Debug)]
#[must_use = "the connection is closed if nobody awaits it"]
pub struct Accepted(Option<Box<Opening>>);

/// What a WebSocket is made of. In a box, as a future has room for its arguments to its end, and this one's comes late.
#[derive(Debug)]
struct Opening {
    on_upgrade: OnUpgrade,
    environ: Environ,
    options: Options,
    /// Of the request.
    span: Span,
}

impl Accepted {
    /// The WebSocket and its keeper, once the stream is there.
    fn open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Arc<Shared>, Keeper), UpgradeError>> {
        let opening = self.0.as_mut().expect("polled after it was ready");
        let stream = ready!(Pin::new(&mut opening.on_upgrade).poll(cx));
        let Opening { environ, options, span, .. } = *self.0.take().expect("it was there just now");
        let shared = Shared::new(stream?, Role::Server, options, environ.runtime());
        let keeper = Keeper::new(shared.clone(), &environ, span);
        Poll::Ready(Ok((shared, keeper)))
    }

    /// The life of a WebSocket with an async handler. Nobody waits for it: what there is to tell is logged.
    async fn run<F, Fut>(mut self, handler: F)
    where
        F: FnOnce(WebSocket) -> Fut,
        Fut: Future<Output: Verdict> + Send + 'static,
    {
        let Ok((shared, keeper)) = poll_fn(|cx| self.open(cx)).await else { return };
        let socket = WebSocket::new(shared.clone());
        let hold = socket.hold();
        let handler = contain::catch("websocket handler", || Contained::new(handler(socket)));
        let handled = async {
            let outcome = match handler {
                Ok(handler) => handler.await,
                Err(panic) => Err(panic),
            };
            outcome.map_or(code::INTERNAL_ERROR, judge)
        };
        Session::new(shared, keeper, hold, handled).await;
    }

    /// The life of a WebSocket with a blocking handler.
    async fn run_blocking(mut self, place: Place<WebSocket>, task: Task<u16>) {
        let Ok((shared, keeper)) = poll_fn(|cx| self.open(cx)).await else { return };
        let socket = WebSocket::new(shared.clone());
        let hold = socket.hold();
        place.give(socket);
        let handled = async {
            match task.await {
                Ok(close_code) => close_code,
                Err(TaskError::Refused) => {
                    tracing::warn!(target: "adapter", "no thread for a WebSocket's handler");
                    code::TRY_AGAIN_LATER
                }
                // logged where it was caught
                Err(_) => code::INTERNAL_ERROR,
            }
        };
        Session::new(shared, keeper, hold, handled).await;
    }
}

pin_project_lite::pin_project! {
    /// A WebSocket with its handler: ready when both the handler and the closing handshake have ended.
    struct Session<F> {
        keeper: Keeper,
        is_kept: bool,
        // Gives the close code.
        #[pin]
        handled: F,
        is_handled: bool,
        shared: Arc<Shared>,
        // Keeps it open until the verdict is there, though the handler drops its handles before.
        hold: Hold,
    }
}

impl<F: Future<Output = u16>> Session<F> {
    fn new(shared: Arc<Shared>, keeper: Keeper, hold: Hold, handled: F) -> Self {
        // [UPG-22] at a shutdown the connection counts until the handler has ended, too
        shared.lock().retain_at_shutdown = true;
        Session { keeper, is_kept: false, handled, is_handled: false, shared, hold }
    }
}

impl<F: Future<Output = u16>> Future for Session<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // The handler first: what it sends and takes is the keeper's to go on with.
        if !*this.is_handled
            && let Poll::Ready(close_code) = this.handled.poll(cx)
        {
            *this.is_handled = true;
            let mut link = this.shared.lock();
            link.close(close_code, "", this.shared.now());
            link.release();
            drop(link);
            this.shared.wakers.wake_all();
        }
        *this.is_kept = *this.is_kept || (!this.keeper.just_waits(cx) && Pin::new(this.keeper).poll(cx).is_ready());
        if *this.is_handled && *this.is_kept { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What a handler may return: nothing, or a `Result<(), E>` of any error.
pub trait Verdict: Send + 'static {
    /// The failure, if it is one.
    ///
    /// # Errors
    /// The handler's.
    fn verdict(self) -> Result<(), Error>;
}

impl Verdict for () {
    fn verdict(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<E: Into<Error> + Send + 'static> Verdict for Result<(), E> {
    fn verdict(self) -> Result<(), Error> {
        self.map_err(Into::into)
    }
}

/// The close code for what a handler returned. \[UPG-13b\], \[UPG-15b\]
fn judge(verdict: impl Verdict) -> u16 {
    let Err(error) = verdict.verdict() else { return code::NORMAL };
    match error.downcast_ref::<SocketError>() {
        // The client's doing, closed already, and told by the keeper.
        Some(gone) if !matches!(gone, SocketError::InvalidCode(_)) => code::NORMAL,
        _ => {
            tracing::error!(target: "adapter", error = %error, "the handler of a WebSocket failed");
            code::INTERNAL_ERROR
        }
    }
}

impl Future for Accepted {
    type Output = Result<WebSocket, UpgradeError>;

    /// Spawns the keeper when it is ready. Cancel safe, as far as dropping gives the connection up.
    ///
    /// # Panics
    /// If polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.open(cx).map_ok(|(shared, keeper)| {
            shared.runtime.drive(keeper);
            WebSocket::new(shared)
        })
    }
}
