//! An axum `Router` as an application, with all that a program written for `axum::serve` finds there. Feature `axum`.
//!
//! Runs wherever the server polls, inside [`tokio::application`](crate::tokio::application).

mod convert;
mod routing;
mod short;
mod upgrade;
mod watched;

use std::future::Future;
use std::sync::OnceLock;

use ::axum::Router;
use ::axum::extract::{MatchedPath, OriginalUri};
use ::axum::middleware::{Next, from_fn};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderValue, StatusCode, Uri, header};

use self::routing::Routing;
use crate::application::{Application, Arguments, DynApplication, Request, Response, answer};
use crate::environ::Environ;
use crate::error::Error;
use crate::observe::{Route, Unanswered};
use crate::request_body::RequestBodyError;
use crate::tokio::{Begin, WithTokio};

/// Makes an axum `Router` an application that finds on every server what `axum::serve` would give it, and tokio, see
/// [`tokio`](crate::tokio):
///
/// * `ConnectInfo<SocketAddr>` is [`Environ::peer_addr`], what a trusted proxy said included; it is missing where that is
///   `None`, as for Unix-domain sockets.
/// * The request's URI is the part below the [mount prefix](Environ::mount_prefix), as below a `nest`; `OriginalUri` is
///   the whole. A path that lies outside the prefix stays as it is.
/// * axum's `WebSocketUpgrade` and `hyper::upgrade::on` take the connection over, where the server declares
///   [`upgrade`](crate::server::Capabilities). A WebSocket counts as a connection. At a shutdown its client gets a Close with
///   1001 between two frames, and what the program sends then fails; it reads the client's answer, or the end 5 s later,
///   when a write that waits for the client fails, too. A client that is silent for 30 s is pinged, and given up if it does
///   not answer for as long; one that takes nothing for 60 s is given up, and its pings wait meanwhile. Sizes are bounded as
///   `WebSocketUpgrade` says.
/// * `Extension<Environ>` is the request's [`Environ`], for what axum has no extractor for.
/// * A body that can't be read has the status it has on all servers: axum's extractors say 400, or 500, to a body that is
///   too large or too late. A response with either to a request whose body failed becomes 413, 408, or what else
///   [`RequestBodyError::status`] says; the rest of that response stays, and the connection is closed. One with another
///   status is left alone.
///
/// Where the server has an [`Observer`](crate::observe::Observer), a layer around each route tells it the `MatchedPath` as the
/// [`Route`](crate::observe::Route), also where the handler panics, is too late or is left by its client; it costs an allocation or two.
///
/// The router is without missing state, as for `axum::serve`. Costs four allocations a request besides the router's own, two
/// more for a request that has a body. A response body that says it is short (64 KiB) is polled once with its head; others
/// when they are wanted.
///
/// ```
/// use std::net::SocketAddr;
/// use adapter_core::{axum as application, testing::Client};
/// use axum::{Router, extract::ConnectInfo, routing::get};
///
/// async fn whoami(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
///     format!("from {}", peer.ip())
/// }
///
/// let router = Router::new().route("/", get(whoami));
/// let client = Client::new(application(router));
/// assert!(client.get("/").send().text().starts_with("from 127.0.0.1"));
/// ```
pub fn axum(router: Router) -> WithTokio<Routed> {
    // As axum's own make-services do: what is left to be made of the routes is made once.
    WithTokio::around(Routed { router: router.with_state(()), observed: OnceLock::new(), room: roomy() })
}

/// As [`axum()`](axum()). Where something else holds the router, such as an `Arc` or middleware, and calls it on a server that does not
/// run on tokio, the router has no tokio: wrap it by [`axum()`](axum()) then.
impl Application for Router {
    fn call(&self, request: Request, environ: Environ) -> impl Future<Output = Result<Response, Error>> + Send {
        answer(Routing::begin(self, None, &mut Some((request, environ))))
    }

    fn erase(self) -> DynApplication {
        DynApplication::new(axum(self))
    }
}

/// The router within what [`axum()`](axum()) makes.
pub struct Routed {
    router: Router,
    /// The same, where somebody observes: it names the route.
    observed: OnceLock<Router>,
    /// Extensions with nothing in them.
    room: Extensions,
}

impl Application for Routed {
    fn call(&self, request: Request, environ: Environ) -> impl Future<Output = Result<Response, Error>> + Send {
        answer(self.begin(&mut Some((request, environ))))
    }
}

impl Begin for Routed {
    type Handler = Routing;

    #[inline(always)]
    fn begin(&self, given: &mut Arguments) -> Routing {
        let is_observed = given.as_ref().is_some_and(|(_, environ)| !environ.connection().serving.observers.is_empty());
        let router = match is_observed {
            false => &self.router,
            // What is matched is known within the router only, and a layer there is not for nothing.
            true => self.observed.get_or_init(|| self.router.clone().layer(from_fn(name_route))),
        };
        Routing::begin(router, Some(&self.room), given)
    }
}

/// Says by which route the request was answered, unless the program has. \[OBS-04\]
async fn name_route(request: ::axum::extract::Request, next: Next) -> ::axum::response::Response {
    let extensions = request.extensions();
    let matched = extensions.get::<MatchedPath>().zip(extensions.get::<Environ>());
    let matched = matched.map(|(path, environ)| Unanswered::new(environ.which(), Route::from(path.as_str())));
    let mut response = next.run(request).await;
    if let Some(route) = matched.and_then(Unanswered::answered)
        && response.extensions().get::<Route>().is_none()
    {
        response.extensions_mut().insert(route);
    }
    response
}

/// Extensions whose clones have room for what a request of axum's has there: `Environ`, `ConnectInfo`, `OriginalUri`,
/// `MatchedPath`. They would have room for three, and be made anew for the fourth, which costs 400 instructions.
fn roomy() -> Extensions {
    #[derive(Clone)]
    struct Room<const N: usize>;
    let mut extensions = Extensions::new();
    extensions.insert(Room::<0>);
    extensions.insert(Room::<1>);
    extensions.insert(Room::<2>);
    extensions.insert(Room::<3>);
    extensions.clear();
    extensions
}

/// Makes the URI what is left of it below the mount prefix.
fn unmount<B>(request: &mut http::Request<B>, environ: &Environ) {
    let path = request.uri().path();
    let below = environ.path_info(path);
    if below.len() == path.len() {
        return;
    }
    let slash = if below.is_empty() { "/" } else { "" };
    let target = match request.uri().query() {
        Some(query) => format!("{slash}{below}?{query}"),
        None => format!("{slash}{below}"),
    };
    let Ok(target) = PathAndQuery::try_from(target) else { return };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(target);
    let Ok(uri) = Uri::from_parts(parts) else { return };
    let original = std::mem::replace(request.uri_mut(), uri);
    // One is there already where a host has nested this application itself.
    if request.extensions().get::<OriginalUri>().is_none() {
        request.extensions_mut().insert(OriginalUri(original));
    }
}

/// axum's answer to a body that failed with `error`, with the status that has. \[REQ-11\]
fn instead_of_axums(mut response: Response, error: &RequestBodyError) -> Result<Response, Error> {
    if ![StatusCode::BAD_REQUEST, StatusCode::INTERNAL_SERVER_ERROR].contains(&response.status()) {
        return Ok(response);
    }
    // [ERR-12] there is nobody to read it
    if *error == RequestBodyError::Disconnected {
        return Err(error.clone().into());
    }
    *response.status_mut() = error.status();
    // [KAP-11] where the body ends is not known
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

impl std::fmt::Debug for Routed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Routed")
    }
}
