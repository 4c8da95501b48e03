//! The routes: each is one way to answer slowly.
//!
//! Async code, a blocking iterator, callbacks of a worker thread, jobs that run side by side, endless events, a
//! WebSocket: none of them holds up another, on any server. `?scale=0.01` shortens every pause.

use std::thread;
use std::time::{Duration, Instant};

use adapter_web::http::{HeaderValue, StatusCode, Uri, header};
use adapter_web::runtime::Interval;
use adapter_web::websocket::{self, HandshakeError, Message, Upgrade};
use adapter_web::{Application, BlockingBody, Body, DynApplication, Environ, Error, Request, Response, blocking};
use futures_lite::stream::{self, StreamExt as _};
use futures_lite::{Stream, future};

use crate::worker::Worker;

/// What `/stream` says, and how long it pauses before it says it.
const PARTS: [(Duration, &str); 3] =
    [(Duration::ZERO, "START\n"), (Duration::from_secs(3), "MIDDLE\n"), (Duration::from_secs(5), "END\n")];

const PAGE: &str = include_str!("index.html");

/// The application.
pub(crate) struct Primer {
    stream_blocking: DynApplication,
    websocket: DynApplication,
}

impl Primer {
    /// It has no state but its blocking parts, erased once.
    pub(crate) fn new() -> Self {
        Primer {
            stream_blocking: DynApplication::new(blocking(stream_blocking)),
            websocket: DynApplication::new(blocking(websocket)),
        }
    }
}

impl Application for Primer {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        let scale = Scale::of(request.uri())?;
        match environ.path_info(request.uri().path()) {
            "/" | "" => Ok(answer("text/html; charset=utf-8", PAGE)),
            "/stream" => Ok(text(Body::from_stream(parts(scale, environ)))),
            "/stream-blocking" => self.stream_blocking.call(request, environ).await,
            "/fetch" => Ok(fetch(scale)),
            "/gather" => gather(scale, environ).await,
            "/ticks" => Ok(answer("text/event-stream", Body::from_stream(ticks(scale, environ)))),
            "/websocket" => self.websocket.call(request, environ).await,
            _ => Ok(status(StatusCode::NOT_FOUND, "Not found; see /")),
        }
    }
}

/// Async: a pause holds no thread, so thousands of these wait at once.
fn parts(scale: Scale, environ: Environ) -> impl Stream<Item = &'static str> {
    stream::iter(PARTS).then(move |(pause, part)| {
        let runtime = environ.runtime().clone();
        async move {
            if !pause.is_zero() {
                runtime.sleep(scale.of_pause(pause)).await;
            }
            part
        }
    })
}

/// The same as a blocking iterator: each of these holds a thread of the server's blocking pool while it pauses.
fn stream_blocking(request: Request<BlockingBody>, _environ: Environ) -> Result<Response, Error> {
    let scale = Scale::of(request.uri())?;
    Ok(text(Body::from_iterator(PARTS.into_iter().map(move |(pause, part)| {
        thread::sleep(scale.of_pause(pause));
        part
    }))))
}

/// Callbacks: the worker's thread feeds the body long after the handler has returned. The body ends when the last
/// sender is gone, here with the worker's callbacks.
fn fetch(scale: Scale) -> Response {
    let (sender, body) = Body::channel(4);
    let last = sender.clone();
    Worker::new(scale.of_pause(Duration::from_millis(600)))
        .on_data(move |piece| sender.send_blocking(piece).is_ok())
        .on_finish(move |count| {
            // The client has gone if this fails: nobody is left to tell.
            let _ = last.send_blocking(format!("finished after {count} pieces\n"));
        })
        .start();
    text(body)
}

/// Three slow jobs side by side: the whole takes as long as the slowest. One of them even blocks its thread.
async fn gather(scale: Scale, environ: Environ) -> Result<Response, Error> {
    let runtime = environ.runtime();
    let started = Instant::now();
    let job = |name: &'static str, seconds| {
        let sleep = runtime.sleep(scale.of_pause(Duration::from_secs(seconds)));
        runtime.spawn(async move {
            sleep.await;
            format!("{name} took {seconds} s\n")
        })
    };
    let (first, second) = (job("the first job", 1), job("the second job", 2));
    let pause = scale.of_pause(Duration::from_secs(3));
    let third = runtime.run_blocking(move || {
        thread::sleep(pause);
        "the third job took 3 s on a blocking thread\n"
    });
    let mut report = first.await? + &second.await? + third.await?;
    report += &format!("all of them took {:.2} s (scale {})\n", started.elapsed().as_secs_f64(), scale.0);
    Ok(text(report))
}

/// The primer's loop as it stands there: blocking, each on a thread of the pool. Without a handshake the answer is 400.
fn websocket(request: Request<BlockingBody>, environ: Environ) -> Result<Response, HandshakeError> {
    Upgrade::from_request(&request, &environ)?.blocking_accept(|mut socket| {
        while let Some(message) = socket.recv() {
            if let Message::Text(text) = message? {
                socket.send(format!("Your message was: {text}"))?;
            }
        }
        Ok::<_, websocket::Error>(())
    })
}

/// Endless events that end when the server is asked to stop, so that they don't hold it up.
fn ticks(scale: Scale, environ: Environ) -> impl Stream<Item = String> {
    let period = scale.of_pause(Duration::from_secs(1)).max(Duration::from_millis(1));
    let start = Some((environ.runtime().interval(period), environ, 1_u64));
    stream::unfold(start, |state: Option<(Interval, Environ, u64)>| async {
        let (mut interval, environ, n) = state?;
        let stopping = async {
            environ.shutting_down().await;
            true
        };
        let ticked = async {
            interval.tick().await;
            false
        };
        Some(if future::or(stopping, ticked).await {
            ("event: end\ndata: the server is stopping\n\n".to_owned(), None)
        } else {
            (format!("id: {n}\ndata: tick {n}\n\n"), Some((interval, environ, n + 1)))
        })
    })
}

/// What pauses are multiplied by.
#[derive(Clone, Copy)]
struct Scale(f64);

impl Scale {
    fn of(uri: &Uri) -> Result<Self, Error> {
        let pairs = uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
        let Some((_, value)) = pairs.into_iter().find(|(name, _)| *name == "scale") else {
            return Ok(Scale(1.0));
        };
        match value.parse() {
            Ok(scale) if (0.0..=100.0).contains(&scale) => Ok(Scale(scale)),
            _ => Err(Error::new("scale must be a number from 0 to 100").with_status(StatusCode::BAD_REQUEST)),
        }
    }

    fn of_pause(self, pause: Duration) -> Duration {
        pause.mul_f64(self.0)
    }
}

fn text(body: impl Into<Body>) -> Response {
    answer("text/plain; charset=utf-8", body)
}

fn status(status: StatusCode, message: &'static str) -> Response {
    let mut response = text(message);
    *response.status_mut() = status;
    response
}

fn answer(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        // Browsers hold plain text back to guess what it is, unless told not to.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
