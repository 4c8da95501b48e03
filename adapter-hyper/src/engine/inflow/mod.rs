//! What hyper gets to see of the client's octets in HTTP/1: heads as they came, bodies one at a time, chunked ones framed
//! anew.
//!
//! hyper 1.12 puts no bound on the digits and blanks of a chunk-size line, charges the extensions of a whole upload against
//! one, and does not give way while it reads them; and it reads on past a head, so that nobody knows afterwards where the
//! body stands. So the socket's octets pass through here. Heads are only looked at, line by line, for where they end and
//! whether they announce a body; hyper alone parses them. Behind a head that announces one nothing is given out until the
//! engine has said how the body is framed ([`Inflow::begin_body`]). Chunked bodies are decoded by the decoder of the thread
//! pool, so that every server draws the same lines, and given to hyper in chunks of the shortest form.
//!
//! In HTTP/2, [`arriving`] has its own.
//!
//! No I/O, no lock: a value that belongs to the connection's [`Socket`](super::io). \[LIM-08\], \[REQ-05\], \[REQ-27\],
//! \[REQ-28\]

mod arriving;

use adapter_core::RequestBodyError;
use adapter_core::rules::request::BodyLength;
use adapter_http1::body_decoder::{Decoder, Event};
use adapter_http1::encoder;
use bytes::{Buf, BytesMut};

use self::arriving::Arriving;
pub(super) use self::arriving::Heads;

/// Where the stream stands.
#[derive(Debug, Default)]
pub(super) struct Inflow {
    state: State,
    /// Read from the socket, not looked at yet.
    raw: BytesMut,
    /// Of the head that comes next, or is under way.
    scan: Scan,
}

#[derive(Debug, Default)]
enum State {
    /// In front of or within a head.
    #[default]
    Head,
    /// Behind a head that announces a body.
    Held,
    /// This many octets of a body are to come.
    Sized(u64),
    Chunked(Box<Decoder>),
    /// The body makes no sense from here on.
    Failed(RequestBodyError),
    Http2(Box<Arriving>),
}

/// What comes next, for whoever brings octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Octets for [`Inflow::pass`].
    Filtered,
    /// At least that many octets are hyper's as they are: they may be read straight to it, and are to be told to
    /// [`Inflow::passed`].
    Plain(u64),
    /// Nothing for now.
    Nothing,
    /// Nothing any more: the body is malformed, see [`Inflow::error`].
    Failed,
}

impl Inflow {
    /// HTTP/2 begins, with its preface; `head_bytes` is what is allowed of a head.
    pub(super) fn begin_http2(&mut self, head_bytes: usize) {
        self.state = State::Http2(Box::new(Arriving::new(head_bytes)));
    }

    /// What is wanted of the socket, or of [`raw`](Self::raw).
    #[inline]
    pub(super) fn want(&self) -> Want {
        match &self.state {
            State::Head | State::Chunked(_) => Want::Filtered,
            State::Sized(left) => Want::Plain(*left),
            State::Http2(arriving) if arriving.is_over() => Want::Nothing,
            State::Http2(_) => Want::Filtered,
            State::Held => Want::Nothing,
            State::Failed(_) => Want::Failed,
        }
    }

    /// Heads of HTTP/2 that came since the last call.
    pub(super) fn take_heads(&mut self) -> Heads {
        match &mut self.state {
            State::Http2(arriving) => arriving.take_heads(),
            _ => Heads::default(),
        }
    }

    /// Whether HTTP/2 ends within the head of a request.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(&self.state, State::Http2(arriving) if arriving.is_in_head())
    }

    /// What is wrong with the body.
    pub(super) fn error(&self) -> Option<&RequestBodyError> {
        match &self.state {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Which head is the first whose target has a fragment, which hyper takes off before anybody can see it. Heads count from one; those
    /// of HTTP/2 have streams. \[TGT-17b\] RFC 9112 §3.2, RFC 9113 §8.3.1
    pub(super) fn fragment(&self) -> Option<u64> {
        match &self.state {
            State::Http2(arriving) => arriving.first_fragment().map(u64::from),
            _ => self.scan.fragment,
        }
    }

    /// Whether the head of `stream`, which h2 has given out, has a fragment in its target. Asked once, of all in their order.
    pub(super) fn take_fragment(&mut self, stream: u32) -> bool {
        match &mut self.state {
            State::Http2(arriving) => arriving.take_fragment(stream),
            _ => false,
        }
    }

    /// Lines of Content-Length that the last head has which announces a body, for which hyper has one reason.
    pub(super) fn lengths(&self) -> u8 {
        self.scan.lengths
    }

    /// Octets that were read and not looked at.
    pub(super) fn raw(&mut self) -> &mut BytesMut {
        &mut self.raw
    }

    /// The head that hyper has parsed announces a body, of `length`. Not for one that announces none: it may stand in front of
    /// one that does, which is held here already. Where hyper sees another head than was looked at here,
    /// nothing more is let through.
    pub(super) fn begin_body(&mut self, length: BodyLength) {
        self.state = match (&self.state, length) {
            (State::Held, BodyLength::Sized(0)) => State::Head,
            (State::Held, BodyLength::Sized(length)) => State::Sized(length),
            (State::Held, BodyLength::Unknown) => State::Chunked(Box::new(Decoder::new(BodyLength::Unknown, None))),
            (_, BodyLength::Sized(0)) => return,
            _ => State::Failed(RequestBodyError::Malformed("the end of the head is in doubt".into())),
        };
    }

    /// Octets of a body that are to come, as far as that is known; `Some(0)` if there is none or all of it was given out.
    pub(super) fn body_left(&self) -> Option<u64> {
        match &self.state {
            State::Head | State::Http2(_) => Some(0),
            State::Sized(left) => Some(*left),
            State::Held | State::Chunked(_) | State::Failed(_) => None,
        }
    }

    /// Whether the octets of a body come next.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.state, State::Held | State::Sized(_) | State::Chunked(_) | State::Failed(_))
    }

    /// Whether the next octet is the first of a head.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.state, State::Head) && !self.scan.has_begun()
    }

    /// Whether the next octet belongs to a head of which something has come.
    pub(super) fn is_amid_head(&self) -> bool {
        matches!(self.state, State::Head) && self.scan.has_begun()
    }

    /// Whether part of a head has come that is not complete, or something that was not looked at.
    pub(super) fn has_begun_head(&self) -> bool {
        !self.raw.is_empty() || self.is_amid_head()
    }

    /// That many octets went straight to hyper.
    pub(super) fn passed(&mut self, count: usize) {
        if let State::Sized(left) = &mut self.state {
            *left = left.saturating_sub(count as u64);
            if *left == 0 {
                self.state = State::Head;
            }
        }
    }

    /// Gives hyper what it may have of `input`, through `out`; says how much of `input` that was. What is left over is for
    /// later calls, and has to come before anything else.
    pub(super) fn pass(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) -> usize {
        match &mut self.state {
            State::Head => {
                let (count, announced) = self.scan.advance(input);
                out(&input[..count]);
                if announced {
                    self.state = State::Held;
                }
                count
            }
            State::Sized(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                out(&input[..count]);
                self.passed(count);
                count
            }
            State::Chunked(decoder) => match rechunk(decoder, input, out) {
                Ok((count, ended)) => {
                    if ended {
                        self.state = State::Head;
                    }
                    count
                }
                Err(error) => {
                    self.state = State::Failed(error);
                    input.len()
                }
            },
            State::Http2(arriving) => {
                arriving.pass(input, out);
                input.len()
            }
            State::Held | State::Failed(_) => 0,
        }
    }

    /// As [`pass`](Self::pass), for what is [`raw`](Self::raw).
    pub(super) fn pass_raw(&mut self, out: &mut impl FnMut(&[u8])) {
        let mut raw = std::mem::take(&mut self.raw);
        let count = self.pass(&raw, out);
        raw.advance(count);
        // An empty one holds no memory.
        if !raw.is_empty() {
            self.raw = raw;
        }
    }
}

/// All of `input` that belongs to the body of `decoder`, as one chunk, and its end. Gives how much of `input` that was, and
/// whether the body has ended.
fn rechunk(
    decoder: &mut Decoder,
    input: &[u8],
    out: &mut impl FnMut(&[u8]),
) -> Result<(usize, bool), RequestBodyError> {
    let mut at = 0;
    // What one chunk of the client's is, or several together.
    let mut single: Option<&[u8]> = None;
    let mut several = Vec::new();
    let ended = loop {
        let rest = input.get(at..).unwrap_or_default();
        match decoder.decode(rest) {
            Ok(Event::Data { start, consumed }) => {
                let data = rest.get(start..consumed).unwrap_or_default();
                match single.take() {
                    None if several.is_empty() => single = Some(data),
                    before => {
                        several.extend_from_slice(before.unwrap_or_default());
                        several.extend_from_slice(data);
                    }
                }
                at += consumed;
            }
            Ok(Event::More { consumed }) => {
                at += consumed;
                break Ok(None);
            }
            Ok(Event::End { trailers, consumed }) => {
                at += consumed;
                break Ok(Some(trailers));
            }
            Err(error) => break Err(error),
        }
    };
    let data = single.unwrap_or(&several);
    if !data.is_empty() {
        let mut line = Vec::with_capacity(20);
        encoder::chunk_size(&mut line, data.len());
        out(&line);
        out(data);
        out(encoder::CHUNK_END);
    }
    match ended? {
        None => Ok((at, false)),
        Some(trailers) => {
            let mut last = Vec::new();
            encoder::last_chunk(&mut last, trailers.as_ref());
            out(&last);
            Ok((at, true))
        }
    }
}

/// Looks for the end of a head. RFC 9112 §2.1, §2.2
#[derive(Debug, Default)]
struct Scan {
    /// A line that is not empty was seen: the request line.
    begun: bool,
    /// A field line announces a body.
    announced: bool,
    /// How many are of Content-Length, in the head under way or that was the last.
    lengths: u8,
    /// The first octets of the line under way, where it came in pieces.
    line: [u8; Scan::LONGEST],
    /// How many octets of it there were, up to one more than are kept.
    seen: usize,
    /// The method has ended: what comes up to the end of the line is the target.
    in_target: bool,
    /// Heads that have ended.
    heads: u64,
    /// The first whose target has a `#`.
    fragment: Option<u64>,
}

impl Scan {
    /// Of the names that matter the longest one, and its colon.
    const LONGEST: usize = 18;

    /// Up to where `input` belongs to heads without a body or to one that announces one; in the second case it is the last,
    /// and complete.
    #[inline]
    fn advance(&mut self, input: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(first) = input.get(at) {
            let rest = input.get(at..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', rest) else {
                self.keep(rest);
                break;
            };
            at += end + 1;
            let line = rest.get(..end).unwrap_or_default();
            // Most lines are fields that say nothing of a body, or the request line.
            if self.seen == 0 && !matches!(first, b'\r' | b'\n' | b'c' | b'C' | b't' | b'T') {
                if !self.begun {
                    self.begins();
                    if has_number_sign(line) {
                        self.look_behind_method(line);
                    }
                }
            } else if self.line_ends(line) {
                return (at, true);
            }
        }
        (input.len(), false)
    }

    /// The line under way ends with `piece`. `true`: and with it a head that announces a body.
    fn line_ends(&mut self, piece: &[u8]) -> bool {
        let kept;
        let line = if self.seen == 0 {
            piece
        } else {
            kept = self.rejoin(piece);
            &kept
        };
        match line {
            // Empty lines in front of a request line are ignored (RFC 9112 §2.2).
            [] | [b'\r'] | [b'\r', 0, ..] => {
                let ended = self.begun && self.announced;
                self.heads += u64::from(self.begun);
                (self.begun, self.announced, self.in_target) = (false, false, false);
                ended
            }
            _ if self.begun => {
                let is_length = is(b"content-length:", line);
                self.lengths = self.lengths.saturating_add(u8::from(is_length));
                self.announced |= is_length || is(b"transfer-encoding:", line);
                false
            }
            _ => {
                self.look_behind_method(piece);
                self.begins();
                false
            }
        }
    }

    /// That was the request line.
    fn begins(&mut self) {
        (self.begun, self.lengths) = (true, 0);
    }

    /// Whether something of one has come.
    fn has_begun(&self) -> bool {
        self.begun || self.seen > 0
    }

    /// Looks for a `#` in a piece of a request line, whose method may have one, too.
    #[cold]
    fn look_behind_method(&mut self, piece: &[u8]) {
        let target = match memchr::memchr(b' ', piece) {
            _ if self.in_target => piece,
            Some(at) => piece.get(at..).unwrap_or_default(),
            None => return,
        };
        self.in_target = true;
        if memchr::memchr(b'#', target).is_some() {
            self.fragment.get_or_insert(self.heads + 1);
        }
    }

    /// As much as matters of the line that `piece` ends, with 0 for what there is not: no line that hyper takes has such an
    /// octet.
    #[cold]
    fn rejoin(&mut self, piece: &[u8]) -> [u8; Scan::LONGEST] {
        self.keep(piece);
        let mut line = self.line;
        for octet in line.iter_mut().skip(self.seen) {
            *octet = 0;
        }
        self.seen = 0;
        line
    }

    /// Remembers the beginning of a line that is not complete.
    #[cold]
    fn keep(&mut self, piece: &[u8]) {
        if !self.begun {
            self.look_behind_method(piece);
        }
        let room = self.line.get_mut(self.seen.min(Self::LONGEST)..).unwrap_or_default();
        let count = room.len().min(piece.len());
        if let (Some(to), Some(from)) = (room.get_mut(..count), piece.get(..count)) {
            to.copy_from_slice(from);
        }
        self.seen = (self.seen + piece.len()).min(Self::LONGEST + 1);
    }
}

/// Whether there is a `#`. Most request lines are short and have none, for which `memchr` is slow: eight octets at a time.
#[inline]
fn has_number_sign(line: &[u8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    // An octet less one borrows where it is zero, and only there of those below 128.
    let is_in = |eight: &[u8; 8]| {
        let differs = u64::from_ne_bytes(*eight) ^ (EACH * b'#' as u64);
        differs.wrapping_sub(EACH) & !differs & (EACH << 7) != 0
    };
    match line.last_chunk() {
        Some(last) => line.chunks_exact(8).filter_map(<[u8]>::first_chunk).any(is_in) || is_in(last),
        None => line.contains(&b'#'),
    }
}

/// Whether `line` begins with `name`, whose case does not matter.
#[inline]
fn is(name: &[u8], line: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
