//! A tower service as an application.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_LENGTH;
use tower_service::Service;

use crate::application::{Application, Request, Response};
use crate::body::Body;
use crate::environ::Environ;
use crate::error::Error;

/// Makes a service an [`Application`](crate::Application): an axum `Router`, or anything else that takes a request
/// with our [`RequestBody`](crate::RequestBody) as its body, which is an `http_body::Body`.
///
/// Each call is made on a clone of the service, once that is ready; the clone waits for readiness, the server does not.
/// The [`Environ`] is in the request's extensions (axum: `Extension<Environ>`). An error of the service is treated as
/// any error of an application, see [`Error::status`].
///
/// A service that is not `Sync` needs to be wrapped in [`Unsync`].
pub fn application<S, B>(service: S) -> FromService<S>
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Error>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Error>,
{
    FromService(service)
}

/// The application made by [`application`].
#[derive(Clone)]
pub struct FromService<S>(S);

impl<S, B> Application for FromService<S>
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Error>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Error>,
{
    async fn call(&self, mut request: Request, environ: Environ) -> Result<Response, Error> {
        request.extensions_mut().insert(environ);
        let is_head = request.method() == Method::HEAD;
        let mut service = self.0.clone();
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
        let mut response = service.call(request).await.map_err(Into::into)?;
        // [TRL-04] axum makes a length of the hint; a body without a byte that has not ended may have trailers
        if !response.body().is_end_stream() && response.body().size_hint().exact() == Some(0) {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        let mut response = response.map(Body::from_http_body);
        if is_head {
            no_length_for_head(&mut response);
        }
        Ok(response)
    }
}

/// An answer to HEAD whose body the service has taken away, as axum does, says nothing of the length the body has for GET,
/// unless it has a Content-Length. \[NOB-01b\], \[NOB-04\]
pub(super) fn no_length_for_head(response: &mut Response) {
    if response.body().is_empty() && !response.headers().contains_key(CONTENT_LENGTH) {
        *response.body_mut() = Body::from_stream(futures_lite::stream::empty::<Bytes>());
    }
}

impl<S> fmt::Debug for FromService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromService")
    }
}

/// Makes a service that is `Send` but not `Sync`, such as a `BoxCloneService`, fit for [`application`]: the original is
/// behind a lock that is held while it is cloned, once per call.
pub struct Unsync<S>(Mutex<S>);

impl<S> Unsync<S> {
    /// Wraps `service`.
    pub fn new(service: S) -> Self {
        Unsync(Mutex::new(service))
    }

    fn get_mut(&mut self) -> &mut S {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Clone> Clone for Unsync<S> {
    fn clone(&self) -> Self {
        Unsync::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl<S: Service<R>, R> Service<R> for Unsync<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.get_mut().poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.get_mut().call(request)
    }
}

impl<S> fmt::Debug for Unsync<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unsync")
    }
}
