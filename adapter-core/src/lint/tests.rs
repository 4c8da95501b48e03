//! For each check an application or a server that breaks the rule and is caught, and good ones that pass.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HeaderName;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Version};
use http_body::{Body as _, Frame, SizeHint};

use super::{Lint, Side, Violation};
use crate::environ::{Connection, Environ, Serving};
use crate::hints::{EarlyHints, HintError, Sink};
use crate::runtime::Runtime;
use crate::server::{Capabilities, ListenAddr, ServerConfig, ServerInfo, ShutdownTrigger};
use crate::testing::{self, Client};
use crate::tls::TlsInfo;
use crate::{
    Application, BlockingBody, Body, DynApplication, Error, Outcome, Request, RequestBody, Response, blocking,
};

/// What collecting lint says of `answer` to a request of that method.
fn said_of(method: &str, answer: impl Fn() -> Response + Send + Sync + 'static) -> Vec<(&'static str, Side)> {
    let (application, violations) = Lint::collecting(move |_request: Request, _environ: Environ| {
        let response = answer();
        async move { Ok::<_, Error>(response) }
    });
    Client::new(application).method(method, "/").header("te", "trailers").send();
    ids(violations.take())
}

fn ids(violations: Vec<Violation>) -> Vec<(&'static str, Side)> {
    violations.into_iter().map(|violation| (violation.requirement, violation.side)).collect()
}

fn with(status: u16, body: impl Into<Body>, fields: &[(&'static str, &str)]) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in fields {
        response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    response
}

#[test]
fn good_applications_pass() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let cookie = "a=b; Expires=Wed, 09 Jun 2021 10:18:14 GMT; Path=/";
    let cases: Vec<Box<dyn Fn() -> Response + Send + Sync>> = vec![
        Box::new(Response::default),
        Box::new(move || with(200, "text", &[("content-length", "4"), ("date", date), ("set-cookie", cookie)])),
        Box::new(|| with(200, Body::from_iterator(["te", "", "xt"]), &[("content-length", "4")])),
        Box::new(|| with(299, Body::from_iterator(["text"]), &[("connection", "close")])),
        Box::new(|| with(204, "", &[])),
        Box::new(|| with(304, "", &[("etag", "\"x\""), ("content-length", "4")])),
        Box::new(|| with(426, "use it", &[("upgrade", "websocket"), ("connection", "Upgrade")])),
        Box::new(|| {
            let body = Body::from_iterator(["text"]).with_trailers(fields("x-sum", "1"));
            with(200, body, &[("trailer", "X-Sum")])
        }),
    ];
    for (at, case) in cases.into_iter().enumerate() {
        assert_eq!(said_of("GET", case), [], "case {at}");
    }
    assert_eq!(said_of("HEAD", || with(200, "", &[("content-length", "99")])), []);
    assert_eq!(said_of("HEAD", || with(200, Body::from_iterator(["text"]), &[])), []);
}

#[test]
fn bad_heads_are_caught() {
    type Fields = &'static [(&'static str, &'static str)];
    let cases: Vec<(&str, u16, &'static str, Fields)> = vec![
        ("NOB-08", 101, "", &[]),
        ("NOB-08", 150, "", &[]),
        ("NOB-05", 204, "text", &[]),
        ("NOB-05", 204, "", &[("content-length", "0")]),
        ("NOB-10", 205, "text", &[]),
        ("NOB-06a", 304, "text", &[]),
        ("NOB-09", 204, "", &[("content-type", "text/plain")]),
        ("NOB-09", 304, "", &[("content-type", "text/plain")]),
        ("FRM-06", 200, "text", &[("content-length", "four")]),
        ("FRM-06", 200, "text", &[("content-length", "+4")]),
        ("FRM-06", 200, "text", &[("content-length", "4"), ("content-length", "4")]),
        ("FRM-03a", 200, "text", &[("content-length", "3")]),
        ("FRM-04a", 200, "text", &[("content-length", "5")]),
        ("RSP-05a", 200, "text", &[("transfer-encoding", "chunked")]),
        ("RSP-05a", 200, "text", &[("keep-alive", "timeout=5")]),
        ("RSP-05a", 200, "text", &[("upgrade", "h2c")]),
        ("RSP-05b", 200, "text", &[("connection", "keep-alive")]),
        ("RSP-05b", 200, "text", &[("connection", "close, upgrade")]),
        ("RSP-06", 200, "text", &[("date", "yesterday")]),
        ("RSP-06", 200, "text", &[("date", "Sunday, 06-Nov-94 08:49:37 GMT")]),
        ("RSP-03", 200, "text", &[("set-cookie", "a=b; Path=/, c=d")]),
        ("RSP-04", 200, "text", &[("x-a", " padded")]),
        ("TRL-04", 200, "text", &[("trailer", "x-sum, content-length")]),
    ];
    for (requirement, status, body, fields) in cases {
        let said = said_of("GET", move || with(status, body, fields));
        assert_eq!(said, [(requirement, Side::Application)], "{status}");
    }
    let two_dates = &[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")];
    assert_eq!(said_of("GET", || with(200, "", two_dates)), [("RSP-06", Side::Application)]);
}

fn fields(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
}

/// A body that says one length and gives another, and trailers if there are any.
struct Liar {
    promised: u64,
    frames: Vec<Frame<Bytes>>,
}

impl http_body::Body for Liar {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = (!self.frames.is_empty()).then(|| Ok(self.frames.remove(0)));
        std::task::Poll::Ready(next)
    }

    fn size_hint(&self) -> SizeHint {
        if self.promised == u64::MAX { SizeHint::new() } else { SizeHint::with_exact(self.promised) }
    }
}

#[test]
fn bad_bodies_are_caught() {
    let application = Side::Application;
    let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
    let liar = |promised, frames| Body::from_http_body(Liar { promised, frames });

    // seen as they are pulled
    let said = said_of("GET", || with(200, Body::from_iterator(["ab", "cd"]), &[("content-length", "3")]));
    assert_eq!(said, [("FRM-03a", application)]);
    let said = said_of("GET", || with(200, Body::from_iterator(["ab"]), &[("content-length", "3")]));
    assert_eq!(said, [("FRM-04a", application)]);
    let said = said_of("GET", move || with(200, liar(3, vec![data("four")]), &[]));
    assert_eq!(said, [("BOD-17b", application)]);
    let said = said_of("GET", move || with(200, liar(5, vec![data("four")]), &[]));
    assert_eq!(said, [("BOD-17b", application)]);

    // trailers
    let said =
        said_of("GET", move || with(200, liar(u64::MAX, vec![data("x"), Frame::trailers(fields("x-sum", "1"))]), &[]));
    assert_eq!(said, [("TRL-04", application)], "not announced");
    let said = said_of("GET", || {
        let trailers = fields("content-length", "1");
        with(200, Body::from_iterator(["x"]).with_trailers(trailers), &[])
    });
    assert_eq!(said, [("TRL-04", application); 2], "not allowed: seen in the head, and as they go out");
}

#[test]
fn a_failing_lint_fails_the_request_before_the_head_and_breaks_it_off_after() {
    let answer = |body: fn() -> Body| {
        let application = Lint::new(move |_request: Request, _environ: Environ| async move {
            Ok::<_, Error>(with(200, body(), &[("content-length", "3")]))
        });
        Client::new(application).get("/").send()
    };
    assert_eq!(answer(|| Body::from("four")).status(), 500);
    let broken = answer(|| Body::from_iterator(["ab"]));
    assert_eq!((broken.status().as_u16(), broken.text().as_str()), (200, "ab"));
    assert!(broken.error().unwrap().to_string().starts_with("[FRM-04a] application: "));
}

#[test]
fn bodies_keep_their_kind() {
    let check = |make: fn() -> Body| {
        let plain = make();
        let facts = |body: &Body| (body.is_blocking(), body.is_full(), body.len(), body.trailers().cloned());
        let expected = facts(&plain);
        let asked = super::response::Asked::of(&Request::new(RequestBody::empty()).into_parts().0);
        let (head, ()) = http::Response::new(()).into_parts();
        let watched = super::response_body::watch(make(), &head, &asked, super::Sink::Fail);
        assert_eq!(facts(&watched), expected, "{plain:?}");
        assert_eq!(testing::collect(watched).unwrap(), testing::collect(plain).unwrap());
    };
    check(Body::empty);
    check(|| Body::from("full"));
    check(|| Body::from_iterator(["it", "er"]).with_trailers(fields("x-sum", "1")));
    check(|| Body::from_path("Cargo.toml").unwrap());
    check(|| Body::from_stream(futures_lite::stream::iter(["stream"])));
    check(|| Body::channel(1).1);
}

#[test]
fn hooks_and_blocking_applications_go_through() {
    let (told, outcome) = std::sync::mpsc::channel();
    let (application, violations) =
        Lint::collecting(blocking(move |mut request: Request<BlockingBody>, _environ: Environ| {
            let told = told.clone();
            let text = request.body_mut().text(99)?;
            let body = Body::from_iterator(text.chars().map(String::from).collect::<Vec<_>>());
            Ok::<_, Error>(Response::new(body.on_finish(move |outcome, bytes| _ = told.send((outcome, bytes)))))
        }));
    let client = Client::new(application);
    for client in [client.clone(), client.on_threads()] {
        assert_eq!(client.post("/", "12345").send().text(), "12345");
        assert_eq!(outcome.recv_timeout(Duration::from_secs(20)), Ok((Outcome::Complete, 5)));
    }
    assert!(violations.is_empty(), "{violations:?}");
}

// The server's side: a server that breaks one rule at a time.

struct Deaf;

impl Sink for Deaf {
    fn send(&self, _headers: &HeaderMap) -> Result<(), HintError> {
        Ok(())
    }
}

struct BadServer {
    info: ServerInfo,
    local: ListenAddr,
    peer: Option<std::net::SocketAddr>,
    scheme: Scheme,
    tls: Option<TlsInfo>,
    prefix: &'static str,
    received: Instant,
    hints: bool,
    head: http::request::Parts,
    body: RequestBody,
}

impl BadServer {
    /// One that is good as it is.
    fn new() -> Self {
        let runtime = Runtime::new(testing_driver());
        let local = ListenAddr::Tcp("127.0.0.1:80".parse().unwrap());
        let request = http::Request::get("/x/y").header("host", "a").body(()).unwrap();
        BadServer {
            info: ServerInfo::new("bad", "1").listening(vec![local.clone()], runtime),
            local,
            peer: "127.0.0.1:4000".parse().ok(),
            scheme: Scheme::HTTP,
            tls: None,
            prefix: "",
            received: Instant::now(),
            hints: false,
            head: request.into_parts().0,
            body: RequestBody::empty(),
        }
    }

    /// Calls an application that reads its body and what the lint says.
    fn said(self) -> Vec<(&'static str, Side)> {
        let (application, violations) = Lint::collecting(|mut request: Request, _environ: Environ| async move {
            while request.body_mut().frame().await.is_some_and(|frame| frame.is_ok()) {}
            Ok::<_, Error>(Response::default())
        });
        let config = ServerConfig { mount_prefix: self.prefix.into(), ..ServerConfig::default() };
        let runtime = Runtime::new(testing_driver());
        let serving = Serving::new(self.info, runtime, ShutdownTrigger::new(), &config);
        let mut connection = Connection::new(serving, self.peer, self.local);
        connection.scheme = self.scheme;
        connection.tls = self.tls.map(Box::new);
        let mut environ = Environ::new(Arc::new(connection), self.received);
        if self.hints {
            environ = environ.with_early_hints(EarlyHints::new(Deaf));
        }
        let request = Request::from_parts(self.head, self.body);
        let call = DynApplication::new(application);
        futures_lite::future::block_on(call.call(request, environ)).unwrap();
        ids(violations.take())
    }
}

fn testing_driver() -> impl crate::runtime::Driver {
    struct None;
    impl crate::runtime::Driver for None {
        fn sleep_until(&self, _deadline: Instant) -> crate::runtime::BoxFuture<()> {
            Box::pin(std::future::pending())
        }

        fn spawn(&self, _future: crate::runtime::BoxFuture<()>) {}

        fn run_blocking(&self, job: crate::runtime::BlockingJob) -> Result<(), crate::runtime::BlockingJob> {
            Err(job)
        }
    }
    None
}

#[test]
fn bad_servers_are_caught() {
    assert_eq!(BadServer::new().said(), [], "a good one");
    type Spoil = fn(&mut BadServer);
    let cases: Vec<(&str, Spoil)> = vec![
        ("ENV-04", |server| server.head.version = Version::HTTP_09),
        ("TGT-27", |server| server.head.uri = "http://a/x".parse().unwrap()),
        ("TGT-13", |server| server.head.uri = "*".parse().unwrap()),
        ("HDR-06", |server| server.head.headers.clear()),
        ("HDR-07", |server| _ = server.head.headers.append("host", HeaderValue::from_static("b"))),
        ("HDR-08a", |server| _ = server.head.headers.insert("host", HeaderValue::from_static("a,b"))),
        ("REQ-25a", |server| {
            server.head.headers.insert("transfer-encoding", HeaderValue::from_static("gzip, chunked"));
        }),
        ("EXP-04", |server| _ = server.head.headers.insert("expect", HeaderValue::from_static("tea"))),
        ("HDR-20", |server| {
            server.head.version = Version::HTTP_2;
            server.head.headers.append("cookie", HeaderValue::from_static("a=b"));
            server.head.headers.append("cookie", HeaderValue::from_static("c=d"));
        }),
        ("ENV-01", |server| server.scheme = "ftp".parse().unwrap()),
        ("ENV-02a", |server| server.peer = None),
        ("ENV-02b", |server| server.local = ListenAddr::Unix("/x".into())),
        ("ENV-03", |server| server.local = ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())),
        ("ENV-05a", |server| server.prefix = "/x/"),
        ("ENV-06", |server| server.info.name = "".into()),
        ("LIF-05", |server| server.info.runtime = None),
        ("ENV-11", |server| server.received += Duration::from_secs(60)),
        ("INF-01", |server| server.hints = true),
        ("INF-01", |server| {
            server.info.capabilities = Capabilities { early_hints: true, ..Capabilities::none() };
        }),
        ("INF-01", |server| {
            server.head.version = Version::HTTP_2;
            server.info.capabilities = Capabilities { early_hints_http2: true, ..Capabilities::none() };
        }),
        ("INF-01", |server| {
            (server.head.version, server.hints) = (Version::HTTP_2, true);
            server.info.capabilities = Capabilities { early_hints: true, ..Capabilities::none() };
        }),
        ("REQ-06", |server| {
            server.head.headers.insert("content-length", 5.into());
            let (feed, body) = testing::upload();
            feed.send("12345");
            feed.finish();
            server.body = body;
        }),
        ("TRL-02", |server| {
            server.head.headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
            let (feed, body) = testing::upload();
            feed.finish_with_trailers(fields("host", "evil"));
            server.body = body;
        }),
    ];
    for (requirement, spoil) in cases {
        let mut server = BadServer::new();
        spoil(&mut server);
        let said = server.said();
        assert_eq!(said, [(requirement, Side::Server)]);
    }
    let mut server = BadServer::new();
    server.tls = Some(TlsInfo::default());
    assert_eq!(server.said(), [("ENV-01", Side::Server), ("ENV-12", Side::Server)]);
}

#[test]
fn request_bodies_of_the_wrong_length_are_caught() {
    /// Says what the head says, and gives something else.
    struct Other(Vec<Frame<Bytes>>);
    impl crate::request_body::Source for Other {
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, crate::RequestBodyError>>> {
            std::task::Poll::Ready((!self.0.is_empty()).then(|| Ok(self.0.remove(0))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(5)
        }
    }
    let said = |frames| {
        let mut server = BadServer::new();
        server.head.method = Method::POST;
        server.head.headers.insert("content-length", 5.into());
        server.body = RequestBody::from_source(Other(frames));
        server.said()
    };
    let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
    assert_eq!(said(vec![data("12"), data("345")]), []);
    assert_eq!(said(vec![data("1234")]), [("REQ-10", Side::Server)]);
    assert_eq!(said(vec![data("123"), data("456")]), [("REQ-03", Side::Server)]);
    let after = vec![data("1234"), Frame::trailers(HeaderMap::new()), data("5")];
    assert_eq!(said(after), [("TRL-01", Side::Server)]);
    // Where the head says nothing, the server may have removed Transfer-Encoding. [HDR-15]
    let mut server = BadServer::new();
    server.head.method = Method::POST;
    server.body = RequestBody::from_source(Other(vec![data("12345")]));
    assert_eq!(server.said(), []);
}

#[test]
fn servers_that_ask_a_body_too_often_are_caught() {
    let asked = |method: Method, times: usize| {
        let (application, violations) = Lint::collecting(|_request: Request, _environ: Environ| async {
            Ok::<_, Error>(Response::new(Body::from_iterator(["one"])))
        });
        let mut server = BadServer::new();
        server.head.method = method;
        let serving =
            Serving::new(server.info, Runtime::new(testing_driver()), ShutdownTrigger::new(), &ServerConfig::default());
        let environ = Environ::new(Arc::new(Connection::new(serving, server.peer, server.local)), server.received);
        let request = Request::from_parts(server.head, server.body);
        let mut response = futures_lite::future::block_on(application.call(request, environ)).unwrap();
        for _ in 0..times {
            let _ = response.body_mut().next_frame();
        }
        assert_eq!(response.body().is_end_stream(), times > 1);
        ids(violations.take())
    };
    assert_eq!(asked(Method::GET, 2), []);
    assert_eq!(asked(Method::GET, 3), [("BOD-13", Side::Server)]);
    assert_eq!(asked(Method::HEAD, 0), []);
    assert_eq!(asked(Method::HEAD, 1), [("NOB-03", Side::Server)]);
}
