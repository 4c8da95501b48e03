//! The frames of RFC 6455 over one stream, by async-tungstenite: messages out of it, messages into it.
//!
//! No clock, no policy; under the lock of [`Shared`](super::link::Shared). The library reads, unmasks, assembles and
//! checks, answers pings and closes, and returns what breaks a rule; here that gets its close code. Messages of one frame go past it
//! ([`whole`]), where it holds nothing of others. It neither bounds
//! nor counts what waits to be sent, so both is done around it: [`Link`](super::link::Link) asks [`Wire::backlog`] before
//! it queues, and [`Meter`] counts under the library. Nor does it know of compression, which is around it, too (`deflate`).
//!
//! \[UPG-09\] to \[UPG-13\], \[UPG-24\]

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
pub(super) use async_tungstenite::tungstenite::protocol::Role;
use async_tungstenite::tungstenite::protocol::frame::FrameHeader;
use async_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use async_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use async_tungstenite::tungstenite::{Error as Failure, Message as Framed};
use bytes::Bytes;
use futures_core::Stream as _;
use futures_io::AsyncWrite as _;
use futures_lite::future::block_on;
use futures_sink::Sink as _;

use super::deflate::{Agreed, Codec, Marks};
use super::message::{Message, code};
use super::meter::Meter;
use super::options::Options;
use super::whole::{self, Whole};
use crate::upgrade::Upgraded;

/// A control frame's payload is at most this long. RFC 6455 §5.5
const CONTROL_LIMIT: usize = 125;
/// Octets the library takes at once, and what an idle connection holds for it: it allocates them beforehand.
const READ_BUFFER: usize = 512;
/// Octets inflated in one turn: a megabyte out of a kilobyte must not hold it either.
const INFLATED: usize = 256 * 1024;
/// Payloads above this make buffers that are not kept; see [`Wire::has_spare_buffers`].
const KEPT: usize = 16 * 1024;
/// What the library puts into its answer to a close frame whose code must not be sent, and into what it returns of it.
const REFUSED_CLOSE: (u16, &str) = (code::PROTOCOL_ERROR, "Protocol violation");

/// What the client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Message(Message),
    /// A ping, whose answer is queued, or a pong.
    Control,
    /// Code and reason, if it had any. The answer is queued, unless it is one itself.
    Close(Option<(u16, String)>),
    /// It broke a rule; nothing more can be read.
    Violation {
        code: u16,
        reason: &'static str,
    },
    /// The stream has ended.
    Lost,
    /// A close frame has come, and is to wait.
    CloseAhead,
}

/// A message as it is sent.
pub(super) struct Packed(Framed);

impl Packed {
    /// Compressed, if that was agreed on and does not depend on what is sent before it.
    pub(super) fn new(message: Message, deflate: Option<&Agreed>) -> Self {
        let framed = match message {
            Message::Text(text) => Framed::Text(text.into()),
            Message::Binary(bytes) => Framed::Binary(bytes),
        };
        Packed(match deflate {
            Some(agreed) => agreed.pack(framed),
            None => framed,
        })
    }

    /// Octets of its payload.
    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Framed::Frame(frame) => frame.payload().len(),
            framed => framed.len(),
        }
    }
}

/// A stream of frames.
pub(super) struct Wire {
    socket: WebSocketStream<Meter>,
    /// Octets of the mask in each frame that is sent, and in each that is received.
    masks: (usize, usize),
    /// Octets that what came out of the library took at the least.
    delivered: u64,
    /// The largest payload since its buffers were new.
    largest: usize,
    /// Octets queued since the beginning.
    queued: u64,
    /// What the library has queued is not flushed.
    library_unflushed: bool,
    /// A close frame is queued.
    closing: bool,
    /// The client's, which is to wait.
    close_ahead: Option<Framed>,
    /// The library refused to queue something.
    broken: bool,
    /// Octets of a message at most, and of one that is one frame.
    max_message: usize,
    max_whole: usize,
    /// One that has come in part.
    whole: Option<Whole>,
    /// `None` where compression was not agreed on.
    codec: Option<Box<Codec>>,
    /// Octets that may be inflated in this turn.
    inflated_left: usize,
}

impl Wire {
    pub(super) fn new(stream: Upgraded, role: Role, options: &Options) -> Self {
        let marks = options.deflate.as_ref().map(Marks::new);
        let socket = framed(Meter::new(stream, marks), role, config(options));
        // RFC 6455 §5.1
        let masks = if role == Role::Server { (0, 4) } else { (4, 0) };
        Wire {
            socket,
            masks,
            delivered: 0,
            largest: 0,
            queued: 0,
            library_unflushed: false,
            closing: false,
            close_ahead: None,
            broken: false,
            max_message: options.max_message,
            max_whole: options.max_message.min(options.max_frame.unwrap_or(usize::MAX)),
            whole: None,
            codec: options.deflate.map(Codec::new).map(Box::new),
            inflated_left: INFLATED,
        }
    }

    /// Whether the library holds nothing of what was read.
    ///
    /// What came out of it took at least a header of the shortest form and its payload, each. If that is all that it
    /// was given, then nothing is left, neither of a frame nor of a message in fragments. (After such a message it is less
    /// for good: every message is the library's then, and the buffers stay.)
    fn has_delivered(&self) -> bool {
        self.delivered == self.socket.get_ref().passed()
    }

    /// Whether the library's buffers have grown and hold nothing. It never lets them shrink.
    pub(super) fn has_spare_buffers(&self) -> bool {
        self.largest > KEPT && self.has_delivered() && !(self.is_unflushed() || self.closing || self.broken)
    }

    /// The same with new buffers, to be polled again. Where [`Self::has_spare_buffers`].
    pub(super) fn with_new_buffers(self) -> Self {
        let config = *self.socket.get_config();
        let role = if self.masks.0 == 0 { Role::Server } else { Role::Client };
        Wire { socket: framed(self.socket.into_inner(), role, config), largest: 0, ..self }
    }

    /// The stream; what was read and not delivered is lost.
    pub(super) fn into_inner(self) -> Upgraded {
        self.socket.into_inner().into_inner()
    }

    /// Octets read since the beginning.
    pub(super) fn received(&self) -> u64 {
        self.socket.get_ref().read()
    }

    /// Octets handed over since the beginning.
    pub(super) fn written(&self) -> u64 {
        self.socket.get_ref().written()
    }

    /// Octets queued since the beginning.
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    /// Octets that wait to be handed over.
    pub(super) fn backlog(&self) -> usize {
        usize::try_from(self.queued.saturating_sub(self.written())).unwrap_or(usize::MAX)
    }

    /// Whether something of what was queued is not flushed.
    pub(super) fn is_unflushed(&self) -> bool {
        self.library_unflushed || self.socket.get_ref().is_unflushed()
    }

    pub(super) fn queue_message(&mut self, packed: Packed) {
        let packed = match &mut self.codec {
            Some(codec) => Packed(codec.pack_next(packed.0)),
            None => packed,
        };
        let length = packed.len();
        // What a client sends is masked, and behind a close frame nothing may follow.
        if self.masks.0 > 0 || self.closing {
            return self.queue(packed.0, length);
        }
        let output = self.socket.get_mut().output();
        match &packed.0 {
            Framed::Text(text) => whole::write(whole::TEXT, text.as_bytes(), output),
            Framed::Binary(octets) => whole::write(whole::BINARY, octets, output),
            framed => {
                let Framed::Frame(frame) = framed else { return self.queue(packed.0, length) };
                let opcode =
                    if frame.header().opcode == OpCode::Data(Data::Text) { whole::TEXT } else { whole::BINARY };
                let rsv1 = if frame.header().rsv1 { whole::RSV1 } else { 0 };
                whole::write(opcode | rsv1, frame.payload(), output);
            }
        }
        self.queued += frame_length(length) as u64;
    }

    /// Not behind the client's close frame, where the library refuses it. RFC 6455 §5.5.2
    pub(super) fn queue_ping(&mut self) {
        if self.close_ahead.is_some() {
            return;
        }
        self.queue(Framed::Ping(Bytes::new()), 0);
    }

    /// A close frame, unless one is queued. The reason is cut at a character. \[UPG-13c\]
    pub(super) fn queue_close(&mut self, close_code: u16, reason: &str) {
        if self.closing {
            return;
        }
        self.closing = true;
        let mut end = reason.len().min(CONTROL_LIMIT - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = reason.get(..end).unwrap_or_default();
        self.queue(Framed::Close(Some(CloseFrame { code: close_code.into(), reason: reason.into() })), 2 + end);
    }

    fn queue(&mut self, framed: Framed, length: usize) {
        self.note(length);
        self.largest = self.largest.max(length);
        // It only fails where flushing does, too, or on what must not be queued here.
        self.broken |= Pin::new(&mut self.socket).start_send(framed).is_err();
    }

    /// A frame with a payload of `length` is queued, by us or by the library.
    fn note(&mut self, length: usize) {
        self.queued += (frame_length(length) + self.masks.0) as u64;
        self.library_unflushed = true;
    }

    /// Hands over what is queued, as far as the peer takes it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        if self.broken {
            return Poll::Ready(Err(()));
        }
        if self.library_unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(drop)?;
            self.library_unflushed = false;
        }
        // After both close frames the library hands over without flushing.
        ready!(Pin::new(self.socket.get_mut()).poll_flush(cx)).map_err(drop)?;
        debug_assert_eq!(self.queued, self.written(), "what the library sends is not what was counted");
        Poll::Ready(Ok(()))
    }

    /// Ends our half of the stream.
    pub(super) fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Pin::new(self.socket.get_mut()).poll_close(cx).map_err(drop)
    }

    /// Reads may be done again until the turn is over.
    pub(super) fn begin_turn(&mut self) {
        self.socket.get_mut().begin_turn();
        self.inflated_left = INFLATED;
    }

    /// What comes next; a client's close frame only where that `may_close`, else it waits. Pending, with a wake-up on its way, also at
    /// the end of the turn. Not after [`Event::Lost`], [`Event::Violation`] or [`Event::Close`].
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>, may_close: bool) -> Poll<Event> {
        if self.close_ahead.is_some() && !may_close {
            return Poll::Ready(Event::CloseAhead);
        }
        if let Some(event) = self.close_ahead.take().and_then(|close| self.event(close)) {
            return Poll::Ready(event);
        }
        if !self.codec.as_ref().is_some_and(|codec| codec.is_inflating()) {
            let event = self.poll_frames(cx, may_close);
            self.socket.get_mut().give_back();
            if let Some(event) = ready!(event) {
                return Poll::Ready(event);
            }
        }
        self.poll_inflated(cx)
    }

    /// What the library reads next; `None` for a message that is to be inflated.
    fn poll_frames(&mut self, cx: &mut Context<'_>, may_close: bool) -> Poll<Option<Event>> {
        // Where it has nothing, and there is nothing for it, it is not asked: that is most of what it would cost.
        while self.has_delivered() {
            if !ready!(self.socket.get_mut().poll_fill(cx)).unwrap_or_default() {
                return Poll::Ready(Some(Event::Lost));
            }
            if !self.begin_whole() {
                break;
            }
            if let Some(message) = self.take_whole() {
                return Poll::Ready(Some(message.map_or(NO_TEXT, Event::Message)));
            }
        }
        // Its answer to a ping leaves before it may have one to a close.
        if !may_close && self.library_unflushed && ready!(self.poll_flush(cx)).is_err() {
            return Poll::Ready(Some(Event::Lost));
        }
        Poll::Ready(match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
            // The library's answer waits with it, and what a server sends goes past the library.
            Some(Ok(close @ Framed::Close(_))) if !may_close && self.masks.0 == 0 => {
                self.close_ahead = Some(close);
                Some(Event::CloseAhead)
            }
            Some(Ok(framed)) => self.event(framed),
            Some(Err(failure)) => Some(diagnose(&failure)),
            None => Some(Event::Lost),
        })
    }

    /// Whether what comes next is a message in one frame.
    fn begin_whole(&mut self) -> bool {
        if self.whole.is_none() && self.masks.1 > 0 {
            let meter = self.socket.get_mut();
            let Some((whole, head)) = Whole::begin(meter.available(), self.max_whole) else { return false };
            meter.consume(head);
            self.delivered += head as u64;
            self.whole = Some(whole);
        }
        self.whole.is_some()
    }

    /// Takes what there is of it. All of it is `Some`; without a message it is a text that is not UTF-8.
    fn take_whole(&mut self) -> Option<Option<Message>> {
        let (meter, whole) = (self.socket.get_mut(), self.whole.as_mut()?);
        let count = whole.take(meter.available());
        meter.consume(count);
        self.delivered += count as u64;
        self.whole.take_if(|whole| whole.is_complete()).map(Whole::into_message)
    }

    /// The message that is being inflated. Pending, with a wake-up on its way, at the end of the turn.
    fn poll_inflated(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let codec = self.codec.as_mut();
        match codec.and_then(|codec| codec.advance(self.max_message, &mut self.inflated_left)) {
            Some(Ok(message)) => Poll::Ready(Event::Message(message)),
            Some(Err((code, reason))) => Poll::Ready(Event::Violation { code, reason }),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Reads to the end of the stream, and heeds nothing. RFC 6455 §1.4
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.get_mut().poll_end(cx)
    }

    /// What the library gave; `None` for a message that is to be inflated.
    fn event(&mut self, framed: Framed) -> Option<Event> {
        self.delivered += (frame_length(framed.len()) + self.masks.1) as u64;
        self.largest = self.largest.max(framed.len());
        if let (Framed::Text(_) | Framed::Binary(_), Some(codec)) = (&framed, &mut self.codec) {
            let compressed = self.socket.get_mut().take_compressed();
            if let (Framed::Binary(payload), Some(is_text)) = (&framed, compressed) {
                codec.begin(payload.clone(), is_text);
                return None;
            }
            // What is not compressed has no use for the room that the library leaves for what is.
            if framed.len() > self.max_message {
                return Some(TOO_BIG);
            }
        }
        Some(match framed {
            Framed::Text(text) => Event::Message(Message::Text(text.as_str().to_owned())),
            Framed::Binary(bytes) => Event::Message(Message::Binary(bytes)),
            Framed::Ping(payload) => {
                // [UPG-10a] answered by the library; not after a close frame, RFC 6455 §5.5.2
                if !self.closing {
                    self.note(payload.len());
                }
                Event::Control
            }
            Framed::Close(close) => {
                let close = close.map(|close| (u16::from(close.code), close.reason.as_str().to_owned()));
                if self.closing {
                    return Some(Event::Close(close));
                }
                // [UPG-12] answered by the library, in its words. RFC 6455 §5.5.1
                self.closing = true;
                self.note(close.as_ref().map_or(0, |(_, reason)| 2 + reason.len()));
                match close {
                    Some((code, reason)) if (code, reason.as_str()) == REFUSED_CLOSE => {
                        Event::Violation { code, reason: "a close code that must not be sent" }
                    }
                    close => Event::Close(close),
                }
            }
            // [UPG-10b] whatever it answers: the peer is there. Single frames are never returned.
            Framed::Pong(_) | Framed::Frame(_) => Event::Control,
        })
    }
}

const NO_TEXT: Event = Event::Violation { code: code::INVALID_DATA, reason: "the text is not UTF-8" };
const TOO_BIG: Event = Event::Violation { code: code::TOO_BIG, reason: "the message is too big" };

fn config(options: &Options) -> WebSocketConfig {
    // What does not become smaller by compression becomes larger by the heads of its blocks.
    let spare = options.deflate.map_or(0, |_| options.max_message / 16 + 64);
    let max_message = options.max_message.saturating_add(spare);
    let max_frame = options.max_frame.unwrap_or(max_message);
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(max_message))
        // The library has one limit for all frames, and control frames may be that long.
        .max_frame_size(Some(max_frame.max(CONTROL_LIMIT)))
        // All is written in `poll_flush`; and a message of any size passes an empty queue, so the bound is the link's,
        // which asks before it queues. [UPG-20]
        .max_write_buffer_size(usize::MAX)
        .write_buffer_size(usize::MAX - 1)
}

fn framed(meter: Meter, role: Role, config: WebSocketConfig) -> WebSocketStream<Meter> {
    // Ready at once: there is no handshake to wait for.
    block_on(WebSocketStream::from_raw_socket(meter, role, Some(config)))
}

/// Bytes of the frame that carries a payload of this length, without a mask.
pub(super) fn frame_length(payload: usize) -> usize {
    FrameHeader::default().len(payload as u64).saturating_add(payload)
}

/// What the failure of a read means: a violation with its close code, or the end. \[UPG-11\], \[UPG-12c\]
fn diagnose(failure: &Failure) -> Event {
    let protocol = |reason| Event::Violation { code: code::PROTOCOL_ERROR, reason };
    match failure {
        Failure::Protocol(broken) => match broken {
            ProtocolError::ResetWithoutClosingHandshake => Event::Lost,
            ProtocolError::NonZeroReservedBits => protocol("a reserved bit is set"),
            ProtocolError::InvalidOpcode(_) => protocol("a reserved opcode"),
            ProtocolError::UnmaskedFrameFromClient => protocol("a frame that is not masked"),
            ProtocolError::FragmentedControlFrame => protocol("a fragmented control frame"),
            ProtocolError::ControlFrameTooBig => protocol("a control frame that is too long"),
            ProtocolError::UnexpectedContinueFrame => protocol("a continuation without a beginning"),
            ProtocolError::ExpectedFragment(_) => protocol("a message within a message"),
            ProtocolError::InvalidCloseSequence => protocol("half a close code"),
            _ => protocol("a broken frame"),
        },
        // RFC 6455 §5.2
        Failure::Capacity(CapacityError::MessageTooLong { size, .. }) if *size as u64 >> 63 != 0 => {
            protocol("a frame length with the highest bit set")
        }
        Failure::Capacity(_) => TOO_BIG,
        Failure::Utf8(_) => NO_TEXT,
        _ => Event::Lost,
    }
}
