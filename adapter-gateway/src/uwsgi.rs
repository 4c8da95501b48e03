//! uwsgi: one request a connection, a packet of variables, the body behind it, and an answer in HTTP. The protocol of that name, as nginx and
//! Apache httpd speak it. <https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html>

use crate::counted::Counted;
use crate::framing::{Event, Form, Framing, Malformed};
use crate::variables::Variables;

/// Octets in front of the variables: the first modifier, their length, the second modifier.
const HEADER: usize = 4;
/// The first modifier of a request with variables in the manner of CGI.
const REQUEST: u8 = 0;

/// Reads one request.
#[derive(Debug)]
pub(crate) struct Uwsgi {
    limit: usize,
    head: Vec<u8>,
    /// `None` before the variables are whole.
    body: Option<Counted>,
}

/// Takes a string with its length in front off `octets`.
fn string<'o>(octets: &mut &'o [u8]) -> Option<&'o [u8]> {
    let (length, rest) = octets.split_first_chunk::<2>()?;
    let (string, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *octets = rest;
    Some(string)
}

/// Names and values, `None` if they are cut short.
fn pairs(mut octets: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut pairs = Vec::new();
    while !octets.is_empty() {
        pairs.push((string(&mut octets)?.to_vec(), string(&mut octets)?.to_vec()));
    }
    Some(pairs)
}

impl Framing for Uwsgi {
    fn new(limit: usize) -> Self {
        Uwsgi { limit, head: Vec::new(), body: None }
    }

    fn receive(&mut self, octets: &[u8], event: &mut dyn FnMut(Event)) -> Result<(), Malformed> {
        if let Some(body) = &mut self.body {
            body.receive(octets, event);
            return Ok(());
        }
        self.head.extend_from_slice(octets);
        if self.head.first().is_some_and(|modifier| *modifier != REQUEST) {
            return Err(Malformed::Protocol("no request by its modifier"));
        }
        let Some((&[_, low, high, _], rest)) = self.head.split_first_chunk::<HEADER>() else { return Ok(()) };
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length > self.limit {
            return Err(Malformed::TooLarge);
        }
        let Some((variables, behind)) = rest.split_at_checked(length) else { return Ok(()) };
        let variables = pairs(variables).ok_or(Malformed::Protocol("variables that are cut short"))?;
        let variables = Variables::new(variables);
        let length = variables.content_length().unwrap_or(0);
        let behind = behind.to_vec();
        self.head = Vec::new();
        event(Event::Request { variables, keep: false });
        self.body.insert(Counted::begin(length, event)).receive(&behind, event);
        Ok(())
    }

    fn form(&self) -> Form {
        Form::Http
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(modifier: u8, variables: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        for text in variables.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&(text.len() as u16).to_le_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        let [low, high] = (block.len() as u16).to_le_bytes();
        [&[modifier, low, high, 0][..], &block, body].concat()
    }

    fn events(pieces: &[&[u8]]) -> Result<Vec<Event>, Malformed> {
        let mut uwsgi = Uwsgi::new(1000);
        let mut events = Vec::new();
        for piece in pieces {
            uwsgi.receive(piece, &mut |event| events.push(event))?;
        }
        Ok(events)
    }

    #[test]
    fn a_request_is_read_in_any_pieces() {
        let request =
            packet(0, &[("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "5"), ("EMPTY", "")], b"hello, and more");
        let whole = events(&[&request]).unwrap();
        assert!(matches!(&whole[..], [Event::Request { keep: false, variables }, Event::Data(data), Event::End]
            if data == "hello" && variables.get("EMPTY") == Some(b"")));
        for cut in 0..request.len() {
            let (first, second) = request.split_at(cut);
            let pieces = events(&[first, second]).unwrap();
            assert_eq!((pieces.first(), pieces.last()), (whole.first(), whole.last()));
        }
        let bodiless = events(&[&packet(0, &[("CONTENT_LENGTH", "")], b"")]).unwrap();
        assert!(matches!(bodiless[..], [Event::Request { .. }, Event::End]));
    }

    #[test]
    fn what_is_no_request_is_told() {
        assert!(matches!(events(&[b"GET / HTTP/1.1\r\n"]), Err(Malformed::Protocol(_))));
        assert!(matches!(events(&[&[0, 3, 0, 0, 9, 0, b'x']]), Err(Malformed::Protocol(_))));
        assert_eq!(events(&[&[0, 0xe9, 3, 0]]), Err(Malformed::TooLarge));
    }

    #[test]
    fn variables_may_be_as_long_as_the_limit() {
        let name = "x".repeat(1000 - 4);
        assert!(events(&[&packet(0, &[(&name, "")], b"")]).is_ok());
        assert_eq!(events(&[&packet(0, &[(&name, "y")], b"")]), Err(Malformed::TooLarge));
    }

    /// Bodies are as long as they say, and responses end with the connection.
    #[test]
    fn its_ends_are_those_of_connections() {
        let uwsgi = Uwsgi::new(1000);
        assert!(uwsgi.ends_by_close() && !uwsgi.has_open_bodies() && uwsgi.form() == Form::Http);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(pieces: Vec<Vec<u8>>, is_request: bool) {
            let first: &[u8] = if is_request { &[0] } else { &[] };
            let pieces: Vec<&[u8]> = std::iter::once(first).chain(pieces.iter().map(Vec::as_slice)).collect();
            let _ = events(&pieces);
        }

        #[test]
        fn pairs_come_back(variables: Vec<(String, String)>) {
            let borrowed: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let read = pairs(packet(0, &borrowed, b"").split_at(HEADER).1).unwrap();
            let expected: Vec<_> = variables.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
            proptest::prop_assert_eq!(read, expected);
        }
    }
}
