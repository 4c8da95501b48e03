//! The request body as an application reads it: frames, chunks, or everything up to a limit.
//!
//! The server fills it through a [`Source`], which is polled only when the application asks (\[REQ-16\]). Ends and
//! errors stay: after an end it gives the end, after an error the same error (\[REQ-07\], \[REQ-15\]).

mod blocking;
mod error;
mod pace;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

pub use self::blocking::{BlockingBody, Chunks};
pub use self::error::RequestBodyError;
use self::pace::Pace;

/// What a server implements to provide a request body.
pub trait Source: Send {
    /// The next frame. Called only when the application wants one, and never again after an end or an error.
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>>;

    /// The next frame, for a caller that may block: at most for as long as `within` says, then
    /// [`RequestBodyError::TimedOut`]. By default blocks on [`poll_frame`](Self::poll_frame). \[LIM-12\]
    fn next_frame(
        mut self: Pin<&mut Self>,
        within: Option<Duration>,
    ) -> Option<Result<Frame<Bytes>, RequestBodyError>> {
        let until = within.and_then(|within| Instant::now().checked_add(within));
        let mut waker = None;
        loop {
            // Made where there is something to wait for.
            let now = waker.as_ref().unwrap_or(Waker::noop());
            if let Poll::Ready(next) = self.as_mut().poll_frame(&mut Context::from_waker(now)) {
                return next;
            }
            match (&waker, until.map(|until| until.saturating_duration_since(Instant::now()))) {
                (None, _) => waker = Some(Waker::from(Arc::new(Unpark(thread::current())))),
                (_, None) => thread::park(),
                (_, Some(Duration::ZERO)) => {
                    self.is_late();
                    return Some(Err(RequestBodyError::TimedOut));
                }
                (_, Some(left)) => thread::park_timeout(left),
            }
        }
    }

    /// [`next_frame`](Self::next_frame) has given up, as this trait has it: to tell observers of
    /// [`TimeLimit::MinRate`](crate::observe::TimeLimit::MinRate). By default does nothing.
    fn is_late(&self) {}

    /// The bytes that are to come, as far as known. \[REQ-06\]
    fn size_hint(&self) -> SizeHint;
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// The body of a request.
///
/// Dropping it means "discard the rest". It can outlive the handler and become a response body with `Body::from`.
/// \[REQ-20\], \[REQ-18\]
///
/// ```
/// # use adapter_core::{Body, Environ, Error, Request, Response};
/// async fn count(request: Request, _environ: Environ) -> Result<Response, Error> {
///     let mut body = request.into_body();
///     let mut total = 0;
///     while let Some(chunk) = body.chunk().await {
///         total += chunk?.len();
///     }
///     Ok(Response::new(Body::from(total.to_string())))
/// }
/// # let answer = adapter_core::testing::Client::new(count).post("/", "12345").send();
/// # assert_eq!(answer.text(), "5");
/// ```
pub struct RequestBody {
    state: State,
    pace: Pace,
    trailers: Option<Box<HeaderMap>>,
    /// Octets that were read, where somebody counts them.
    read: Option<Arc<AtomicU64>>,
    /// Whether what was asked for last has not come, where somebody wants to know.
    waits: Option<Arc<AtomicBool>>,
}

enum State {
    Empty,
    Full(Bytes),
    Source(Pin<Box<dyn Source>>),
    Failed(RequestBodyError),
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        State::Empty.into()
    }

    /// A body the server reads from a connection. For servers.
    pub fn from_source(source: impl Source + 'static) -> Self {
        State::Source(Box::pin(source)).into()
    }

    /// Whoever waits for it on a thread waits for clients only that send at least `rate` octets a second.
    #[inline]
    pub(crate) fn set_min_rate(&mut self, rate: Option<u32>) {
        self.pace = Pace::of(rate);
    }

    /// All of it, if it is in memory.
    #[cfg(feature = "testing")]
    pub(crate) fn in_memory(&self) -> Option<Bytes> {
        match &self.state {
            State::Empty => Some(Bytes::new()),
            State::Full(data) => Some(data.clone()),
            State::Source(_) | State::Failed(_) => None,
        }
    }

    /// A body that fails with `error` when it is read. For servers and tests.
    pub fn failed(error: RequestBodyError) -> Self {
        State::Failed(error).into()
    }

    /// The exact number of bytes still to come, `None` if unknown. \[REQ-06\]
    pub fn len(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }

    /// Whether it is known that nothing comes any more.
    pub fn is_empty(&self) -> bool {
        self.is_end_stream()
    }

    /// The next frame: data or trailers; `None` at the end. Cancel safe. \[TRL-01\]
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, RequestBodyError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await
    }

    /// The next piece of data, never empty; `None` at the end. Trailers are kept for [`trailers`](Self::trailers).
    /// Cancel safe.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, RequestBodyError>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// All of the rest, if it is at most `limit` bytes.
    ///
    /// # Errors
    /// [`RequestBodyError::TooLarge`] as soon as it is known to be more; what else can go wrong with a body. Returned
    /// from a handler they become 413, 400 or 408. Not cancel safe: what was read is lost.
    pub async fn bytes(&mut self, limit: usize) -> Result<Bytes, RequestBodyError> {
        let mut collector = Collector::new(self, limit)?;
        while let Some(chunk) = self.chunk().await {
            collector.add(chunk?)?;
        }
        Ok(collector.finish())
    }

    /// All of the rest as text, if it is at most `limit` bytes.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`RequestBodyError::Malformed`] if it is not UTF-8.
    pub async fn text(&mut self, limit: usize) -> Result<String, RequestBodyError> {
        utf8(self.bytes(limit).await?)
    }

    /// The octets that are read of it from now on, wherever it goes: for middleware that logs.
    pub fn count_read(&mut self) -> Arc<AtomicU64> {
        self.read.get_or_insert_default().clone()
    }

    /// Whether who reads it waits for the client, from now on; `None` where there is nothing to wait for.
    pub(crate) fn watch_waits(&mut self) -> Option<Arc<AtomicBool>> {
        match self.state {
            State::Source(_) => Some(self.waits.get_or_insert_default().clone()),
            _ => None,
        }
    }

    fn set_waits(&self, waits: bool) {
        if let Some(told) = &self.waits {
            told.store(waits, Ordering::Relaxed);
        }
    }

    /// The trailers, once the end has been read; `None` if there were none. \[TRL-01\]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RequestBodyError>>> {
        loop {
            match std::task::ready!(Pin::new(&mut *self).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                    _ => {}
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// [`frame`](Self::frame) for a caller that may block.
    pub(crate) fn next_frame(&mut self) -> Option<Result<Frame<Bytes>, RequestBodyError>> {
        self.set_waits(true);
        let next = match &mut self.state {
            State::Source(source) => match self.pace.left() {
                None => source.as_mut().next_frame(None),
                within => {
                    let began = Instant::now();
                    let next = source.as_mut().next_frame(within);
                    let data = next.as_ref().and_then(|next| next.as_ref().ok()?.data_ref());
                    self.pace.came(data.map_or(0, Bytes::len), began.elapsed());
                    next
                }
            },
            _ => self.next_ready(),
        };
        self.seen(next)
    }

    fn next_ready(&mut self) -> Option<Result<Frame<Bytes>, RequestBodyError>> {
        match std::mem::replace(&mut self.state, State::Empty) {
            State::Empty => None,
            State::Full(data) => Some(Ok(Frame::data(data))),
            State::Failed(error) => {
                self.state = State::Failed(error.clone());
                Some(Err(error))
            }
            State::Source(_) => unreachable!("asked only for the other states"),
        }
    }

    /// Remembers ends, errors and trailers.
    fn seen(
        &mut self,
        next: Option<Result<Frame<Bytes>, RequestBodyError>>,
    ) -> Option<Result<Frame<Bytes>, RequestBodyError>> {
        self.set_waits(false);
        match &next {
            None => self.state = State::Empty,
            Some(Err(error)) => self.state = State::Failed(error.clone()),
            Some(Ok(frame)) => {
                if let (Some(read), Some(data)) = (&self.read, frame.data_ref()) {
                    read.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.trailers = Some(Box::new(trailers.clone()));
                }
            }
        }
        next
    }
}

/// Gathers a body up to a limit; shared by the async and the blocking face.
struct Collector {
    limit: usize,
    first: Option<Bytes>,
    rest: BytesMut,
}

impl Collector {
    fn new(body: &RequestBody, limit: usize) -> Result<Self, RequestBodyError> {
        // [LIM-03] refuse before reading where the length is declared
        if body.len().is_some_and(|length| length > limit as u64) {
            return Err(RequestBodyError::TooLarge { limit: limit as u64 });
        }
        Ok(Collector { limit, first: None, rest: BytesMut::new() })
    }

    fn add(&mut self, chunk: Bytes) -> Result<(), RequestBodyError> {
        let held = self.first.as_ref().map_or(0, Bytes::len) + self.rest.len();
        if chunk.len() > self.limit - held {
            return Err(RequestBodyError::TooLarge { limit: self.limit as u64 });
        }
        if held == 0 {
            self.first = Some(chunk);
        } else {
            if let Some(first) = self.first.take() {
                self.rest.extend_from_slice(&first);
            }
            self.rest.extend_from_slice(&chunk);
        }
        Ok(())
    }

    fn finish(self) -> Bytes {
        self.first.unwrap_or_else(|| self.rest.freeze())
    }
}

fn utf8(bytes: Bytes) -> Result<String, RequestBodyError> {
    String::from_utf8(bytes.into()).map_err(|_| RequestBodyError::Malformed("not UTF-8".into()))
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let next = match &mut self.state {
            State::Source(source) => match source.as_mut().poll_frame(cx) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    self.set_waits(true);
                    return Poll::Pending;
                }
            },
            _ => self.next_ready(),
        };
        Poll::Ready(self.seen(next))
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Empty => true,
            State::Full(data) => data.is_empty(),
            State::Source(source) => source.size_hint().exact() == Some(0),
            State::Failed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Empty => SizeHint::with_exact(0),
            State::Full(data) => SizeHint::with_exact(data.len() as u64),
            State::Source(source) => source.size_hint(),
            State::Failed(_) => SizeHint::new(),
        }
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, RequestBodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}

impl From<State> for RequestBody {
    fn from(state: State) -> Self {
        RequestBody { state, pace: Pace::ANY, trailers: None, read: None, waits: None }
    }
}

impl From<Bytes> for RequestBody {
    fn from(data: Bytes) -> Self {
        if data.is_empty() { State::Empty.into() } else { State::Full(data).into() }
    }
}

impl From<&'static str> for RequestBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<String> for RequestBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for RequestBody {
    fn from(data: Vec<u8>) -> Self {
        Bytes::from(data).into()
    }
}

impl Default for RequestBody {
    fn default() -> Self {
        RequestBody::empty()
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").field("len", &self.len()).finish_non_exhaustive()
    }
}
