//! The stream behind an upgrade of hyper's: the server's, once it is there, shared with the [keeper](super::keeper).
//!
//! The program's task reads and writes through a [`Socket`]; of a WebSocket, the keeper writes control frames between the
//! program's frames. Each takes the lock for one poll of the stream, which does not block. Who has to be woken by the
//! stream is behind [`Wakers`]: a stream remembers one waker for each direction.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread;
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use futures_io::{AsyncRead as _, AsyncWrite as _};
use hyper::rt::{Read, ReadBufCursor, Write};
use tracing::Span;

use super::frames::Frames;
use super::promise::REQUEST;
use crate::contain;
use crate::runtime::Runtime;
use crate::upgrade::Upgraded;

/// The end of the head that hyper writes; everything behind it is the program's.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Octets taken from the stream at a time.
const READ: usize = 8192;

/// Octets of Pings that may wait for their answers while the client takes nothing. tungstenite gathers answers without
/// bound, and reads on. \[UPG-20\]
const PINGS: usize = 64 * 1024;

/// What a program's socket and its keeper share.
pub(super) struct Link {
    state: Mutex<State>,
    wakers: Arc<Wakers>,
    /// Wakes everybody in `wakers`.
    waker: Waker,
}

impl Default for Link {
    fn default() -> Self {
        let wakers = Arc::<Wakers>::default();
        let waker = Waker::from(wakers.clone());
        Link { state: Mutex::new(State::default()), wakers, waker }
    }
}

impl Link {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server has handed `stream` over.
    pub(super) fn open(&self, stream: Upgraded, websocket: Option<&Runtime>) {
        let mut state = self.lock();
        state.stream = Some(stream);
        state.websocket = websocket.map(Watched::new);
    }

    /// Writes what the keeper has to say, where it fits; `cx` is the keeper's.
    pub(super) fn poll_say(&self, cx: &mut Context<'_>) {
        self.wakers.set(Who::Keeper, cx.waker());
        let _ = self.lock().poll_said(&mut Context::from_waker(&self.waker));
    }

    /// Wakes the program: what it waits for has changed.
    pub(super) fn wake_program(&self) {
        let reader = self.lock().reader.take();
        reader.into_iter().for_each(Waker::wake);
        self.wakers.wake_all();
    }

    /// Why it is over, where it is the client that has broken it off, or was given up.
    pub(super) fn broken(&self) -> Option<Cow<'static, str>> {
        let state = self.lock();
        let websocket = state.websocket.as_ref()?;
        match websocket.given_up {
            Some(why) => Some(format!("the client was disconnected: {why}").into()),
            // The program may have read a Close that came before a write failed.
            None => (websocket.lost && !websocket.input.is_closed()).then_some("the connection was lost".into()),
        }
    }

    /// `waker` is woken when the program drops its socket, or can't write.
    pub(super) fn set_keeper(&self, waker: &Waker) {
        self.wakers.set(Who::Keeper, waker);
    }
}

/// A stream, before and after it is there.
#[derive(Default)]
pub(super) struct State {
    /// `None` until the server has handed it over, and once it is given up.
    pub(super) stream: Option<Upgraded>,
    /// Octets of [`REQUEST`] that hyper has read.
    asked: usize,
    /// Octets of [`HEAD_END`] that were the last ones hyper wrote; all of them: hyper is out of the way.
    answered: usize,
    /// The program has dropped its socket.
    pub(super) dropped: bool,
    /// Who reads, if it waits.
    reader: Option<Waker>,
    /// What the keeper needs; `None` for protocols it does not know.
    pub(super) websocket: Option<Watched>,
    /// Of the request.
    pub(super) span: Option<Span>,
}

/// What the keeper knows of a WebSocket, and has to say.
pub(super) struct Watched {
    /// Where the program's output stands.
    frames: Frames,
    /// Where its input does.
    input: Frames,
    /// Octets of Pings that the program has read, and may not have answered.
    unanswered: usize,
    /// The client has refused octets, and not taken all of them since.
    behind: bool,
    /// A control frame of ours, as far as it is not written.
    says: Bytes,
    /// Some of it is written.
    saying: bool,
    /// That frame is a Close.
    closing: bool,
    /// The Close is written: the program may not write data any more.
    closed: bool,
    /// When the client last took something of what stands in front of that Close.
    pub(super) taken: Option<Instant>,
    /// The program is not to be kept waiting for the client any more.
    pub(super) over: bool,
    /// Octets that the keeper has read ahead of the program.
    ahead: Bytes,
    /// When octets came from the client last.
    pub(super) heard: Instant,
    /// Since when the client takes nothing of what is written.
    pub(super) stalled: Option<Instant>,
    /// The stream has ended, or failed, before anybody has said Close.
    lost: bool,
    /// Why the keeper has given the client up.
    pub(super) given_up: Option<&'static str>,
    /// Whose time counts.
    runtime: Runtime,
}

impl Watched {
    fn new(runtime: &Runtime) -> Self {
        Watched {
            frames: Frames::default(),
            input: Frames::default(),
            unanswered: 0,
            behind: false,
            says: Bytes::new(),
            saying: false,
            closing: false,
            closed: false,
            taken: None,
            over: false,
            ahead: Bytes::new(),
            heard: runtime.now(),
            stalled: None,
            lost: false,
            given_up: None,
            runtime: runtime.clone(),
        }
    }

    /// Says `frame` when the frame the program is writing is whole. Nothing comes behind a Close. RFC 6455 §5.5.1
    pub(super) fn say(&mut self, frame: &'static [u8], is_close: bool) {
        if self.frames.is_closed() || self.closing || (self.saying && !is_close) {
            return;
        }
        if self.saying {
            // Behind what is half written.
            self.says = [&self.says, frame].concat().into();
        } else {
            self.says = Bytes::from_static(frame);
        }
        self.closing = is_close;
    }

    /// Whether the program does not read, so that what comes of the client is not known.
    pub(super) fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Keeps in mind since when the client takes nothing. Once the program is not to be kept waiting, that is an error.
    fn noticed<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &polled {
            Poll::Pending => {
                self.behind = true;
                self.stalled.get_or_insert_with(|| self.runtime.now());
                if self.over {
                    return Poll::Ready(Err(given_up()));
                }
            }
            Poll::Ready(outcome) => {
                self.stalled = None;
                if outcome.is_err() {
                    self.lose();
                }
                if self.closing && !self.closed {
                    self.taken = Some(self.runtime.now());
                }
            }
        }
        polled
    }

    /// There is no stream any more.
    fn lose(&mut self) {
        self.lost |= !(self.closing || self.frames.is_closed() || self.input.is_closed());
    }

    /// The program has read `octets`.
    fn read(&mut self, octets: &[u8]) {
        self.unanswered = self.unanswered.saturating_add(self.input.count_pings(octets));
    }

    /// Whether it is to read no more for now: it could only gather answers that the client does not take.
    fn holds_input(&self) -> bool {
        self.behind && self.unanswered > PINGS
    }

    /// All that the program wrote is with the client.
    fn flushed(&mut self) {
        self.behind = false;
        self.unanswered = 0;
    }

    fn may_say(&self) -> bool {
        !self.says.is_empty() && self.frames.is_between() && (self.saying || !self.frames.is_closed())
    }
}

impl State {
    fn is_open(&self) -> bool {
        self.answered == HEAD_END.len()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let asks = REQUEST.get(self.asked..).unwrap_or_default();
        if !asks.is_empty() {
            let count = asks.len().min(cursor.remaining());
            cursor.put_slice(&asks[..count]);
            self.asked += count;
            return Poll::Ready(Ok(()));
        }
        if !self.is_open() {
            // It is polled when there is a stream.
            return Poll::Pending;
        }
        if let Some(websocket) = &mut self.websocket {
            if websocket.is_ahead() {
                let count = websocket.ahead.len().min(cursor.remaining());
                let octets = websocket.ahead.split_to(count);
                websocket.read(&octets);
                cursor.put_slice(&octets);
                return Poll::Ready(Ok(()));
            }
            if websocket.over {
                return Poll::Ready(Ok(()));
            }
            if websocket.holds_input() && self.stream.is_some() {
                self.reader_waits(cx);
                return Poll::Pending;
            }
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(given_up())) };
        let mut octets = [0; READ];
        let most = cursor.remaining().min(READ);
        let polled = Pin::new(stream).poll_read(cx, &mut octets[..most]);
        match polled {
            Poll::Pending => {
                self.reader_waits(cx);
                Poll::Pending
            }
            Poll::Ready(count) => {
                if let Some(websocket) = self.websocket.as_mut().filter(|_| most > 0 && !matches!(count, Ok(1..))) {
                    websocket.lose();
                }
                let octets = octets.get(..count?).unwrap_or_default();
                cursor.put_slice(octets);
                if let Some(websocket) = &mut self.websocket {
                    websocket.heard = websocket.runtime.now();
                    websocket.read(octets);
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn reader_waits(&mut self, cx: &Context<'_>) {
        if !self.reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
    }

    /// Whether the client is there: reads a little ahead of the program, which is woken by the caller. For the keeper.
    pub(super) fn read_ahead(&mut self, cx: &mut Context<'_>) -> bool {
        let State { stream: Some(stream), websocket: Some(websocket), .. } = self else { return true };
        if websocket.is_ahead() {
            return true;
        }
        let mut octets = [0; READ];
        match Pin::new(stream).poll_read(cx, &mut octets) {
            Poll::Pending => false,
            // The end, or an error, which the program will find as well.
            Poll::Ready(Err(_) | Ok(0)) => true,
            Poll::Ready(Ok(count)) => {
                websocket.ahead = Bytes::copy_from_slice(octets.get(..count).unwrap_or_default());
                websocket.heard = websocket.runtime.now();
                true
            }
        }
    }

    /// Writes what the keeper has to say, if anything, and if it fits here.
    fn poll_said(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State { stream: Some(stream), websocket: Some(websocket), .. } = self else {
            return Poll::Ready(Ok(()));
        };
        if !websocket.may_say() {
            return Poll::Ready(Ok(()));
        }
        while !websocket.says.is_empty() {
            let polled = Pin::new(&mut *stream).poll_write(cx, &websocket.says);
            let count = ready!(websocket.noticed(polled))?;
            websocket.says.advance(count.min(websocket.says.len()));
            websocket.saying = true;
        }
        websocket.saying = false;
        websocket.closed = websocket.closing;
        let polled = Pin::new(stream).poll_flush(cx);
        websocket.noticed(polled)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_open() {
            // hyper's response is not for the client, who has the program's.
            return match &self.stream {
                Some(_) => Poll::Ready(Ok(self.skip_head(octets))),
                None => Poll::Pending,
            };
        }
        ready!(self.poll_said(cx))?;
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(given_up())) };
        let Some(websocket) = &mut self.websocket else { return Pin::new(stream).poll_write(cx, octets) };
        if websocket.closed {
            // The answer to the client's Close, for one, has been given.
            return Poll::Ready(match websocket.frames.skip_control(octets) {
                0 if !octets.is_empty() => Err(closed()),
                count => Ok(count),
            });
        }
        let most = if websocket.says.is_empty() { octets.len() } else { websocket.frames.rest_of_frame(octets) };
        let octets = octets.get(..most).unwrap_or(octets);
        let polled = Pin::new(stream).poll_write(cx, octets);
        let count = ready!(websocket.noticed(polled))?;
        websocket.frames.advance(octets.get(..count).unwrap_or_default());
        websocket.unanswered = websocket.unanswered.saturating_sub(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_open() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_said(cx))?;
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(given_up())) };
        let polled = Pin::new(stream).poll_flush(cx);
        let Some(websocket) = &mut self.websocket else { return polled };
        ready!(websocket.noticed(polled))?;
        websocket.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_open() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_flush(cx))?;
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_close(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// How many of `octets` are hyper's head.
    fn skip_head(&mut self, octets: &[u8]) -> usize {
        for (index, octet) in octets.iter().enumerate() {
            self.answered = match HEAD_END.get(self.answered) {
                Some(expected) if expected == octet => self.answered + 1,
                _ => usize::from(*octet == b'\r'),
            };
            if self.is_open() {
                return index + 1;
            }
        }
        octets.len()
    }
}

fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client is silent, or takes nothing")
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the server is shutting down and has closed the WebSocket")
}

/// What hyper, and the program through it, reads and writes.
pub(super) struct Socket(pub(super) Arc<Link>);

impl Socket {
    /// Runs a poll of the writing side.
    fn writing<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut State, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let link = &*self.0;
        link.wakers.set(Who::Program, cx.waker());
        let mut state = link.lock();
        let stalled = |state: &State| state.websocket.as_ref().is_some_and(|websocket| websocket.stalled.is_some());
        let held = |state: &State| state.websocket.as_ref().is_some_and(Watched::holds_input);
        let (before, held_before) = (stalled(&state), held(&state));
        let polled = poll(&mut state, &mut Context::from_waker(&link.waker));
        let begins = !before && stalled(&state);
        let reader = if held_before && !held(&state) { state.reader.take() } else { None };
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        if begins {
            // It has a clock to look at.
            link.wakers.wake_one(Who::Keeper);
        }
        polled
    }
}

impl Read for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_read(cx, cursor)
    }
}

impl Write for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.writing(cx, |state, cx| state.poll_write(cx, octets))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx, State::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx, State::poll_close)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.dropped = true;
        let stream = state.stream.take();
        let place = if state.websocket.is_some() { "axum's websocket" } else { "upgraded connection" };
        let is_theirs = state.is_open();
        let span = state.span.take().unwrap_or_else(Span::none);
        drop(state);
        // It is in a task that the program has spawned, and tokio keeps what a task panics with to itself. [ERR-02]
        if is_theirs && thread::panicking() {
            span.in_scope(|| contain::report_passing(place));
        }
        // [UPG-19b] the connection closes here
        drop(stream);
        self.0.wakers.wake_one(Who::Keeper);
    }
}

/// Who waits for the stream to take octets.
#[derive(Clone, Copy)]
enum Who {
    Program,
    Keeper,
}

#[derive(Default)]
struct Wakers(Mutex<[Option<Waker>; 2]>);

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, [Option<Waker>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, who: Who, waker: &Waker) {
        let slot = &mut self.lock()[who as usize];
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    fn wake_one(&self, who: Who) {
        let waker = self.lock()[who as usize].take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.lock());
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}
