//! A TLS session and the octets on both sides of it: what the servers have under HTTP where a listener has TLS.
//!
//! It does no I/O of its own: whoever has a socket lends it as [`Raw`] for each attempt. Plaintext is sealed as it comes, so that what a
//! server has gathered leaves as one piece; what the socket does not take is kept, and nothing more is sealed until it is gone.
//! Buffers are the thread's: an idle connection holds none.
//!
//! *Ends* (RFC 8446 §6.1): [`poll_shutdown`](Pump::poll_shutdown) and [`farewell`](Pump::farewell) say close_notify. Nothing else does:
//! a response that is broken off must not look whole, so a pump that is only dropped says nothing.
//!
//! *Wakers*: what is pending wakes who polled. Reading also sends what the session has to say, and may so take the place of who waits
//! to write; both are woken then.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use super::handshakes::{Begun, Handshakes, Turn};
use super::{Session, Tls, TlsError, TlsInfo};

/// Ciphertext read at a time, at most: one system call for what the largest of the servers' buffers holds.
const INPUT: usize = 68 * 1024;
/// And at least: the largest record. RFC 8446 §5.2, RFC 5246 §6.2.3
const RECORD: usize = 17 * 1024;
/// What is around the plaintext that a buffer has room for.
const AROUND: usize = 1024;
/// Plaintext sealed at a time.
const PIECE: usize = 64 * 1024;
/// Parts of it.
const PARTS: usize = 8;
/// Octets that may wait for the client while more is read: the session answers to what it reads.
const ANSWERS: usize = 64 * 1024;
/// A larger buffer is not kept.
const SPARE_MOST: usize = PIECE + 2 * AROUND;
/// Reads before others get their turn, where nothing comes out of them.
const READS: u32 = 16;

/// The answer to a client that speaks HTTP where TLS is spoken. It can't be encrypted.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Connection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 73\r\n\
    \r\n\
    The plain HTTP request was sent to a TLS port: use https:// for this one\n";

thread_local! {
    /// Where ciphertext is read to.
    static LENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Where it is written to, between two uses.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A socket as a [`Pump`] needs it: its attempts do not block. What is pending keeps one waker for reading and one for writing, the last,
/// and wakes it when there is news, also where another attempt was faster.
pub trait Raw {
    /// Reads into `buffer`, which is not empty; 0 is the end of the client's stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Hands octets, never none, to the operating system.
    fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>>;

    /// Ends our half of the stream (FIN).
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Who sends.
#[derive(Clone, Copy)]
enum Side {
    Reader,
    Writer,
}

/// What is needed until the handshake has ended.
struct Opening {
    tls: Tls,
    http2: bool,
    turn: Turn,
    /// The handshake is counted.
    begun: Option<Begun>,
}

/// A session and the octets on both sides of it.
pub struct Pump {
    opening: Option<Box<Opening>>,
    /// There is one when the client has sent something.
    session: Option<Box<dyn Session>>,
    /// Ciphertext that the session has not taken.
    input: Vec<u8>,
    /// Ciphertext for the client, of which `sent` octets are with the operating system.
    output: Vec<u8>,
    sent: usize,
    failed: Option<TlsError>,
    /// The client's stream has ended, and not by close_notify.
    cut: bool,
    /// The socket has failed, which it may tell only once, and whoever sends along does not look.
    broken: Option<io::ErrorKind>,
    /// Nothing more is sealed.
    closed: bool,
    /// Not even close_notify.
    broken_off: bool,
    /// Who waits for the client to take something.
    reader: Option<Waker>,
    writer: Option<Waker>,
}

// Not inlined: they would be so into code whose plain connections have no use for them.
impl Pump {
    /// For a connection that was accepted just now. `http2`: as in [`Acceptor::accept`](super::Acceptor::accept). Its handshake is one of
    /// `handshakes`, from when the client has sent something.
    pub fn new(tls: &Tls, http2: bool, handshakes: &Handshakes) -> Self {
        let opening = Opening { tls: tls.clone(), http2, turn: Turn::new(handshakes.clone()), begun: None };
        Pump {
            opening: Some(Box::new(opening)),
            session: None,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            failed: None,
            cut: false,
            broken: None,
            closed: false,
            broken_off: false,
            reader: None,
            writer: None,
        }
    }

    /// Octets that were read in front of the handshake, and are the beginning of it. Before anything else.
    pub fn begin_with(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    /// The handshake, and what was agreed on. Asked again after that it says the same. Cancel safe.
    ///
    /// # Errors
    /// There was nothing to agree on, or the client is gone. What the client is to be told is sent by
    /// [`poll_flush`](Self::poll_flush) and [`poll_shutdown`](Self::poll_shutdown), like the rest; what it sends may be read away after that.
    #[inline(never)]
    pub fn poll_open(&mut self, raw: &mut impl Raw, cx: &mut Context<'_>) -> Poll<Result<TlsInfo, TlsError>> {
        let opened = ready!(self.poll_handshake(raw, cx));
        // With it goes the count.
        self.opening = None;
        if let Err(error) = &opened {
            self.failed.get_or_insert_with(|| error.clone());
        }
        Poll::Ready(opened)
    }

    fn poll_handshake(&mut self, raw: &mut impl Raw, cx: &mut Context<'_>) -> Poll<Result<TlsInfo, TlsError>> {
        for _ in 0..READS {
            if let Some(error) = &self.failed {
                return Poll::Ready(Err(error.clone()));
            }
            self.send_along(raw, cx);
            if let Some(session) = self.session.as_ref().filter(|session| !session.is_handshaking()) {
                return Poll::Ready(Ok(session.info()));
            }
            if !self.input.is_empty() {
                ready!(self.poll_begin(cx));
                continue;
            }
            if self.cut {
                let is_silence = self.session.is_none();
                let left = if is_silence { TlsError::silence() } else { TlsError::new("the client has left") };
                return Poll::Ready(Err(left));
            }
            if let Err(error) = ready!(self.poll_fill(raw, cx, &mut [])) {
                return Poll::Ready(Err(TlsError::new(error.to_string())));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The client has sent something: begins, or goes on.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.session.is_none() {
            if self.input.first().is_some_and(u8::is_ascii_alphabetic) {
                self.input = Vec::new();
                self.output.extend_from_slice(PLAIN_HTTP);
                self.failed = Some(TlsError::new("plain HTTP was sent to a TLS port"));
                return Poll::Ready(());
            }
            let Some(opening) = &mut self.opening else { return Poll::Ready(()) };
            opening.begun = Some(ready!(opening.turn.poll(cx)));
            self.session = Some(opening.tls.accept(opening.http2));
        }
        let input = std::mem::take(&mut self.input);
        self.decrypt(&input, &mut []);
        Poll::Ready(())
    }

    /// Plaintext of the client; 0 is the end of its stream, told by close_notify. Cancel safe.
    ///
    /// # Errors
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof): its stream has ended without that; we may go on writing.
    /// [`InvalidData`](io::ErrorKind::InvalidData): it breaks the protocol. Others are the socket's.
    #[inline(never)]
    pub fn poll_read(
        &mut self,
        raw: &mut impl Raw,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.opening.is_some() {
            ready!(self.poll_open(raw, cx)).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        if self.failed.is_some() && self.closed && !self.cut {
            // Nobody wants it, so that the client may read what it was told.
            return self.poll_raw(raw, cx, buffer);
        }
        for _ in 0..READS {
            if let Some(session) = &mut self.session {
                let count = session.read(buffer);
                if count > 0 {
                    return Poll::Ready(Ok(count));
                }
                if session.has_ended() {
                    return Poll::Ready(Ok(0));
                }
            }
            self.send_along(raw, cx);
            if !self.input.is_empty() {
                let input = std::mem::take(&mut self.input);
                let count = self.decrypt(&input, buffer);
                if count > 0 {
                    return Poll::Ready(Ok(count));
                }
                continue;
            }
            if let Some(error) = &self.failed {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error.clone())));
            }
            if self.cut {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if self.output.len() - self.sent > ANSWERS {
                // The client asks, and does not listen.
                return Poll::Pending;
            }
            let count = ready!(self.poll_fill(raw, cx, buffer))?;
            if count > 0 {
                self.send_along(raw, cx);
                return Poll::Ready(Ok(count));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads from the socket, once.
    fn poll_raw(&mut self, raw: &mut impl Raw, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.broken {
            return Poll::Ready(Err(kind.into()));
        }
        let read = raw.poll_read(cx, buffer);
        match &read {
            Poll::Ready(Ok(count)) => self.cut |= *count == 0,
            Poll::Ready(Err(error)) => self.broken = Some(error.kind()),
            Poll::Pending => {}
        }
        read
    }

    /// Reads ciphertext, once; how much plaintext came of it.
    fn poll_fill(&mut self, raw: &mut impl Raw, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut lent = LENT.take();
        lent.resize(INPUT, 0);
        // What is more than fits would have to be kept.
        let most = (buffer.len() + AROUND).clamp(RECORD, INPUT);
        let polled = self.poll_raw(raw, cx, lent.get_mut(..most).unwrap_or_default());
        let polled = polled.map_ok(|count| self.decrypt(lent.get(..count).unwrap_or_default(), buffer));
        LENT.set(lent);
        polled
    }

    /// Gives `octets` to the session, and the plaintext in them to `buffer`, as far as there is room; says how much. The rest is kept.
    fn decrypt(&mut self, mut octets: &[u8], buffer: &mut [u8]) -> usize {
        let (mut filled, mut dropped) = (0, Vec::new());
        if let Some(session) = &mut self.session {
            loop {
                let mut taken = 0;
                if !octets.is_empty() {
                    match session.receive(octets) {
                        Ok(count) => taken = count,
                        Err(error) => {
                            self.failed = Some(error);
                            octets = &[];
                        }
                    }
                    octets = octets.get(taken..).unwrap_or_default();
                    dropped.clear();
                    // Nothing comes behind close_notify, nor behind our end.
                    session.output(if self.closed { &mut dropped } else { &mut self.output });
                }
                let room = buffer.get_mut(filled..).unwrap_or_default();
                let count = if room.is_empty() { 0 } else { session.read(room) };
                filled += count;
                let is_done = octets.is_empty() && !session.has_plaintext();
                if is_done || (taken == 0 && count == 0) {
                    break;
                }
            }
            if session.has_ended() {
                octets = &[];
            } else if !octets.is_empty() && !session.has_plaintext() {
                // It would be asked again and again.
                self.failed.get_or_insert_with(|| TlsError::new("the session takes nothing more"));
                octets = &[];
            }
        }
        self.input.extend_from_slice(octets);
        filled
    }

    /// Seals plaintext and hands it to the operating system, as far as that takes it; the rest goes by [`poll_flush`](Self::poll_flush),
    /// and until then nothing more is taken. Says how much plaintext is sealed. Cancel safe: what is pending has taken nothing.
    ///
    /// # Errors
    /// Of the socket; [`BrokenPipe`](io::ErrorKind::BrokenPipe) after the end of our direction, or of the session.
    #[inline(never)]
    pub fn poll_write(
        &mut self,
        raw: &mut impl Raw,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(raw, cx, Side::Writer))?;
        let is_open = self.opening.is_none() && !self.closed && self.failed.is_none();
        let Some(session) = self.session.as_mut().filter(|_| is_open) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if self.output.capacity() == 0 {
            self.output = SPARE.take();
        }
        let mut some = [IoSlice::new(&[]); PARTS];
        let (mut used, mut left) = (0, PIECE);
        for (place, part) in some.iter_mut().zip(parts.iter().filter(|part| !part.is_empty())) {
            let part = part.get(..left.min(part.len())).unwrap_or_default();
            left -= part.len();
            *place = IoSlice::new(part);
            used += 1;
            if left == 0 {
                break;
            }
        }
        // At once, and not by doubling: what is larger than it has to be is not kept.
        self.output.reserve_exact(PIECE - left + AROUND);
        let count = session.write(some.get(..used).unwrap_or_default(), &mut self.output);
        if let Poll::Ready(Err(error)) = self.poll_send(raw, cx, Side::Writer) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    /// Hands on what waits for the client, once, and says how many octets the operating system took; 0: nothing waits. Cancel safe.
    ///
    /// # Errors
    /// Of the socket.
    #[inline]
    pub fn poll_flush(&mut self, raw: &mut impl Raw, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.is_settled() {
            return Poll::Ready(Ok(0));
        }
        self.poll_send_some(raw, cx, Side::Writer)
    }

    /// Whether something waits for the client.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Says close_notify, unless something was [broken off](Self::break_off), sends all that waits, and ends our half of the stream.
    /// The client's may go on. Cancel safe.
    ///
    /// # Errors
    /// Of the socket.
    #[inline(never)]
    pub fn poll_shutdown(&mut self, raw: &mut impl Raw, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        ready!(self.poll_send(raw, cx, Side::Writer))?;
        raw.poll_shutdown(cx)
    }

    /// The connection is about to be dropped where nothing is under way: says close_notify, as far as that goes without waiting.
    pub fn farewell(&mut self, raw: &mut impl Raw) {
        self.close();
        // It is pending or an error for nobody.
        let _: Poll<_> = self.poll_send(raw, &mut Context::from_waker(Waker::noop()), Side::Writer);
    }

    /// What is sent last is not whole: there will be no close_notify, by which the client can tell.
    pub fn break_off(&mut self) {
        self.broken_off = true;
    }

    fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) || self.broken_off || self.failed.is_some() {
            return;
        }
        if let Some(session) = self.session.as_mut().filter(|session| !session.is_handshaking()) {
            session.close(&mut self.output);
        }
    }

    /// Whether [`poll_read`](Self::poll_read) would give plaintext of what has been read.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty() || self.session.as_ref().is_some_and(|session| session.has_plaintext())
    }

    /// Whether it would give something, be it the end, without the socket.
    pub fn is_readable(&self) -> bool {
        self.has_input()
            || self.failed.is_some()
            || self.cut
            || self.broken.is_some()
            || self.session.as_ref().is_some_and(|session| session.has_ended())
    }

    /// Nothing waits for the client, and the socket has not failed.
    #[inline]
    fn is_settled(&self) -> bool {
        self.output.is_empty() && self.broken.is_none()
    }

    /// Who reads sends what the session has to say; what can't be sent now is no concern of the reading.
    fn send_along(&mut self, raw: &mut impl Raw, cx: &mut Context<'_>) {
        if !self.output.is_empty() {
            let _: Poll<_> = self.poll_send(raw, cx, Side::Reader);
        }
    }

    fn poll_send(&mut self, raw: &mut impl Raw, cx: &mut Context<'_>, side: Side) -> Poll<io::Result<()>> {
        while !self.is_settled() {
            ready!(self.poll_send_some(raw, cx, side))?;
        }
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn poll_send_some(&mut self, raw: &mut impl Raw, cx: &mut Context<'_>, side: Side) -> Poll<io::Result<usize>> {
        let Pump { output, sent, broken, reader, writer, .. } = self;
        if let Some(kind) = *broken {
            return Poll::Ready(Err(kind.into()));
        }
        if output.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let (mine, other) = match side {
            Side::Reader => (reader, writer),
            Side::Writer => (writer, reader),
        };
        let rest = output.get(*sent..).unwrap_or_default();
        let polled = match other.as_ref().filter(|other| !other.will_wake(cx.waker())) {
            None => raw.poll_write(cx, rest),
            Some(other) => {
                let both = Waker::from(Arc::new(Both(cx.waker().clone(), other.clone())));
                raw.poll_write(&mut Context::from_waker(&both), rest)
            }
        };
        match polled {
            Poll::Ready(Ok(0)) => {
                *broken = Some(io::ErrorKind::WriteZero);
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            Poll::Ready(Ok(count)) => *sent += count,
            Poll::Ready(Err(error)) => {
                *broken = Some(error.kind());
                return Poll::Ready(Err(error));
            }
            Poll::Pending => {
                if mine.as_ref().is_none_or(|mine| !mine.will_wake(cx.waker())) {
                    *mine = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
        }
        if *sent >= output.len() {
            let mut empty = std::mem::take(output);
            empty.clear();
            *sent = 0;
            (*mine, *other) = (None, None);
            let spare = SPARE.take();
            let is_better = (spare.capacity()..=SPARE_MOST).contains(&empty.capacity());
            SPARE.set(if is_better { empty } else { spare });
        }
        polled
    }
}

impl fmt::Debug for Pump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pump").field("closed", &self.closed).field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// Wakes two.
struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}
