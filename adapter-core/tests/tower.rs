//! Both ways between `Application` and `tower::Service`, with axum and tower-http on the other side.
#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adapter_core::environ::{Connection, Serving};
use adapter_core::http::{HeaderMap, HeaderValue, Request as HttpRequest, StatusCode};
use adapter_core::testing::{self, Client};
use adapter_core::{
    BlockingBody, Body, Environ, Error, ListenAddr, Outcome, Request, RequestBody, RequestBodyError, Response,
    ServerConfig, ServerInfo, ShutdownTrigger, blocking, tower,
};
use axum::body::Body as AxumBody;
use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;

type HttpResponse = adapter_core::http::Response<AxumBody>;
type Answer = Result<HttpResponse, Infallible>;

const DEADLINE: Duration = Duration::from_secs(20);

fn layered(router: Router) -> Router {
    let name = adapter_core::http::HeaderName::from_static("x-layer");
    router
        .layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static("seen")))
        .layer(TraceLayer::new_for_http())
}

fn stream_of(receiver: mpsc::Receiver<&'static str>) -> Body {
    Body::from_iterator(receiver)
}

#[test]
fn a_router_with_layers_is_an_application() {
    let router = layered(Router::new().route("/hello/{name}", get(|Path(name): Path<String>| async move { name })));
    let client = Client::new(tower::application(router));
    let answer = client.get("/hello/world").send();
    assert_eq!((answer.status(), answer.text()), (StatusCode::OK, "world".into()));
    assert_eq!(answer.header("x-layer"), Some("seen"));
    assert_eq!(answer.header("content-length"), Some("5"));
    assert_eq!(client.get("/nowhere").send().status(), 404);

    let head = client.head("/hello/world").send();
    assert_eq!((head.header("content-length"), head.text()), (Some("5"), String::new()));
}

#[test]
fn the_environ_reaches_axum_handlers() {
    async fn peer(Extension(environ): Extension<Environ>) -> String {
        format!("{:?} {}", environ.peer_addr(), environ.scheme())
    }
    let client = Client::new(tower::application(Router::new().route("/", get(peer))));
    let peer = "192.0.2.1:99".parse::<std::net::SocketAddr>().ok();
    assert_eq!(client.get("/").peer_addr(peer).send().text(), "Some(192.0.2.1:99) http");
}

#[test]
fn bodies_stream_through_a_router_piece_by_piece() {
    async fn echo(request: axum::extract::Request) -> AxumBody {
        request.into_body()
    }
    let client = Client::new(tower::application(layered(Router::new().route("/", post(echo)))));
    let (upload, body) = testing::upload();
    let mut answer = client.post("/", body).open();
    for piece in ["one", "two", "three"] {
        upload.send(piece);
        assert_eq!(answer.chunk().unwrap().unwrap(), piece);
    }
    upload.finish();
    assert!(answer.chunk().is_none());
}

#[test]
fn trailers_survive_a_router() {
    async fn with_trailers() -> AxumBody {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let body = Body::from_iterator(["data"]).with_trailers(trailers);
        AxumBody::new(Unboxed(body))
    }
    let client = Client::new(tower::application(layered(Router::new().route("/", get(with_trailers)))));
    let answer = client.get("/").header("te", "trailers").send();
    assert_eq!(answer.text(), "data");
    assert_eq!(answer.trailers().unwrap()["x-sum"], "42");
    assert!(client.get("/").send().trailers().is_none());
}

/// Our body with an error type axum takes.
struct Unboxed(Body);

impl http_body::Body for Unboxed {
    type Data = adapter_core::Bytes;
    type Error = tower::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, tower::BoxError>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx).map(|next| next.map(|frame| frame.map_err(Error::into_boxed)))
    }
}

#[test]
fn a_broken_request_body_keeps_its_status_through_axum() {
    async fn read(body: AxumBody) -> Result<String, StatusCode> {
        let error = axum::body::to_bytes(body, 1000).await.expect_err("the body is broken");
        let error = Error::from(error);
        assert_eq!(error.downcast_ref(), Some(&RequestBodyError::TimedOut));
        Err(error.status())
    }
    let client = Client::new(tower::application(Router::new().route("/", post(read))));
    assert_eq!(client.post("/", RequestBody::failed(RequestBodyError::TimedOut)).send().status(), 408);
}

#[test]
fn errors_and_unready_services_are_the_applications() {
    #[derive(Clone)]
    struct Moody;
    impl ::tower::Service<Request> for Moody {
        type Response = adapter_core::http::Response<AxumBody>;
        type Error = tower::BoxError;
        type Future = Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err("not ready".into()))
        }

        fn call(&mut self, _request: Request) -> Self::Future {
            ready(Err("called though not ready".into()))
        }
    }
    let answer = Client::new(tower::application(Moody)).get("/").send();
    assert_eq!((answer.status(), answer.text()), (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error".into()));
}

#[test]
fn readiness_is_waited_for_on_a_clone() {
    struct Gated {
        open: Arc<AtomicBool>,
        ready: bool,
    }
    impl Clone for Gated {
        fn clone(&self) -> Self {
            Gated { open: self.open.clone(), ready: false }
        }
    }
    impl ::tower::Service<Request> for Gated {
        type Response = HttpResponse;
        type Error = Infallible;
        type Future = Ready<Answer>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            if self.open.swap(true, Ordering::SeqCst) {
                self.ready = true;
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }

        fn call(&mut self, _request: Request) -> Self::Future {
            assert!(self.ready, "called on another clone than the one that was ready");
            ready(Ok(HttpResponse::new(AxumBody::from("through"))))
        }
    }
    let gated = Gated { open: Arc::default(), ready: false };
    assert_eq!(Client::new(tower::application(gated)).get("/").send().text(), "through");
}

#[test]
fn a_service_that_is_not_sync_can_be_wrapped() {
    trait Cloned: Send {
        fn boxed_clone(&self) -> Box<dyn Cloned>;
    }
    #[derive(Clone, Copy)]
    struct Marker;
    impl Cloned for Marker {
        fn boxed_clone(&self) -> Box<dyn Cloned> {
            Box::new(*self)
        }
    }
    struct NotSync(Box<dyn Cloned>);
    impl Clone for NotSync {
        fn clone(&self) -> Self {
            NotSync(self.0.boxed_clone())
        }
    }
    impl ::tower::Service<Request> for NotSync {
        type Response = HttpResponse;
        type Error = Infallible;
        type Future = Ready<Answer>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _request: Request) -> Self::Future {
            ready(Ok(HttpResponse::new(AxumBody::from("ok"))))
        }
    }
    let client = Client::new(tower::application(tower::Unsync::new(NotSync(Box::new(Marker)))));
    assert_eq!(client.get("/").send().text(), "ok");
}

// The other way: an application mounted in a router, which itself runs in the in-process client.

fn mounted(application: impl adapter_core::Application) -> Client {
    let service = tower::service(application, |_: &_| -> Environ { panic!("the environ is in the extensions") });
    Client::new(tower::application(layered(
        Router::new().route("/axum", get(|| async { "axum" })).fallback_service(service),
    )))
}

#[test]
fn an_application_mounts_in_a_router_with_its_environ() {
    async fn hello(request: Request, environ: Environ) -> Result<Response, Error> {
        assert!(request.extensions().get::<Environ>().is_none());
        Ok(Response::new(Body::from(format!("{} {}", environ.server().name, request.uri().path()))))
    }
    let client = mounted(hello);
    assert_eq!(client.get("/axum").send().text(), "axum");
    let answer = client.get("/else").send();
    assert_eq!((answer.text().as_str(), answer.header("x-layer")), ("testing /else", Some("seen")));
    assert_eq!(answer.header("content-length"), Some("13"));
    let head = client.head("/else").send();
    assert_eq!((head.text().as_str(), head.header("content-length")), ("", Some("13")));
}

#[test]
fn a_mounted_application_streams_and_sends_trailers() {
    let (sender, receiver) = mpsc::channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let application = blocking(move |_request: Request<BlockingBody>, _environ: Environ| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("2"));
        let receiver = receiver.lock().unwrap().take().ok_or("asked twice")?;
        let mut response = Response::new(stream_of(receiver).with_trailers(trailers));
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        Ok::<_, Error>(response)
    });
    let mut answer = mounted(application).get("/").header("te", "trailers").open();
    for piece in ["a", "b"] {
        sender.send(piece).unwrap();
        assert_eq!(answer.chunk().unwrap().unwrap(), piece);
    }
    drop(sender);
    assert!(answer.chunk().is_none());
    assert_eq!(answer.trailers().unwrap()["x-sum"], "2");
}

#[test]
fn errors_panics_and_bad_lengths_of_a_mounted_application_are_answered() {
    async fn bad(request: Request, _environ: Environ) -> Result<Response, Error> {
        let mut response = Response::new(Body::from("twelve bytes"));
        let headers = response.headers_mut();
        match request.uri().path() {
            "/error" => return Err("broken".into()),
            "/status" => return Err(Error::new("later").with_status(StatusCode::SERVICE_UNAVAILABLE)),
            "/panic" => panic!("handler panic"),
            "/nonsense" => headers.insert("content-length", HeaderValue::from_static("x")),
            "/long" => headers.insert("content-length", HeaderValue::from_static("6")),
            _ => headers.insert("content-length", HeaderValue::from_static("20")),
        };
        Ok(response)
    }
    let client = mounted(bad);
    for (path, status) in [("/error", 500), ("/status", 503), ("/panic", 500), ("/nonsense", 500), ("/long", 200)] {
        assert_eq!(client.get(path).send().status(), status, "{path}");
    }
    assert_eq!(client.get("/long").send().text(), "twelve");
    let short = client.get("/short").send();
    assert_eq!((short.text().as_str(), short.is_complete()), ("twelve bytes", false));
}

#[test]
fn a_mounted_body_is_dropped_with_its_outcome_when_the_client_goes() {
    let (told, outcome) = mpsc::channel();
    let (feed, receiver) = mpsc::channel();
    let parts = std::sync::Mutex::new(Some((told, receiver)));
    let application = move |_request: Request, _environ: Environ| {
        let parts = parts.lock().unwrap().take();
        async move {
            let (told, receiver) = parts.ok_or("asked twice")?;
            let body = stream_of(receiver).on_finish(move |outcome, bytes| {
                let _ = told.send((outcome, bytes));
            });
            Ok::<_, Error>(Response::new(body))
        }
    };
    let mut answer = mounted(application).get("/").open();
    feed.send("12345").unwrap();
    assert_eq!(answer.chunk().unwrap().unwrap(), "12345");
    answer.disconnect();
    assert_eq!(outcome.recv_timeout(DEADLINE), Ok((Outcome::Aborted, 5)));
}

#[test]
fn without_an_environ_in_the_extensions_one_is_made() {
    async fn from(_request: Request, environ: Environ) -> Result<Response, Error> {
        Ok(Response::new(Body::from(format!("{} {}", environ.server().name, environ.local_addr()))))
    }
    // The runtime of the in-process client stands in for the host's.
    let (sender, runtime) = mpsc::channel();
    let tell = move |_request: Request, environ: Environ| {
        let _ = sender.send(environ.runtime().clone());
        async { Ok::<_, Error>(Response::new(Body::empty())) }
    };
    Client::new(tell).get("/").send();
    let runtime = runtime.recv_timeout(DEADLINE).unwrap();

    let config = ServerConfig::default();
    let serving = Serving::new(ServerInfo::new("host", "1"), runtime, ShutdownTrigger::new(), &config);
    let address = ListenAddr::Tcp("127.0.0.1:81".parse().unwrap());
    let connection = Arc::new(Connection::new(serving, None, address));
    let call = |service: tower::ApplicationService| {
        let request = HttpRequest::get("/").body(AxumBody::empty()).unwrap();
        let response = futures_lite::future::block_on(::tower::ServiceExt::oneshot(service, request)).unwrap();
        let body = futures_lite::future::block_on(axum::body::to_bytes(AxumBody::new(response.into_body()), 99));
        assert_eq!(body.unwrap(), "host 127.0.0.1:81");
    };
    call(tower::service(from, connection.clone()));
    call(tower::service(from, move |_: &_| Environ::new(connection.clone(), Instant::now())));
}
