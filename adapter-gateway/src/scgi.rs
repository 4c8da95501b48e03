//! SCGI: one request a connection, variables in a netstring, the body behind it. <https://python.ca/scgi/protocol.txt>

use crate::counted::Counted;
use crate::framing::{Event, Form, Framing, Malformed};
use crate::variables::Variables;

/// Digits of the longest length that is read.
const DIGITS: usize = 10;

/// Reads one request.
#[derive(Debug)]
pub(crate) struct Scgi {
    limit: usize,
    head: Vec<u8>,
    /// `None` before the head is whole.
    body: Option<Counted>,
}

impl Scgi {
    /// The netstring at the beginning of what came: where it begins and ends, `None` if it is not whole.
    fn netstring(&self) -> Result<Option<(usize, usize)>, Malformed> {
        let Some(colon) = self.head.iter().position(|octet| *octet == b':') else {
            let is_number = self.head.len() <= DIGITS && self.head.iter().all(u8::is_ascii_digit);
            return if is_number { Ok(None) } else { Err(Malformed::Protocol("no netstring")) };
        };
        let digits = self.head.get(..colon).unwrap_or_default();
        if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed::Protocol("no length of a netstring"));
        }
        let length = digits.iter().fold(0_usize, |sum, digit| sum.saturating_mul(10) + usize::from(digit - b'0'));
        if length > self.limit {
            return Err(Malformed::TooLarge);
        }
        let end = colon + 1 + length;
        match self.head.get(end) {
            None => Ok(None),
            Some(b',') => Ok(Some((colon + 1, end))),
            Some(_) => Err(Malformed::Protocol("no comma behind the netstring")),
        }
    }
}

impl Framing for Scgi {
    fn new(limit: usize) -> Self {
        Scgi { limit, head: Vec::new(), body: None }
    }

    fn receive(&mut self, octets: &[u8], event: &mut dyn FnMut(Event)) -> Result<(), Malformed> {
        if let Some(body) = &mut self.body {
            body.receive(octets, event);
            return Ok(());
        }
        self.head.extend_from_slice(octets);
        let Some((start, end)) = self.netstring()? else { return Ok(()) };
        let head = std::mem::take(&mut self.head);
        let variables = Variables::from_nul_separated(head.get(start..end).unwrap_or_default());
        let variables = variables.ok_or(Malformed::Protocol("variables without a value"))?;
        // "The first header must have the name CONTENT_LENGTH"; it is looked for anywhere.
        let length = variables.content_length().ok_or(Malformed::Protocol("no CONTENT_LENGTH"))?;
        event(Event::Request { variables, keep: false });
        self.body.insert(Counted::begin(length, event)).receive(head.get(end + 1..).unwrap_or_default(), event);
        Ok(())
    }

    fn form(&self) -> Form {
        Form::Cgi
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Result<Vec<Event>, Malformed> {
        let mut scgi = Scgi::new(1000);
        let mut events = Vec::new();
        for piece in pieces {
            scgi.receive(piece, &mut |event| events.push(event))?;
        }
        Ok(events)
    }

    const REQUEST: &[u8] =
        b"70:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0REQUEST_URI\0/deepthought\0,What is the answer to life?";

    #[test]
    fn the_example_of_the_protocol_is_read_in_any_pieces() {
        let whole = events(&[REQUEST]).unwrap();
        assert!(matches!(&whole[..], [Event::Request { keep: false, .. }, Event::Data(data), Event::End]
            if data == "What is the answer to life?"));
        for cut in 0..REQUEST.len() {
            let (first, second) = REQUEST.split_at(cut);
            let pieces = events(&[first, second]).unwrap();
            assert_eq!(pieces.first(), whole.first());
            assert_eq!(pieces.last(), whole.last());
        }
    }

    #[test]
    fn what_is_no_request_is_told() {
        for wrong in [&b"x"[..], b":", b"12345678901", b"1:a", b"3:a\0b;"] {
            let outcome = events(&[wrong, b"                 "]);
            assert!(matches!(outcome, Err(Malformed::Protocol(_))), "{wrong:?}: {outcome:?}");
        }
        assert_eq!(events(&[b"1001:"]), Err(Malformed::TooLarge));
        assert_eq!(events(&[b"1000:"]), Ok(Vec::new()), "it is as long as may be, and not whole");
        assert_eq!(events(&[b"9999999999:"]), Err(Malformed::TooLarge));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(pieces: Vec<Vec<u8>>) {
            let _ = events(&pieces.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
}
