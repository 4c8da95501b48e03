//! An application as a tower service.
//!
//! The host's server frames the response and keeps the connection; this side sees to what no host does for us: errors
//! and panics become responses, bodies that block are pulled on a blocking thread of the environ's runtime, a body is
//! held to its Content-Length, and what the response rules forbid never reaches the host.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use http::{Method, StatusCode, header, request};
use http_body::{Frame, SizeHint};
use tower_service::Service;

use super::BoxError;
use crate::application::{Application, DynApplication, Request, Response};
use crate::body::{Body, Exact};
use crate::contain;
use crate::dispatch;
use crate::environ::{Connection, Environ};
use crate::error::Error;
use crate::request_body::{RequestBody, RequestBodyError, Source};
use crate::rules;
use crate::rules::request::{BodyLength, Facts};
use crate::rules::response::{Framing, prepare};

/// Makes an application a service of `http::Request<B>` for any body `B`, ready at all times, that never fails: errors
/// and panics become responses. `environs` says where an [`Environ`] comes from if the request's extensions hold none.
///
/// A host that strips a path prefix (axum's `nest_service`) needs to say so with [`Environ::mounted_at`] in `environs` or
/// in a layer; `fallback_service` and `route_service` strip nothing.
///
/// The hooks of the application are the host's to run: [`Host::lifecycle`](super::Host::lifecycle).
///
/// ```
/// use adapter_core::{Body, Environ, Error, Request, Response, testing::Client, tower};
/// use axum::{Router, routing::get};
///
/// async fn hello(request: Request, _environ: Environ) -> Result<Response, Error> {
///     Ok(Response::new(Body::from(format!("hello from {}", request.uri().path()))))
/// }
///
/// # let threads = adapter_core::server::Threads::new(&adapter_core::ServerConfig::default());
/// # let host = tower::Host::new(adapter_core::Runtime::new(threads));
/// // `host`: with the feature `tokio` and in a tokio runtime, `tower::Host::tokio()`
/// let router = Router::new()
///     .route("/", get(|| async { "axum" }))
///     .fallback_service(tower::service(hello, host));
/// # let client = Client::new(tower::application(router));
/// # assert_eq!(client.get("/").send().text(), "axum");
/// # assert_eq!(client.get("/x").send().text(), "hello from /x");
/// ```
pub fn service(application: impl Application, environs: impl EnvironSource) -> ApplicationService {
    ApplicationService { application: DynApplication::new(application), environs: Arc::new(environs) }
}

/// Where an [`Environ`] comes from for a request that has none in its extensions: a [`Host`](super::Host), a closure, or an
/// `Arc<Connection>` whose facts then hold for all requests.
pub trait EnvironSource: Send + Sync + 'static {
    /// The environ of the request of that head. Called once per request, must not block.
    fn environ(&self, head: &request::Parts) -> Environ;
}

impl<F> EnvironSource for F
where
    F: Fn(&request::Parts) -> Environ + Send + Sync + 'static,
{
    fn environ(&self, head: &request::Parts) -> Environ {
        self(head)
    }
}

impl EnvironSource for Arc<Connection> {
    fn environ(&self, head: &request::Parts) -> Environ {
        Environ::new(self.clone(), Instant::now()).with_forwarded(&head.headers)
    }
}

/// The service made by [`service`]; cheap to clone.
#[derive(Clone)]
pub struct ApplicationService {
    application: DynApplication,
    environs: Arc<dyn EnvironSource>,
}

impl ApplicationService {
    /// The application, for its hooks.
    pub fn application(&self) -> &DynApplication {
        &self.application
    }
}

impl fmt::Debug for ApplicationService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApplicationService")
    }
}

impl<B> Service<http::Request<B>> for ApplicationService
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<ServiceBody>;
    type Error = Infallible;
    type Future = ServiceFuture;

    /// Always ready.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> ServiceFuture {
        let (mut head, body) = request.into_parts();
        let environ = match head.extensions.remove::<Environ>() {
            Some(environ) => environ,
            None => self.environs.environ(&head),
        };
        // The host polls, and what is between it and us knows nothing of bodies and handlers that block.
        let environ = environ.within_async();
        crate::rules::cookies::join(&mut head);
        crate::rules::target::normalize(&mut head);
        let facts = facts(&head);
        let body = RequestBody::from_source(Foreign(Box::pin(body)));
        let call = dispatch::call(&self.application, Request::from_parts(head, body), environ.clone());
        ServiceFuture { call, environ, facts }
    }
}

/// What `prepare` needs to know. The connection, its version and its trailers are the host's.
fn facts(head: &request::Parts) -> Facts {
    Facts {
        version: head.version,
        is_head: head.method == Method::HEAD,
        is_connect: head.method == Method::CONNECT,
        body: BodyLength::Unknown,
        keep_alive: true,
        trailers: true,
        expects_continue: false,
        upgrade: head.headers.contains_key(header::UPGRADE),
    }
}

/// The future of [`ApplicationService`]. Dropping it drops the handler.
#[must_use = "futures do nothing unless polled"]
pub struct ServiceFuture {
    call: dispatch::Call,
    environ: Environ,
    facts: Facts,
}

impl Future for ServiceFuture {
    type Output = Result<http::Response<ServiceBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.call).poll(cx));
        Poll::Ready(Ok(commit(response, &self.facts, &self.environ)))
    }
}

impl fmt::Debug for ServiceFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceFuture")
    }
}

fn commit(response: Response, facts: &Facts, environ: &Environ) -> http::Response<ServiceBody> {
    let (mut head, body) = response.into_parts();
    let mut length = body.len();
    // [TRL-04] trailers need chunks
    if let Some(trailers) = body.trailers() {
        rules::trailers::announce(&mut head.headers, trailers);
        head.headers.remove(header::CONTENT_LENGTH);
        length = None;
    }
    let plan = match body.logged(|| prepare(&mut head, length, facts)) {
        Ok(plan) => plan,
        Err(error) => {
            body.logged(|| tracing::error!(target: "adapter", %error, "the application's response can't be sent"));
            contain::discard("drop of a body", body);
            return commit(dispatch::failure(StatusCode::INTERNAL_SERVER_ERROR), facts, environ);
        }
    };
    let inner = match plan.framing {
        _ if !plan.send_body => {
            // [NOB-03], [BOD-12] dropped unpulled
            contain::discard("drop of a body", body);
            // What the host takes for the length of a body it does not send.
            let hint = match plan.framing {
                Framing::Length(length) => SizeHint::with_exact(length),
                Framing::None => SizeHint::with_exact(0),
                _ => SizeHint::new(),
            };
            Inner::Withheld(hint)
        }
        framing => match body.offload(environ.runtime(), framing.length()) {
            Ok(body) => match framing {
                // [FRM-03], [FRM-04] hosts trust a declared length
                Framing::Length(length) => Inner::Exact(Exact::new(body, length).with_trailers()),
                _ => Inner::Open(body),
            },
            Err(error) => return commit(dispatch::error_response(&error), facts, environ),
        },
    };
    http::Response::from_parts(head, ServiceBody(inner))
}

/// The body of a response of [`ApplicationService`]: as an application's, with the error type of the tower world.
#[derive(Debug)]
pub struct ServiceBody(Inner);

#[derive(Debug)]
enum Inner {
    Withheld(SizeHint),
    Exact(Exact),
    Open(Body),
}

impl http_body::Body for ServiceBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = match &mut self.0 {
            Inner::Withheld(_) => None,
            Inner::Exact(body) => ready!(Pin::new(body).poll_frame(cx)),
            Inner::Open(body) => ready!(Pin::new(body).poll_frame(cx)),
        };
        Poll::Ready(next.map(|frame| frame.map_err(Error::into_boxed)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Withheld(_) => true,
            Inner::Exact(body) => body.is_end_stream(),
            Inner::Open(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Withheld(hint) => *hint,
            Inner::Exact(body) => body.size_hint(),
            // A length we did not promise must not be promised by the host: trailers need chunks.
            Inner::Open(_) => SizeHint::new(),
        }
    }
}

/// The host's request body.
struct Foreign<B>(Pin<Box<B>>);

impl<B> Source for Foreign<B>
where
    B: http_body::Body + Send,
    B::Error: Into<BoxError>,
{
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        self.0.as_mut().poll_frame(cx).map(|next| {
            next.map(|frame| {
                frame
                    .map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
                    .map_err(|error| told_apart(Error::from(error.into())))
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Our own error where it comes back to us; of a host's all that is known is its text.
fn told_apart(error: Error) -> RequestBodyError {
    match error.downcast_ref::<RequestBodyError>() {
        Some(own) => own.clone(),
        None => RequestBodyError::Malformed(error.to_string()),
    }
}
