//! Applications that are made when the server starts: what they need is awaited there, such as a pool of connections.
//!
//! Made in the startup hook, by whoever runs that; nothing here blocks or spawns. \[LIF-01\], \[LIF-02\]

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};

use crate::application::{Application, Arguments, DynApplication, Handler, Handling, Request, Response, boxed};
use crate::contain;
use crate::environ::Environ;
use crate::error::Error;
use crate::server::ServerInfo;

/// An application that `make` makes in the startup hook: after the sockets are bound, before a connection is accepted.
///
/// `make` is called once for each start and must not block. An error of it ends the start, and is what the program is told. Its own hooks are those of the application that was
/// made. An application serves one server at a time: each start makes it anew and lets go of the one before.
///
/// What needs tokio while it is made wants `tokio::application` (feature `tokio`) around it, or is an axum
/// `Router`, for which there is `axum_at_startup`.
///
/// ```
/// use adapter_core::{Application, Body, Environ, Error, Request, Response, at_startup, testing::Client};
///
/// async fn application() -> Result<impl Application, Error> {
///     let greeting = async { "Hello" }.await; // a connection, a file, a lookup
///     Ok(move |_request: Request, _environ: Environ| async move {
///         Ok::<_, Error>(Response::new(Body::from(greeting)))
///     })
/// }
///
/// assert_eq!(Client::new(at_startup(application)).get("/").send().text(), "Hello");
/// ```
pub fn at_startup<F, Fut, A, E>(make: F) -> AtStartup<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<A, E>> + Send + 'static,
    A: Application,
    E: Into<Error> + 'static,
{
    AtStartup { make, made: RwLock::new(None) }
}

/// An axum `Router` that `make` makes in the startup hook, within tokio: [`at_startup`] for [`axum`](crate::axum()).
///
/// What an axum program awaits in its `main` before it serves, such as the connections of a database, belongs into `make`,
/// on servers that run on tokio and on those that do not.
///
/// ```
/// use adapter_core::{Error, axum_at_startup, testing::Client};
/// use axum::{Router, routing::get};
///
/// async fn app() -> Result<Router, Error> {
///     let greeting = tokio::spawn(async { "Hello" }).await?; // a pool of sqlx's
///     Ok(Router::new().route("/", get(move || async move { greeting })))
/// }
///
/// assert_eq!(Client::new(axum_at_startup(app)).get("/").send().text(), "Hello");
/// ```
#[cfg(feature = "axum")]
pub fn axum_at_startup<F, Fut, E>(make: F) -> crate::tokio::WithTokio
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<::axum::Router, E>> + Send + 'static,
    E: Into<Error> + 'static,
{
    crate::tokio::application(at_startup(move || {
        let router = make();
        async { router.await.map(crate::axum) }
    }))
}

/// The application made by [`at_startup`].
pub struct AtStartup<F> {
    make: F,
    made: RwLock<Option<DynApplication>>,
}

impl<F> AtStartup<F> {
    fn made(&self) -> Result<DynApplication, Error> {
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner).clone();
        made.ok_or_else(|| Error::new("the application is not made yet: its startup hook was not run"))
    }
}

impl<F, Fut, A, E> Application for AtStartup<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<A, E>> + Send + 'static,
    A: Application,
    E: Into<Error> + 'static,
{
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        self.made()?.call(request, environ).await
    }

    fn call_owned(&self, _: &DynApplication, given: &mut Arguments) -> Pin<Box<dyn Handler>> {
        match self.made() {
            Ok(made) => made.call_erased(given),
            Err(error) => boxed(|| Handling { future: ready(Err(error)) }),
        }
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        let made = DynApplication::new((self.make)().await.map_err(Into::into)?);
        made.startup(server).await?;
        let before = self.made.write().unwrap_or_else(PoisonError::into_inner).replace(made);
        contain::discard("drop of the application", before);
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), Error> {
        self.made()?.shutdown().await
    }
}

impl<F> std::fmt::Debug for AtStartup<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AtStartup")
    }
}
