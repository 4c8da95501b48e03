//! The response body: one owned type of six kinds.
//!
//! Async code polls it as an [`http_body::Body`]; code that may block pulls it with [`Body::next_frame`]. Event-loop
//! servers turn the kinds that block ([`Body::is_blocking`]) into a channel fed from a blocking thread with
//! [`Body::offload`]. Dropping a body is WSGI's `close()`: it happens exactly once, and a panic in it is contained.
//! Requirements: BOD-01 to BOD-22, CON-11, FIL-01 to FIL-08.

mod channel;
mod chunk;
#[cfg(feature = "tokio")]
mod entered;
mod exact;
mod file;
mod finish;
mod handover;
mod in_span;
mod inspect;
mod offload;

use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::ops::RangeBounds;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use tracing::Span;

pub use self::channel::{BodySender, SendError};
pub use self::chunk::IntoChunk;
pub use self::exact::{Exact, LengthError};
pub use self::finish::Outcome;

pub(crate) use self::inspect::Inspect;

use self::channel::Receiver;
use self::file::FileChunks;
pub use self::file::FilePart;
use self::finish::Finish;
use crate::contain;
use crate::error::Error;
use crate::request_body::{BlockingBody, RequestBody};

type Chunks = Box<dyn Iterator<Item = Result<Bytes, Error>> + Send>;
type Frames = Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>;

/// The body of a response. `Send`, not `Sync`. \[BOD-20\]
///
/// ```
/// use adapter_core::Body;
///
/// assert_eq!(Body::empty().len(), Some(0));
/// assert_eq!(Body::from("text").len(), Some(4));
///
/// let lines = (1..=3).map(|n| format!("line {n}\n"));
/// assert_eq!(Body::from_iterator(lines).len(), None);
/// ```
pub struct Body {
    kind: Kind,
    extras: Option<Box<Extras>>,
}

/// What few bodies have.
#[derive(Default)]
struct Extras {
    trailers: Option<HeaderMap>,
    finish: Finish,
    inspectors: Vec<Box<dyn Inspect>>,
    /// Where all that is said of it belongs.
    span: Option<Span>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Iter(Chunks),
    Stream(Frames),
    Channel(Receiver),
    File(Box<FileChunks>),
}

impl Body {
    /// No bytes at all.
    pub fn empty() -> Self {
        Kind::Empty.into()
    }

    /// The pieces a blocking iterator yields, in order: WSGI's response iterable.
    ///
    /// Items are chunks or `Result`s of chunks, see [`IntoChunk`]. The server calls `next()` only where blocking is
    /// allowed, sends what was yielded before it waits for more, skips empty items, stops at the first error and breaks
    /// the response off then. While the client takes nothing it has no thread, and may go on on another one.
    /// \[BOD-04\], \[BOD-05\], \[BOD-14\], \[CON-11\], \[BOD-21\]
    ///
    /// ```
    /// use std::{thread::sleep, time::Duration};
    /// # use adapter_core::Body;
    /// let slowly = ["START", "MIDDLE", "END"].into_iter().inspect(|_| sleep(Duration::from_millis(1)));
    /// let body = Body::from_iterator(slowly);
    /// ```
    pub fn from_iterator<I>(chunks: I) -> Self
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        I::Item: IntoChunk + 'static,
    {
        Kind::Iter(Box::new(chunks.into_iter().map(IntoChunk::into_chunk))).into()
    }

    /// The pieces an async stream yields, in order. Items are chunks or `Result`s of chunks, see [`IntoChunk`].
    pub fn from_stream<S>(stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: IntoChunk,
    {
        Kind::Stream(Box::pin(chunk::StreamBody::new(stream))).into()
    }

    /// Any `http_body::Body`, with its length hint and its trailers.
    ///
    /// One that has ended already (`is_end_stream`) is empty. One whose hint says that no byte comes but which has not ended
    /// may have trailers: its length counts as unknown. Where a body has a length and trailers too, they are sent over
    /// HTTP/2 only: in HTTP/1.1 it is the one or the other (RFC 9112 §6.3).
    pub fn from_http_body<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Error>,
    {
        Kind::Stream(Box::pin(chunk::ForeignBody::new(body))).into()
    }

    /// A body fed from any thread, task or callback, also after the handler has returned; it ends when the last
    /// [`BodySender`] is dropped. At most `capacity` chunks wait in between; a capacity of 0 counts as 1. \[BOD-08\]
    ///
    /// ```
    /// # use adapter_core::Body;
    /// let (sender, body) = Body::channel(4);
    /// std::thread::spawn(move || {
    ///     for n in 0..3 {
    ///         if sender.send_blocking(format!("{n}\n")).is_err() {
    ///             return; // the client is gone
    ///         }
    ///     }
    /// });
    /// # assert_eq!(adapter_core::testing::collect(body).unwrap(), "0\n1\n2\n");
    /// ```
    pub fn channel(capacity: usize) -> (BodySender, Self) {
        let (sender, receiver) = channel::channel(capacity);
        (sender, Kind::Channel(receiver).into())
    }

    /// A part of a file. An unbounded start means the file's current offset, an unbounded end the end it has now; a
    /// range that reaches beyond the end is cut there. The file is closed when the body is dropped. Its offset is left
    /// alone on Unix: clones of one open file ([`File::try_clone`](std::fs::File::try_clone)) can be sent at the same
    /// time. \[FIL-01\], \[FIL-02\], \[FIL-04\], \[FIL-05\]
    ///
    /// What is no ordinary file is read until it ends, with a length that is not known: pipes, FIFOs, devices, and
    /// files that the system makes up, such as those of `/proc`, of which the first piece is read at once. A reader
    /// that waits for a pipe holds a blocking thread, also when the client has gone, until the pipe has something to
    /// give or is closed. \[FIL-08b\]
    ///
    /// # Errors
    /// A directory; a range that does not begin at 0 of what has no positions; what the operating system says of the
    /// file's size and offset. Blocks as file metadata does, and, for a file that is on no disk, a read. \[FIL-08a\]
    pub fn from_file(file: std::fs::File, range: impl RangeBounds<u64>) -> std::io::Result<Self> {
        Ok(Kind::File(Box::new(FileChunks::new(file, range)?)).into())
    }

    /// A part of a file, read now if it has at most `most` octets: where blocking is allowed anyway, that saves coming back for it.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file), and as reading it.
    #[cfg(feature = "files")]
    pub(crate) fn from_file_read(
        file: std::fs::File,
        range: impl RangeBounds<u64>,
        most: u64,
    ) -> std::io::Result<Self> {
        let mut chunks = FileChunks::new(file, range)?;
        Ok(match chunks.read_whole(most)? {
            Some(octets) => octets.into(),
            None => Kind::File(Box::new(chunks)).into(),
        })
    }

    /// The file at `path`, whole. \[FIL-06\]
    ///
    /// # Errors
    /// As [`std::fs::File::open`] and [`from_file`](Self::from_file), and blocks as those do; a FIFO, which would block
    /// until somebody writes to it.
    pub fn from_path(path: impl AsRef<Path>) -> std::io::Result<Self> {
        Body::from_file(file::open(path.as_ref())?, ..)
    }

    /// With trailers after the last byte; sent where the client and the protocol allow it, else dropped. \[TRL-04\],
    /// \[TRL-05\]
    #[must_use]
    pub fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.extras.get_or_insert_default().trailers = Some(trailers);
        self
    }

    /// Calls `hook` once, when the server is done with this body: [`Outcome::Complete`] if it took every byte, else
    /// [`Outcome::Aborted`], also when the client went away. Runs on a server thread and must not block for long.
    /// Several hooks run in the order they were added. \[BOD-18\]
    ///
    /// ```
    /// # use adapter_core::{Body, Outcome};
    /// let body = Body::from("text").on_finish(|outcome, bytes| println!("{outcome:?} after {bytes} bytes"));
    /// ```
    #[must_use]
    pub fn on_finish(mut self, hook: impl FnOnce(Outcome, u64) + Send + 'static) -> Self {
        self.extras.get_or_insert_default().finish.add(Box::new(hook));
        self
    }

    /// Calls `hook`, in place of one set before, with the error that breaks this body off, before the server logs that. Runs where the
    /// body is polled, must not block; its panic is contained. For logs.
    #[doc(hidden)]
    #[must_use]
    pub fn on_failure(mut self, hook: impl FnOnce(&mut Error) + Send + 'static) -> Self {
        self.extras.get_or_insert_default().finish.set_on_failure(Box::new(hook));
        self
    }

    /// The exact number of bytes still to come, `None` if unknown. \[BOD-17\]
    #[inline]
    pub fn len(&self) -> Option<u64> {
        match &self.kind {
            Kind::Empty => Some(0),
            Kind::Full(data) => Some(data.len() as u64),
            Kind::Iter(_) | Kind::Channel(_) => None,
            Kind::Stream(stream) if stream.is_end_stream() => Some(0),
            // Without a byte, but not ended: there may be trailers, and a length would keep them back. [TRL-04]
            Kind::Stream(stream) => stream.size_hint().exact().filter(|length| *length > 0),
            Kind::File(file) => file.remaining(),
        }
    }

    /// Whether it is known that no byte is to come.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Whether pulling it blocks the thread: iterators and files. Event-loop servers [`offload`](Self::offload) these.
    #[inline]
    pub fn is_blocking(&self) -> bool {
        matches!(self.kind, Kind::Iter(_) | Kind::File(_))
    }

    /// Whether all of it is in memory, so that it can be sent with the head.
    #[inline]
    pub fn is_full(&self) -> bool {
        matches!(self.kind, Kind::Empty | Kind::Full(_))
    }

    /// Whether [`try_into_bytes`](Self::try_into_bytes) gives it.
    #[inline]
    pub fn is_bytes(&self) -> bool {
        self.extras.is_none() && self.is_full()
    }

    /// All of it, if it is in memory and nobody is to be told of its end; else the body again. For servers.
    ///
    /// # Errors
    /// The body.
    #[inline]
    pub fn try_into_bytes(self) -> Result<Bytes, Body> {
        if !self.is_bytes() {
            return Err(self);
        }
        // What is left owns nothing: not dropping it saves the look.
        match std::mem::replace(&mut ManuallyDrop::new(self).kind, Kind::Empty) {
            Kind::Full(data) => Ok(data),
            _ => Ok(Bytes::new()),
        }
    }

    /// What comes next, if it is a part of an ordinary file and nobody looks at it on its way. Sent so, it is to be told to
    /// [`file_sent`](Self::file_sent); it may also be pulled as any body. Does not block, never panics. For servers.
    pub fn file_part(&self) -> Option<FilePart<'_>> {
        let is_seen = self.extras.as_ref().is_some_and(|extras| !extras.inspectors.is_empty());
        match &self.kind {
            Kind::File(file) if !is_seen => file.part(),
            _ => None,
        }
    }

    /// The first `count` octets of [`file_part`](Self::file_part) are sent: what comes next begins behind them, and its hooks count them. Of
    /// more than there are the rest is ignored; of a body without such a part, all. Does not block, never panics. For servers.
    pub fn file_sent(&mut self, count: u64) {
        if let Kind::File(file) = &mut self.kind {
            let count = file.skip(count);
            if let Some(extras) = &mut self.extras {
                extras.finish.count(count);
            }
        }
    }

    /// Whether it carries trailers as far as is known before it is pulled.
    #[inline]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.extras.as_ref()?.trailers.as_ref()
    }

    /// The next frame, `None` at the end; for async code. Iterators and files block in it. Cancel safe.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await
    }

    /// The next frame, `None` at the end, for a caller that may block. Panics of the application are its errors.
    pub fn next_frame(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        if self.is_blocking() || self.is_full() {
            return self.step(|body| {
                let next = body.next_ready();
                body.inspected(next)
            });
        }
        futures_lite::future::block_on(self.frame())
    }

    /// The next frame of the kinds that need no waker.
    fn next_ready(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        loop {
            let next = match &mut self.kind {
                Kind::Full(data) => Some(Ok(std::mem::take(data))),
                Kind::Iter(chunks) => contained("body iterator", || chunks.next()),
                Kind::File(file) => file.next(),
                _ => None,
            };
            let ends = matches!(self.kind, Kind::Full(_)) || !matches!(next, Some(Ok(_)));
            if ends {
                self.close();
            }
            match next {
                // [BOD-05] an empty item is no item
                Some(Ok(data)) if data.is_empty() && !ends => {}
                Some(Ok(data)) if data.is_empty() => return self.end(),
                Some(Ok(data)) => return Some(Ok(self.counted(Frame::data(data)))),
                Some(Err(mut error)) => {
                    self.fail(&mut error);
                    return Some(Err(error));
                }
                None => return self.end(),
            }
        }
    }

    /// Trailers if there are any, else the end; seen to be reached.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        let extras = self.extras.as_mut()?;
        if let Some(trailers) = extras.trailers.take() {
            return Some(Ok(Frame::trailers(trailers)));
        }
        extras.finish.complete();
        None
    }

    fn counted(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if let (Some(extras), Some(data)) = (self.extras.as_mut(), frame.data_ref()) {
            extras.finish.count(data.len() as u64);
        }
        frame
    }

    /// Whether trailers may come where its last byte is out: it says that it has no more bytes, and not that it has ended.
    fn may_have_trailers(&self) -> bool {
        match &self.kind {
            Kind::Stream(stream) => !stream.is_end_stream() && stream.size_hint().exact() == Some(0),
            _ => self.trailers().is_some(),
        }
    }

    /// Takes the body for wholly sent, so that its hooks say so.
    fn complete(&mut self) {
        if let Some(extras) = &mut self.extras {
            extras.finish.complete();
        }
    }

    /// Breaks the body off by `error`: nothing comes any more, no trailers either, and its hooks say so. \[BOD-11\], \[BOD-13\]
    fn fail(&mut self, error: &mut Error) {
        self.close();
        if let Some(extras) = &mut self.extras {
            extras.trailers = None;
            if let Some(span) = &extras.span {
                error.log_in(span);
            }
            extras.finish.fail(error);
        }
    }

    /// Drops what feeds the body, with panics contained. \[BOD-09\], \[ERR-08\]
    #[inline(always)]
    fn close(&mut self) {
        if self.is_full() {
            self.kind = Kind::Empty;
        } else {
            self.close_any();
        }
    }

    #[inline(never)]
    fn close_any(&mut self) {
        let kind = std::mem::replace(&mut self.kind, Kind::Empty);
        self.logged(|| contain::discard("drop of a body", kind));
    }
}

/// Runs one step of application code; its panic is its error.
fn contained<T>(place: &'static str, step: impl FnOnce() -> Option<Result<T, Error>>) -> Option<Result<T, Error>> {
    contain::catch(place, step).unwrap_or_else(|panic| Some(Err(Error::new(panic))))
}

impl Body {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let polled = match &mut self.kind {
                Kind::Stream(stream) => contain::catch("body stream", || stream.as_mut().poll_frame(cx)),
                Kind::Channel(receiver) => Ok(receiver.poll_frame(cx)),
                _ => return Poll::Ready(self.next_ready()),
            };
            let next = match polled {
                Ok(poll) => std::task::ready!(poll),
                Err(panic) => Some(Err(Error::new(panic))),
            };
            return Poll::Ready(match next {
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => continue,
                Some(Ok(frame)) => {
                    if frame.is_trailers() {
                        self.close();
                        self.extras.get_or_insert_default().trailers = frame.into_trailers().ok();
                        return Poll::Ready(self.end());
                    }
                    Some(Ok(self.counted(frame)))
                }
                Some(Err(mut error)) => {
                    // [BOD-11], [BOD-13] closed at once, and never polled again
                    self.fail(&mut error);
                    Some(Err(error))
                }
                None => {
                    self.close();
                    self.end()
                }
            });
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.step(|body| {
            let next = std::task::ready!(body.poll_next(cx));
            Poll::Ready(body.inspected(next))
        })
    }

    fn is_end_stream(&self) -> bool {
        let known = match &self.kind {
            Kind::Empty => true,
            Kind::Full(data) => data.is_empty(),
            Kind::Stream(stream) => stream.is_end_stream(),
            _ => false,
        };
        known && self.extras.as_ref().is_none_or(|extras| extras.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Stream(stream) if !stream.is_end_stream() => stream.size_hint(),
            _ => self.len().map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl Drop for Body {
    #[inline]
    fn drop(&mut self) {
        // A body of which every byte was taken is complete even if nobody asked for the end.
        let complete = self.extras.is_some() && self.is_end_stream();
        self.close();
        if let Some(mut extras) = self.extras.take() {
            if complete {
                extras.finish.complete();
            }
            let hooks = extras.finish;
            match extras.span {
                Some(span) => span.in_scope(|| hooks.run()),
                None => hooks.run(),
            }
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.kind {
            Kind::Empty => "Empty",
            Kind::Full(_) => "Full",
            Kind::Iter(_) => "Iter",
            Kind::Stream(_) => "Stream",
            Kind::Channel(_) => "Channel",
            Kind::File(_) => "File",
        };
        f.debug_struct("Body").field("kind", &kind).field("len", &self.len()).finish()
    }
}

impl Default for Body {
    fn default() -> Self {
        Body::empty()
    }
}

impl From<Kind> for Body {
    fn from(kind: Kind) -> Self {
        Body { kind, extras: None }
    }
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Self {
        if data.is_empty() { Body::empty() } else { Kind::Full(data).into() }
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(data: &'static [u8]) -> Self {
        Bytes::from_static(data).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(data: Vec<u8>) -> Self {
        Bytes::from(data).into()
    }
}

/// The request body as the response body: an echo that streams. \[REQ-18\]
impl From<RequestBody> for Body {
    fn from(body: RequestBody) -> Self {
        Body::from_http_body(body)
    }
}

/// The rest of the request body as the response body, pulled where blocking is allowed.
impl From<BlockingBody> for Body {
    fn from(body: BlockingBody) -> Self {
        match body.into_parts() {
            (rest, current) if current.is_empty() => rest.into(),
            (rest, current) => {
                Body::from_iterator(std::iter::once(Ok(current)).chain(BlockingBody::from(rest).chunks()))
            }
        }
    }
}
