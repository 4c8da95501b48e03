//! The whole suite through what applications are wrapped in: the tokio wrapper, and an axum `Router` in the middle, on
//! servers that run on tokio and others. \[TST-05\]

use adapter_core::{
    Application, DynApplication, Environ, Error, Request, Response, ServeError, Server, ServerConfig, ServerHandle,
    ServerInfo, axum as router, tokio, tower,
};
use adapter_hyper::HyperServer;
use adapter_smol::SmolServer;
use adapter_threadpool::ThreadPoolServer;
use axum::Router;
use axum::extract::OriginalUri;

/// A server that wraps what it serves.
struct Wrapping<S> {
    server: S,
    wrap: fn(DynApplication) -> DynApplication,
}

impl<S: Server> Server for Wrapping<S> {
    fn info(&self) -> ServerInfo {
        self.server.info()
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        self.server.start((self.wrap)(application), config)
    }
}

fn with_tokio(application: DynApplication) -> DynApplication {
    DynApplication::new(tokio::application(application))
}

/// A router, with the hooks of what it routes to.
struct Routed {
    router: DynApplication,
    application: DynApplication,
}

impl Application for Routed {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        self.router.call(request, environ).await
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        self.router.startup(server).await?;
        self.application.startup(server).await
    }

    async fn shutdown(&self) -> Result<(), Error> {
        self.application.shutdown().await?;
        self.router.shutdown().await
    }
}

fn through_axum(application: DynApplication) -> DynApplication {
    let environ = |head: &axum::http::request::Parts| head.extensions.get::<Environ>().expect("an environ").clone();
    let service = tower::service(application.clone(), environ);
    let whole = axum::middleware::map_request(|OriginalUri(uri): OriginalUri, mut request: axum::extract::Request| {
        // The suite's application looks at its mount prefix itself.
        *request.uri_mut() = uri;
        std::future::ready(request)
    });
    let router = router(Router::new().fallback_service(service).layer(whole));
    DynApplication::new(Routed { router: DynApplication::new(router), application })
}

fn main() {
    conformance_tests::secure::provide(conformance_tests::own_tls::make);
    conformance_tests::main(&[
        &Wrapping { server: SmolServer::new(), wrap: with_tokio },
        &Wrapping { server: HyperServer::new(), wrap: through_axum },
        &Wrapping { server: ThreadPoolServer::new(), wrap: through_axum },
    ]);
}
