//! One request in an axum `Router`, from the call to the response: a handler of its own, for an async function would be moved
//! about and allocated once more.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::axum::Router;
use ::axum::extract::ConnectInfo;
use ::axum::routing::future::RouteFuture;
use http::{Extensions, Method};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::short::taken;
use super::upgrade::Offered;
use super::watched::{Failure, watched};
use super::{instead_of_axums, unmount};
use crate::application::{Arguments, Handler, Request, Response, arguments};
use crate::error::Error;
use crate::tower::from_service::no_length_for_head;

pin_project! {
    /// A call of a router under way.
    pub struct Routing {
        #[pin]
        future: RouteFuture<Infallible>,
        failure: Option<Arc<Failure>>,
        offered: Option<Box<Offered>>,
        is_head: bool,
    }
}

impl Routing {
    /// Calls `router`. Panics as its layers do.
    #[inline(always)]
    pub(super) fn begin(router: &Router, room: Option<&Extensions>, given: &mut Arguments) -> Routing {
        let (request, environ) = arguments(given);
        let mut failure = None;
        let (head, body) = request.into_parts();
        let mut request = Request::from_parts(head, watched(body, &mut failure));
        if let Some(room) = room
            && request.extensions().is_empty()
        {
            *request.extensions_mut() = room.clone();
        }
        if !environ.mount_prefix().is_empty() {
            unmount(&mut request, &environ);
        }
        if let Some(peer) = environ.peer_addr() {
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer));
        }
        let offered = Offered::with(&mut request, &environ);
        request.extensions_mut().insert(environ);
        let is_head = request.method() == Method::HEAD;
        // A router is always ready.
        let future = Service::call(&mut router.clone(), request);
        Routing { future, failure, offered, is_head }
    }
}

impl Handler for Routing {
    fn poll_into(self: Pin<&mut Self>, cx: &mut Context<'_>, answer: &mut Option<Response>) -> Poll<Result<(), Error>> {
        let this = self.project();
        let Ok(response) = ready!(this.future.poll(cx));
        if let Some(offered) = this.offered.take() {
            offered.settle(&response);
        }
        let mut response = response.map(|body| taken(body, cx));
        if *this.is_head {
            no_length_for_head(&mut response);
        }
        *answer = Some(match this.failure.as_deref().and_then(Failure::get) {
            Some(error) => instead_of_axums(response, error)?,
            None => response,
        });
        Poll::Ready(Ok(()))
    }
}
