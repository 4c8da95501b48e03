//! What one WebSocket needs to compress and inflate: what was agreed on, and the windows that go on from message to message.
//!
//! \[UPG-24\]

use async_tungstenite::tungstenite::Message as Framed;
use async_tungstenite::tungstenite::protocol::frame::Frame;
use async_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use bytes::Bytes;
use zlib_rs::Inflate;

use super::super::message::{Message, code};
use super::compress::compress;
use super::inflate::{Failure, Inflating};
use super::offer::Agreed;
use super::pool::{self, Compressor};

impl Agreed {
    /// `framed` as it is sent, where that does not depend on what was sent before it; then no lock has to be held.
    pub(in super::super) fn pack(&self, framed: Framed) -> Framed {
        if self.keeps_sent { framed } else { self.compressed(framed, |payload| self.compress_alone(payload)) }
    }

    /// With a borrowed compressor. `None` where it is not smaller for it.
    fn compress_alone(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut compressor = Compressor::borrow(self.level, self.window_bits);
        let compressed = compress(&mut compressor, payload)?;
        compressor.give_back();
        (compressed.len() < payload.len()).then_some(compressed)
    }

    /// `framed` with its payload `by` that, if it is large enough and that gives something. RFC 7692 §7.2.1
    fn compressed(&self, framed: Framed, by: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Framed {
        let (payload, kind) = match &framed {
            Framed::Text(text) => (text.as_bytes(), Data::Text),
            Framed::Binary(octets) => (&octets[..], Data::Binary),
            _ => return framed,
        };
        if payload.len() < self.threshold {
            return framed;
        }
        let Some(compressed) = by(payload) else { return framed };
        let mut frame = Frame::message(compressed, OpCode::Data(kind), true);
        // RFC 7692 §6
        frame.header_mut().rsv1 = true;
        Framed::Frame(frame)
    }
}

/// The windows of one WebSocket, and the message that is being inflated.
pub(in super::super) struct Codec {
    agreed: Agreed,
    /// Where the window goes on, from the first message on.
    compressor: Option<Compressor>,
    inflater: Option<Inflate>,
    under_way: Option<(Inflating, bool)>,
}

impl Codec {
    pub(in super::super) fn new(agreed: Agreed) -> Self {
        Codec { agreed, compressor: None, inflater: None, under_way: None }
    }

    /// `framed` as it is sent next.
    pub(in super::super) fn pack_next(&mut self, framed: Framed) -> Framed {
        if !self.agreed.keeps_sent {
            return framed;
        }
        let Agreed { level, window_bits, .. } = self.agreed;
        let compressor = &mut self.compressor;
        self.agreed.compressed(framed, |payload| {
            let mut with = compressor.take().unwrap_or_else(|| Compressor::new(level, window_bits));
            let compressed = compress(&mut with, payload)?;
            // The client's window has this message now, so it is sent, though it be larger.
            *compressor = Some(with);
            Some(compressed)
        })
    }

    /// Whether a message is being inflated.
    pub(in super::super) fn is_inflating(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins with a message that has come.
    pub(in super::super) fn begin(&mut self, payload: Bytes, is_text: bool) {
        let inflater = self.inflater.take().unwrap_or_else(pool::borrow_inflater);
        self.under_way = Some((Inflating::new(inflater, payload), is_text));
    }

    /// Goes on, as far as `budget` octets allow. `None`: there is more to do. Otherwise the message, or a close code and what is
    /// wrong.
    pub(in super::super) fn advance(
        &mut self,
        limit: usize,
        budget: &mut usize,
    ) -> Option<Result<Message, (u16, &'static str)>> {
        let (inflating, _) = self.under_way.as_mut()?;
        match inflating.step(limit, budget) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(Failure::TooBig) => return Some(Err((code::TOO_BIG, "the message is too big"))),
            Err(Failure::Corrupt) => {
                return Some(Err((code::INVALID_DATA, "the message is not compressed as it says")));
            }
        }
        let (inflating, is_text) = self.under_way.take()?;
        let (payload, inflater) = inflating.finish();
        match self.agreed.keeps_received {
            true => self.inflater = Some(inflater),
            false => pool::give_inflater_back(inflater),
        }
        if !is_text {
            return Some(Ok(Message::Binary(payload.into())));
        }
        // RFC 6455 §8.1
        let text = String::from_utf8(payload).map_err(|_| (code::INVALID_DATA, "the text is not UTF-8"));
        Some(text.map(Message::Text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Deflate;
    use super::super::offer::agree;
    use super::*;

    fn agreed(deflate: &Deflate) -> Agreed {
        agree([&b"permessage-deflate"[..]], deflate).expect("it is a list").expect("an offer").1
    }

    /// Compresses and inflates one message.
    fn there_and_back(agreed: Agreed, codec: &mut Codec) {
        let text = "the same again and again, ".repeat(40);
        let Framed::Frame(frame) = codec.pack_next(agreed.pack(Framed::text(text.clone()))) else {
            panic!("it is compressed")
        };
        codec.begin(frame.into_payload(), true);
        assert_eq!(codec.advance(10_000, &mut 100_000), Some(Ok(Message::Text(text))));
    }

    #[test]
    fn between_messages_nothing_is_held_unless_windows_go_on() {
        let alone = agreed(&Deflate::default());
        let mut codec = Codec::new(alone);
        there_and_back(alone, &mut codec);
        assert!(codec.compressor.is_none() && codec.inflater.is_none() && codec.under_way.is_none());
        let keeping = agreed(&Deflate::default().server_context_takeover(true).client_context_takeover(true));
        let mut codec = Codec::new(keeping);
        assert!(codec.compressor.is_none() && codec.inflater.is_none(), "nothing was said");
        there_and_back(keeping, &mut codec);
        there_and_back(keeping, &mut codec);
        assert!(codec.compressor.is_some() && codec.inflater.is_some() && codec.under_way.is_none());
    }
}
