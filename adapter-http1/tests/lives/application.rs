//! The application of these lives: it answers in the way that the path names, and keeps a record.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use adapter_core::hints::{EarlyHints, HintError};
use adapter_core::http::HeaderMap;
use adapter_core::signal::Signal;
use adapter_core::{Body, Bytes, DynApplication, Environ, Error, Request, RequestBody, Response, ShutdownTrigger};

thread_local! {
    /// Whether the connection's turn has a permit.
    pub(crate) static PERMIT: Cell<bool> = const { Cell::new(true) };
    /// Something of the application's has run, or was dropped, without.
    pub(crate) static TRESPASSED: Cell<bool> = const { Cell::new(false) };
    /// What `/keep` has kept.
    static KEPT: RefCell<Option<(RequestBody, EarlyHints)>> = const { RefCell::new(None) };
}

/// Octets of `/drip`: more than a connection gathers.
pub(crate) const DRIP: usize = 70_000;

/// What is the application's runs.
fn trespass() {
    if !PERMIT.get() {
        TRESPASSED.set(true);
    }
}

/// Counts what the application has.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        trespass();
        count.fetch_add(1, SeqCst);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        trespass();
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A call of the application.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    /// When it gave its answer, and whether the server was shutting down then.
    pub(crate) answered: Option<(Instant, bool)>,
    /// The handler was dropped.
    pub(crate) gone: bool,
}

/// What the application shares with its life.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) clock: Arc<Mutex<Instant>>,
    pub(crate) trigger: ShutdownTrigger,
    /// What it waits for.
    pub(crate) gate: Signal,
    pub(crate) alive: Arc<AtomicUsize>,
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
}

/// Tells that a handler was dropped.
struct Noted(Arc<Mutex<Vec<Call>>>, usize);

impl Drop for Noted {
    fn drop(&mut self) {
        // Also where the life ends by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[self.1].gone = true;
    }
}

/// The application; `port` is the client's.
pub(crate) fn application(record: Record, port: u16) -> DynApplication {
    DynApplication::new(move |request: Request, environ: Environ| {
        assert!(environ.peer_addr().is_some_and(|peer| peer.port() == port), "who the client is");
        let now = *record.clock.lock().unwrap();
        let mut calls = record.calls.lock().unwrap();
        let noted = Noted(record.calls.clone(), calls.len());
        calls.push(Call { at: now, answered: None, gone: false });
        drop(calls);
        let mut answer = Box::pin(answer(request, environ, record.gate.clone(), record.alive.clone()));
        let record = record.clone();
        poll_fn(move |cx| {
            trespass();
            let noted = &noted;
            let polled = answer.as_mut().poll(cx);
            if polled.is_ready() {
                let now = *record.clock.lock().unwrap();
                let stopping = record.trigger.draining().is_fired();
                record.calls.lock().unwrap()[noted.1].answered = Some((now, stopping));
            }
            polled
        })
    })
}

/// Answers in the way that the path names, and says the path.
async fn answer(request: Request, environ: Environ, gate: Signal, alive: Arc<AtomicUsize>) -> Result<Response, Error> {
    let handler = Alive::new(&alive);
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let said = match path.split('/').nth(1).unwrap_or_default() {
        "read" => {
            let mut count = 0;
            while let Some(chunk) = body.chunk().await {
                count += chunk?.len();
            }
            format!("{path} {count}")
        }
        "echo" => return Ok(Response::new(Body::from(body))),
        "late" => {
            gate.fired().await;
            path
        }
        // Waits in the middle.
        "drip" => {
            let parts = [path, " ".into(), "x".repeat(DRIP)];
            let stream = futures_lite::stream::unfold((0, handler), move |(index, alive)| {
                let (part, gate) = (parts.get(index).cloned(), gate.clone());
                async move {
                    trespass();
                    if index == 2 {
                        gate.fired().await;
                    }
                    part.map(|part| (Ok::<_, Error>(Bytes::from(part)), (index + 1, alive)))
                }
            });
            return Ok(Response::new(Body::from_stream(Box::pin(stream))));
        }
        // Has always more, in pieces of which a turn gathers less than is written by itself.
        "endless" => {
            let piece = Ok::<_, Error>(Bytes::from(vec![b'x'; 1000]));
            let stream = futures_lite::stream::repeat_with(move || {
                let _ = &handler;
                trespass();
                piece.as_ref().map(Bytes::clone).map_err(|_| Error::from("never"))
            });
            return Ok(Response::new(Body::from_stream(stream)));
        }
        "keep" => {
            let hints = environ.early_hints().expect("there are hints").clone();
            assert_eq!(hints.send(&HeaderMap::new()), Ok(()));
            KEPT.set(Some((body, hints)));
            let (first, rest) = path.split_at(1);
            let pieces = [first.to_owned(), rest.to_owned()].map(Ok::<_, Error>);
            match rest {
                "keep/whole" => path,
                _ => return Ok(Response::new(Body::from_stream(futures_lite::stream::iter(pieces)))),
            }
        }
        "kept" => {
            let (mut kept, hints) = KEPT.take().expect("something was kept");
            assert_eq!(hints.send(&HeaderMap::new()), Err(HintError::TooLate));
            format!("{:?}, {}", kept.chunk().await, body.text(99).await?)
        }
        "fail" => return Err(Error::from("a failure that was asked for")),
        _ => path,
    };
    Ok(Response::new(Body::from(said)))
}
