//! The routes. `GET /` is the one that is measured: it allocates for its one header field and nothing else.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, iter, thread};

use adapter_web::http::{HeaderValue, Method, StatusCode, Uri, header};
use adapter_web::runtime::BoxFuture;
use adapter_web::websocket::{self, Deflate, HandshakeError, Upgrade};
use adapter_web::{
    Application, BlockingBody, Body, Bytes, DynApplication, Environ, Error, Request, Response, blocking,
};
use futures_lite::{future, stream};

use crate::fetch::Channel;
use crate::file::KnownFile;

/// Bodies that `--reflect` gathers are at most this long.
const REFLECT_LIMIT: usize = 16 << 20;

/// A message of a WebSocket is at most this long.
const MESSAGE_LIMIT: usize = 16 << 20;

/// A chunk of a stream is at most this long.
const CHUNK_LIMIT: usize = 64 << 20;

/// The application.
///
/// | route | answer |
/// |---|---|
/// | `GET /` | `Hello, World!` |
/// | `GET /headers` | the request's header lines as the application sees them, raw octets |
/// | any `/echo` | the request body, streamed back; its length is declared if it is known |
/// | `POST /count` | the length of the request body |
/// | any `/drain` | reads the whole body, then `ok` |
/// | any `/drain-blocking` | the same on a blocking thread |
/// | `GET /stream?n=N&size=S` | N chunks of S bytes from an async stream |
/// | `GET /stream-blocking?n=N&size=S` | the same from a blocking iterator |
/// | `GET /sleep?ms=M` | `done` after M ms, async |
/// | `GET /sleep-blocking?ms=M` | the same with `thread::sleep` |
/// | any `/status/CODE` | that status; the body is not read |
/// | `GET /panic`, `GET /error` | 500 |
/// | `GET /file` | 8 MiB, byte n is n % 251 |
/// | `GET /fetch`, `GET /publish` | waits for a publication; publishes, says how many waited |
/// | any `/ws` | a WebSocket that echoes text as text and binary as binary, up to 16 MiB; else 400 |
/// | else | 404, or with `--reflect` the request as it was seen |
///
/// GET routes answer HEAD too. A broken request body becomes 400, or breaks the response off.
pub(crate) struct Testbed {
    reflect: bool,
    channel: Channel,
    drain_blocking: DynApplication,
    sleep_blocking: DynApplication,
    stream_blocking: DynApplication,
    file: DynApplication,
}

impl Testbed {
    /// With a file of its own, made now.
    pub(crate) fn new(reflect: bool) -> io::Result<Self> {
        let file = KnownFile::create()?;
        let file = move |_: Request<BlockingBody>, _: Environ| file.body().map(octets);
        Ok(Testbed {
            reflect,
            channel: Channel::default(),
            drain_blocking: DynApplication::new(blocking(drain_blocking)),
            sleep_blocking: DynApplication::new(blocking(sleep_blocking)),
            stream_blocking: DynApplication::new(blocking(stream_blocking)),
            file: DynApplication::new(blocking(file)),
        })
    }

    /// All routes but `GET /`.
    async fn route(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        let path = environ.path_info(request.uri().path());
        match path {
            "/echo" => return Ok(octets(Body::from(request.into_body()))),
            "/drain" => return length(request).await.map(|_| text("ok")),
            "/drain-blocking" => return self.drain_blocking.call(request, environ).await,
            "/count" if *request.method() == Method::POST => {
                return length(request).await.map(|length| text(length.to_string()));
            }
            "/ws" => return Ok(echo_messages(&request, &environ)?),
            _ => {}
        }
        if let Some(code) = path.strip_prefix("/status/") {
            return status(code);
        }
        if !is_get(request.method()) {
            return self.unknown(request).await;
        }
        match path {
            "/headers" => Ok(text(header_lines(&request))),
            "/stream" => {
                let (count, chunk) = chunks(request.uri())?;
                let chunks = stream::unfold(count, move |left| {
                    future::ready(left.checked_sub(1).map(|left| (chunk.clone(), left)))
                });
                Ok(octets(Body::from_stream(chunks)))
            }
            "/stream-blocking" => self.stream_blocking.call(request, environ).await,
            "/sleep" => {
                environ.runtime().sleep(millis(request.uri())?).await;
                Ok(text("done"))
            }
            "/sleep-blocking" => self.sleep_blocking.call(request, environ).await,
            "/panic" => panic!("somebody asked for /panic"),
            "/error" => Err(Error::new("somebody asked for /error")),
            "/file" => self.file.call(request, environ).await,
            "/fetch" => Ok(self.fetch(environ).await),
            "/publish" => Ok(text(self.channel.publish().to_string())),
            _ => self.unknown(request).await,
        }
    }

    /// Waits for a publication, or for the server to stop, which a long-poll must not hold up.
    async fn fetch(&self, environ: Environ) -> Response {
        let published = async {
            self.channel.wait().await;
            text("published")
        };
        let stopping = async {
            environ.shutting_down().await;
            failure(StatusCode::SERVICE_UNAVAILABLE, "stopping")
        };
        future::or(published, stopping).await
    }

    /// 404, or the request as it was seen.
    async fn unknown(&self, request: Request) -> Result<Response, Error> {
        if !self.reflect {
            return Ok(failure(StatusCode::NOT_FOUND, "not found"));
        }
        let mut seen = format!("{} {}\n", request.method(), request.uri()).into_bytes();
        seen.extend(header_lines(&request));
        seen.push(b'\n');
        // Gathered first, so that a broken body is a 400 and not a broken response.
        seen.extend(request.into_body().bytes(REFLECT_LIMIT).await?);
        Ok(octets(seen))
    }
}

impl Testbed {
    /// The application. A closure that looks at the request before there is a future, so that the measured route's is
    /// nothing.
    pub(crate) fn into_application(self) -> impl Application {
        let testbed = Arc::new(self);
        move |request: Request, environ: Environ| {
            if matches!(environ.path_info(request.uri().path()), "/" | "") && is_get(request.method()) {
                return Answer::Hello;
            }
            let testbed = testbed.clone();
            Answer::Routed(Box::pin(async move { testbed.route(request, environ).await }))
        }
    }
}

/// A response to come.
enum Answer {
    Hello,
    Routed(BoxFuture<Result<Response, Error>>),
}

impl Future for Answer {
    type Output = Result<Response, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Answer::Hello => Poll::Ready(Ok(text("Hello, World!"))),
            Answer::Routed(future) => future.as_mut().poll(cx),
        }
    }
}

/// An echo of messages, until either side closes; compressed, if the client offers that.
fn echo_messages(request: &Request, environ: &Environ) -> Result<Response, HandshakeError> {
    // All that a client may agree on, and messages of any size.
    let deflate = Deflate::default().server_context_takeover(true).client_context_takeover(true).min_message_bytes(0);
    let upgrade = Upgrade::from_request(request, environ)?.max_message_bytes(MESSAGE_LIMIT).deflate(deflate);
    upgrade.accept(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            socket.send(message?).await?;
        }
        Ok::<_, websocket::Error>(())
    })
}

fn drain_blocking(request: Request<BlockingBody>, _environ: Environ) -> Result<Response, Error> {
    let mut body = request.into_body();
    while let Some(chunk) = body.chunk() {
        chunk?;
    }
    Ok(text("ok"))
}

fn sleep_blocking(request: Request<BlockingBody>, _environ: Environ) -> Result<Response, Error> {
    thread::sleep(millis(request.uri())?);
    Ok(text("done"))
}

fn stream_blocking(request: Request<BlockingBody>, _environ: Environ) -> Result<Response, Error> {
    let (count, chunk) = chunks(request.uri())?;
    let mut left = count;
    Ok(octets(Body::from_iterator(iter::from_fn(move || {
        left = left.checked_sub(1)?;
        Some(chunk.clone())
    }))))
}

/// The length of the request body, read to its end.
async fn length(request: Request) -> Result<u64, Error> {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(chunk) = body.chunk().await {
        length += chunk?.len() as u64;
    }
    Ok(length)
}

/// `/status/CODE`. An informational code is no final status: what then happens is the server's to say.
fn status(code: &str) -> Result<Response, Error> {
    let status: StatusCode = code.parse().map_err(|_| bad_request("a status is a number from 100 to 999"))?;
    let mut response = match status.as_u16() {
        204 | 205 | 304 => Response::new(Body::empty()),
        code => text(code.to_string()),
    };
    *response.status_mut() = status;
    Ok(response)
}

/// `name: value` and a newline for each field, octets as they came.
fn header_lines<B>(request: &Request<B>) -> Vec<u8> {
    let mut lines = Vec::with_capacity(512);
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"] {
            lines.extend_from_slice(part);
        }
    }
    lines
}

fn chunks(uri: &Uri) -> Result<(u64, Bytes), Error> {
    let size = usize::try_from(number(uri, "size", 1024)?).unwrap_or(usize::MAX);
    if size > CHUNK_LIMIT {
        return Err(bad_request("size is at most 64 MiB"));
    }
    Ok((number(uri, "n", 10)?, Bytes::from(vec![b'x'; size])))
}

fn millis(uri: &Uri) -> Result<Duration, Error> {
    number(uri, "ms", 100).map(Duration::from_millis)
}

/// The number called `name` in the query.
fn number(uri: &Uri, name: &str, default: u64) -> Result<u64, Error> {
    let mut pairs = uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
    match pairs.find(|(key, _)| *key == name) {
        None => Ok(default),
        Some((_, value)) => value.parse().map_err(|_| bad_request("a number is expected in the query")),
    }
}

fn bad_request(problem: &'static str) -> Error {
    Error::new(problem).with_status(StatusCode::BAD_REQUEST)
}

fn is_get(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn text(body: impl Into<Body>) -> Response {
    typed("text/plain", body)
}

fn octets(body: impl Into<Body>) -> Response {
    typed("application/octet-stream", body)
}

fn failure(status: StatusCode, message: &'static str) -> Response {
    let mut response = text(message);
    *response.status_mut() = status;
    response
}

fn typed(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
