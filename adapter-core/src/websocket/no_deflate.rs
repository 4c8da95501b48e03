//! In place of [`deflate`](super) where the feature is off: nothing is ever agreed on.

use async_tungstenite::tungstenite::Message as Framed;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::message::Message;
use crate::causes::HandshakeError;

#[derive(Clone, Copy, Debug)]
pub(super) enum Agreed {}

impl Agreed {
    pub(super) fn pack(&self, _framed: Framed) -> Framed {
        match *self {}
    }
}

#[derive(Debug)]
pub(super) struct Negotiation;

impl Negotiation {
    pub(super) fn new(_headers: &HeaderMap) -> Self {
        Negotiation
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as the feature has it")]
    pub(super) fn agree(&self) -> Result<Option<(HeaderValue, Agreed)>, HandshakeError> {
        Ok(None)
    }
}

pub(super) fn agreed_by_answer(_headers: &HeaderMap) -> Option<Agreed> {
    None
}

#[derive(Debug)]
pub(super) enum Marks {}

impl Marks {
    pub(super) fn new(agreed: &Agreed) -> Self {
        match *agreed {}
    }

    pub(super) fn pass(&mut self, _octets: &mut [u8]) {
        match *self {}
    }

    pub(super) fn take_compressed(&mut self) -> Option<bool> {
        match *self {}
    }
}

pub(super) enum Codec {}

impl Codec {
    pub(super) fn new(agreed: Agreed) -> Self {
        match agreed {}
    }

    pub(super) fn pack_next(&mut self, _framed: Framed) -> Framed {
        match *self {}
    }

    pub(super) fn is_inflating(&self) -> bool {
        match *self {}
    }

    pub(super) fn begin(&mut self, _payload: Bytes, _is_text: bool) {
        match *self {}
    }

    pub(super) fn advance(
        &mut self,
        _limit: usize,
        _budget: &mut usize,
    ) -> Option<Result<Message, (u16, &'static str)>> {
        match *self {}
    }
}
