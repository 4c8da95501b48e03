//! FastCGI: records of several streams on one connection. <https://fastcgi-archives.github.io/FastCGI_Specification.html>
//!
//! One request at a time (`FCGI_MPXS_CONNS` is 0), in the role of a responder.

use bytes::Bytes;

use crate::framing::{Event, Form, Framing, Malformed};
use crate::variables::Variables;

const BEGIN_REQUEST: u8 = 1;
const ABORT_REQUEST: u8 = 2;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const GET_VALUES: u8 = 9;
const GET_VALUES_RESULT: u8 = 10;
const UNKNOWN_TYPE: u8 = 11;

const RESPONDER: u16 = 1;
const KEEP_CONN: u8 = 1;

const REQUEST_COMPLETE: u8 = 0;
const CANT_MPX_CONN: u8 = 1;
const UNKNOWN_ROLE: u8 = 3;

/// Octets of a record in front of its content.
const HEADER: usize = 8;
/// Content of a record.
const MOST: usize = 65_535;

/// Reads records and writes them.
#[derive(Debug)]
pub(crate) struct FastCgi {
    limit: usize,
    /// What came of a record that is not whole.
    input: Vec<u8>,
    /// The request that is being served.
    request: Option<Request>,
}

#[derive(Debug)]
struct Request {
    id: u16,
    keep: bool,
    /// `None` once they are whole.
    params: Option<Vec<u8>>,
    /// All of the body has come.
    is_read: bool,
}

/// Appends a record. Without padding: nginx takes that for the beginning of a body, and holds the head of a response back for the rest.
fn record(kind: u8, id: u16, content: &[u8], out: &mut Vec<u8>) {
    let ([id_high, id_low], [high, low]) = (id.to_be_bytes(), (content.len() as u16).to_be_bytes());
    out.extend_from_slice(&[1, kind, id_high, id_low, high, low, 0, 0]);
    out.extend_from_slice(content);
}

fn end_request(id: u16, status: u8, out: &mut Vec<u8>) {
    record(END_REQUEST, id, &[0, 0, 0, 0, status, 0, 0, 0], out);
}

/// Takes a length of one or four octets off the front of `octets`.
fn length(octets: &mut &[u8]) -> Option<usize> {
    let (first, rest) = octets.split_first()?;
    if *first < 0x80 {
        *octets = rest;
        return Some(usize::from(*first));
    }
    let (four, rest) = octets.split_first_chunk::<4>()?;
    *octets = rest;
    Some((u32::from_be_bytes(*four) & 0x7fff_ffff) as usize)
}

/// Names and values, `None` if they are cut short.
pub(crate) fn pairs(mut octets: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut pairs = Vec::new();
    while !octets.is_empty() {
        let (name, value) = (length(&mut octets)?, length(&mut octets)?);
        let (head, rest) = octets.split_at_checked(name.checked_add(value)?)?;
        let (name, value) = head.split_at_checked(name)?;
        pairs.push((name.to_vec(), value.to_vec()));
        octets = rest;
    }
    Some(pairs)
}

/// The answer to what a web server asks of the application's abilities.
fn values(asked: &[u8], out: &mut Vec<u8>) {
    let mut content = Vec::new();
    for (name, _) in pairs(asked).unwrap_or_default() {
        let value: &[u8] = match &name[..] {
            b"FCGI_MPXS_CONNS" => b"0",
            // As many as there are connections: not known here, and asked by nobody to be exact.
            b"FCGI_MAX_CONNS" | b"FCGI_MAX_REQS" => b"1024",
            _ => continue,
        };
        content.extend_from_slice(&[name.len() as u8, value.len() as u8]);
        content.extend_from_slice(&name);
        content.extend_from_slice(value);
    }
    record(GET_VALUES_RESULT, 0, &content, out);
}

impl FastCgi {
    fn record(&mut self, kind: u8, id: u16, content: &[u8], event: &mut dyn FnMut(Event)) -> Result<(), Malformed> {
        if id == 0 {
            let mut reply = Vec::new();
            match kind {
                GET_VALUES => values(content, &mut reply),
                _ => record(UNKNOWN_TYPE, 0, &[kind, 0, 0, 0, 0, 0, 0, 0], &mut reply),
            }
            event(Event::Reply(reply));
            return Ok(());
        }
        if kind == BEGIN_REQUEST {
            let [high, low, flags, ..] = *content else {
                return Err(Malformed::Protocol("a BEGIN_REQUEST without a role"));
            };
            let mut reply = Vec::new();
            if self.request.is_some() {
                end_request(id, CANT_MPX_CONN, &mut reply);
            } else if u16::from_be_bytes([high, low]) != RESPONDER {
                end_request(id, UNKNOWN_ROLE, &mut reply);
            } else {
                let keep = flags & KEEP_CONN != 0;
                self.request = Some(Request { id, keep, params: Some(Vec::new()), is_read: false });
                return Ok(());
            }
            event(Event::Reply(reply));
            return Ok(());
        }
        // Records of requests that are over may still come.
        let Some(request) = self.request.as_mut().filter(|request| request.id == id) else { return Ok(()) };
        match (kind, &mut request.params) {
            (ABORT_REQUEST, _) => event(Event::Abort),
            (PARAMS, Some(params)) if !content.is_empty() => {
                if params.len() + content.len() > self.limit {
                    return Err(Malformed::TooLarge);
                }
                params.extend_from_slice(content);
            }
            (PARAMS, params @ Some(_)) => {
                let pairs = pairs(&params.take().unwrap_or_default());
                let pairs = pairs.ok_or(Malformed::Protocol("variables that are cut short"))?;
                event(Event::Request { variables: Variables::new(pairs), keep: request.keep });
            }
            (STDIN, None) if !request.is_read => {
                if content.is_empty() {
                    request.is_read = true;
                    event(Event::End);
                } else {
                    event(Event::Data(Bytes::copy_from_slice(content)));
                }
            }
            (STDIN, Some(_)) => return Err(Malformed::Protocol("a body in front of the variables")),
            _ => {}
        }
        Ok(())
    }

    fn id(&self) -> u16 {
        self.request.as_ref().map_or(1, |request| request.id)
    }
}

impl Framing for FastCgi {
    fn new(limit: usize) -> Self {
        FastCgi { limit, input: Vec::new(), request: None }
    }

    fn receive(&mut self, octets: &[u8], event: &mut dyn FnMut(Event)) -> Result<(), Malformed> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(octets);
        let mut rest = &input[..];
        while let Some((&[version, kind, id_high, id_low, high, low, padding, _], behind)) =
            rest.split_first_chunk::<HEADER>()
        {
            if version != 1 {
                return Err(Malformed::Protocol("no version 1 of FastCGI"));
            }
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some((content, behind)) = behind.split_at_checked(length + usize::from(padding)) else { break };
            let id = u16::from_be_bytes([id_high, id_low]);
            self.record(kind, id, content.get(..length).unwrap_or_default(), event)?;
            rest = behind;
        }
        let used = input.len() - rest.len();
        input.drain(..used);
        self.input = input;
        Ok(())
    }

    fn form(&self) -> Form {
        Form::Cgi
    }

    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let id = self.id();
        data.chunks(MOST).for_each(|piece| record(STDOUT, id, piece, out));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let id = self.id();
        record(STDOUT, id, b"", out);
        end_request(id, REQUEST_COMPLETE, out);
        self.request = None;
    }

    fn broken(&mut self, out: &mut Vec<u8>) {
        // The protocol has nothing for it, and web servers take the end of the connection for the end of the response. What is no
        // record they do not.
        out.extend_from_slice(&[0xff; HEADER]);
        self.request = None;
    }

    fn ends_by_close(&self) -> bool {
        false
    }

    fn has_open_bodies(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(id: u16, role: u16, flags: u8) -> Vec<u8> {
        let mut out = Vec::new();
        record(BEGIN_REQUEST, id, &[0, role as u8, flags, 0, 0, 0, 0, 0], &mut out);
        out
    }

    fn param(name: &str, value: &str) -> Vec<u8> {
        let mut out = vec![name.len() as u8];
        out.extend_from_slice(&(value.len() as u32 | 0x8000_0000).to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
        out
    }

    fn request() -> Vec<u8> {
        let mut out = begin(1, RESPONDER, KEEP_CONN);
        record(PARAMS, 1, &param("REQUEST_METHOD", "GET"), &mut out);
        record(PARAMS, 1, b"", &mut out);
        record(STDIN, 1, b"hello", &mut out);
        record(STDIN, 1, b"", &mut out);
        out
    }

    fn events(fastcgi: &mut FastCgi, pieces: &[&[u8]]) -> Result<Vec<Event>, Malformed> {
        let mut events = Vec::new();
        for piece in pieces {
            fastcgi.receive(piece, &mut |event| events.push(event))?;
        }
        Ok(events)
    }

    #[test]
    fn a_request_is_read_in_any_pieces() {
        let request = request();
        let whole = events(&mut FastCgi::new(1000), &[&request]).unwrap();
        assert!(matches!(&whole[..], [Event::Request { keep: true, variables }, Event::Data(data), Event::End]
            if data == "hello" && variables.get("REQUEST_METHOD") == Some(b"GET")));
        for cut in 0..request.len() {
            let (first, second) = request.split_at(cut);
            assert_eq!(events(&mut FastCgi::new(1000), &[first, second]).unwrap(), whole);
        }
    }

    /// \[GWY-07\]
    #[test]
    fn one_request_at_a_time_and_only_as_a_responder() {
        let mut fastcgi = FastCgi::new(1000);
        events(&mut fastcgi, &[&request()]).unwrap();
        let mut refused = Vec::new();
        end_request(2, CANT_MPX_CONN, &mut refused);
        assert_eq!(events(&mut fastcgi, &[&begin(2, RESPONDER, 0)]).unwrap(), [Event::Reply(refused)]);
        let mut filter = Vec::new();
        end_request(7, UNKNOWN_ROLE, &mut filter);
        assert_eq!(events(&mut FastCgi::new(9), &[&begin(7, 3, 0)]).unwrap(), [Event::Reply(filter)]);
    }

    #[test]
    fn abilities_are_told() {
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        record(GET_VALUES, 0, b"\x0f\0FCGI_MPXS_CONNS\x01\0x", &mut asked);
        record(GET_VALUES_RESULT, 0, b"\x0f\x01FCGI_MPXS_CONNS0", &mut told);
        assert_eq!(events(&mut FastCgi::new(9), &[&asked]).unwrap(), [Event::Reply(told)]);
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        record(GET_VALUES, 0, b"\x0d\0FCGI_MAX_REQS\x0e\0FCGI_MAX_CONNS", &mut asked);
        record(GET_VALUES_RESULT, 0, b"\x0d\x04FCGI_MAX_REQS1024\x0e\x04FCGI_MAX_CONNS1024", &mut told);
        assert_eq!(events(&mut FastCgi::new(9), &[&asked]).unwrap(), [Event::Reply(told)]);
    }

    /// \[LIM-01\] what is no more than that is not too much.
    #[test]
    fn variables_may_be_as_long_as_the_limit() {
        let variable = param("REQUEST_METHOD", "GET");
        let mut whole = begin(1, RESPONDER, 0);
        variable.chunks(5).for_each(|piece| record(PARAMS, 1, piece, &mut whole));
        record(PARAMS, 1, b"", &mut whole);
        assert_eq!(events(&mut FastCgi::new(variable.len()), &[&whole]).unwrap().len(), 1);
        assert_eq!(events(&mut FastCgi::new(variable.len() - 1), &[&whole]), Err(Malformed::TooLarge));
    }

    #[test]
    fn a_body_is_behind_the_variables() {
        let mut early = begin(1, RESPONDER, 0);
        record(STDIN, 1, b"hello", &mut early);
        assert!(matches!(events(&mut FastCgi::new(1000), &[&early]), Err(Malformed::Protocol(_))));
    }

    #[test]
    fn records_have_the_id_of_their_request() {
        let mut fastcgi = FastCgi::new(1000);
        events(&mut fastcgi, &[&begin(0x0203, RESPONDER, 0)]).unwrap();
        let mut out = Vec::new();
        fastcgi.data(b"x", &mut out);
        fastcgi.end(&mut out);
        let mut expected = Vec::new();
        record(STDOUT, 0x0203, b"x", &mut expected);
        record(STDOUT, 0x0203, b"", &mut expected);
        end_request(0x0203, REQUEST_COMPLETE, &mut expected);
        assert_eq!(out, expected);
    }

    /// What it has records for needs no end of the connection.
    #[test]
    fn its_ends_are_records() {
        let fastcgi = FastCgi::new(1000);
        assert!(!fastcgi.ends_by_close() && fastcgi.has_open_bodies() && fastcgi.form() == Form::Cgi);
    }

    #[test]
    fn too_much_and_nonsense_are_told() {
        let mut long = begin(1, RESPONDER, 0);
        record(PARAMS, 1, &[0; 600], &mut long);
        record(PARAMS, 1, &[0; 600], &mut long);
        assert_eq!(events(&mut FastCgi::new(1000), &[&long]), Err(Malformed::TooLarge));
        assert!(events(&mut FastCgi::new(1000), &[b"GET / HTTP/1.1\r\n\r\n"]).is_err());
        let mut cut = begin(1, RESPONDER, 0);
        record(PARAMS, 1, b"\x05\x05ab", &mut cut);
        record(PARAMS, 1, b"", &mut cut);
        assert!(events(&mut FastCgi::new(1000), &[&cut]).is_err());
    }

    #[test]
    fn responses_are_records_of_whole_octets() {
        let mut fastcgi = FastCgi::new(1000);
        events(&mut fastcgi, &[&request()]).unwrap();
        let mut out = Vec::new();
        fastcgi.data(&vec![b'x'; 100_000], &mut out);
        fastcgi.end(&mut out);
        assert_eq!(out.len(), 100_000 + 4 * HEADER + 8, "two pieces, their end, and that of the request");
        assert_eq!(out[..8], [1, STDOUT, 0, 1, 0xff, 0xff, 0, 0]);
        assert!(events(&mut fastcgi, &[&begin(2, RESPONDER, 0)]).unwrap().is_empty(), "it is free for another one");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(pieces: Vec<Vec<u8>>, versions: bool) {
            let mut fastcgi = FastCgi::new(1000);
            for mut piece in pieces {
                if let Some(first) = piece.first_mut().filter(|_| versions) {
                    *first = 1;
                }
                if fastcgi.receive(&piece, &mut |_| {}).is_err() {
                    break;
                }
            }
        }

        #[test]
        fn pairs_come_back(pairs_in: Vec<(Vec<u8>, Vec<u8>)>) {
            let mut octets = Vec::new();
            for (name, value) in &pairs_in {
                for length in [name.len(), value.len()] {
                    octets.extend_from_slice(&(length as u32 | 0x8000_0000).to_be_bytes());
                }
                octets.extend_from_slice(name);
                octets.extend_from_slice(value);
            }
            proptest::prop_assert_eq!(pairs(&octets), Some(pairs_in));
        }
    }
}
