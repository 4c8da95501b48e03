//! From a file that is open to a response. Blocks as reading a file's metadata does.

use std::io;
use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::conditional::{Validators, Verdict};
use super::found::Opened;
use super::range::{self, Parts};
use crate::answers::plain;
use crate::application::Response;
use crate::body::Body;
use crate::error::Error;

/// What is the same for all files of a folder, or said of this one.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// The answer depends on Accept-Encoding.
    pub(super) varies: bool,
    pub(super) cache_control: Option<HeaderValue>,
    /// So many octets are read before it is answered: where the body would be read elsewhere, that is one way less for most files.
    pub(super) at_once: u64,
}

/// The answer to a request of `method` with `headers` for `opened`: all of it, parts of it, or that the client has it.
///
/// # Errors
/// As reading the file's metadata.
pub(super) fn respond(opened: Opened, method: &Method, headers: &HeaderMap, told: &Told) -> io::Result<Response> {
    let Opened { file, metadata, name, coding } = opened;
    let length = metadata.len();
    let validators = Validators::new(length, metadata.modified().ok(), coding, SystemTime::now());
    let content_type = content_type(&name);
    // [NOB-03]
    let at_once = if *method == Method::HEAD { 0 } else { told.at_once };
    let mut response = match validators.judge(method, headers) {
        Verdict::Failed => return Ok(plain(StatusCode::PRECONDITION_FAILED, "Precondition Failed")),
        Verdict::NotModified => with_status(StatusCode::NOT_MODIFIED, Body::empty()),
        Verdict::Send { part } => {
            let parts = if part { range::parts(headers, length) } else { Parts::Whole };
            let mut response = match parts {
                Parts::Unsatisfiable => return Ok(unsatisfiable(length)),
                Parts::Whole => with_status(StatusCode::OK, Body::from_file_read(file, 0..length, at_once)?),
                Parts::Some(parts) => match parts.as_slice() {
                    [one] => {
                        let body = Body::from_file_read(file, one.clone(), at_once)?;
                        let mut response = with_status(StatusCode::PARTIAL_CONTENT, body);
                        response.headers_mut().insert(header::CONTENT_RANGE, text(&content_range(one, length)));
                        response
                    }
                    several => multipart(file, several, length, &content_type)?,
                },
            };
            let fields = response.headers_mut();
            fields.entry(header::CONTENT_TYPE).or_insert(content_type);
            if let Some(coding) = coding {
                fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            response
        }
    };
    // RFC 9110 §15.4.5: a 304 has these, too.
    validators.tell(response.headers_mut());
    let fields = response.headers_mut();
    if told.varies {
        fields.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if let Some(value) = &told.cache_control {
        fields.insert(header::CACHE_CONTROL, value.clone());
    }
    Ok(response)
}

fn with_status(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// RFC 9110 §15.5.17
fn unsatisfiable(length: u64) -> Response {
    let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, "Range Not Satisfiable");
    response.headers_mut().insert(header::CONTENT_RANGE, text(&format!("bytes */{length}")));
    response
}

/// What a name stands for; text is UTF-8, as what is written today is.
fn content_type(name: &std::path::Path) -> HeaderValue {
    let Some(guess) = mime_guess::from_path(name).first_raw() else {
        return HeaderValue::from_static("application/octet-stream");
    };
    if guess.starts_with("text/") { text(&format!("{guess}; charset=utf-8")) } else { HeaderValue::from_static(guess) }
}

/// RFC 9110 §14.4
fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

/// A value of our own making, of visible characters.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `parts` of `file` as one body. RFC 9110 §14.6
fn multipart(
    file: std::fs::File,
    parts: &[Range<u64>],
    length: u64,
    content_type: &HeaderValue,
) -> io::Result<Response> {
    // What is in the file can't be known to lack it, but nobody can put it there: it is another one each time.
    let boundary = format!("{:016x}{:016x}", random(), random());
    let content_type = content_type.to_str().unwrap_or("application/octet-stream");
    let mut total = 0;
    let mut pieces = Vec::new();
    for part in parts {
        let range = content_range(part, length);
        let head = format!("\r\n--{boundary}\r\ncontent-type: {content_type}\r\ncontent-range: {range}\r\n\r\n");
        total += head.len() as u64 + (part.end - part.start);
        pieces.push(Body::from(head));
        pieces.push(Body::from_file(file.try_clone()?, part.clone())?);
    }
    let end = format!("\r\n--{boundary}--\r\n");
    total += end.len() as u64;
    pieces.push(Body::from(end));
    let mut response = with_status(StatusCode::PARTIAL_CONTENT, Body::from_iterator(InTurn(pieces.into_iter(), None)));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, total.into());
    fields.insert(header::CONTENT_TYPE, text(&format!("multipart/byteranges; boundary={boundary}")));
    Ok(response)
}

/// Not to be guessed by who has written the file.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0_u8)
}

/// Bodies, one behind the other. Blocks as they do.
struct InTurn(std::vec::IntoIter<Body>, Option<Body>);

impl Iterator for InTurn {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(frame) = self.1.as_mut().and_then(Body::next_frame) {
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) => return Some(Ok(data)),
                    Ok(Err(_)) => {}
                    Err(error) => return Some(Err(error)),
                }
            } else {
                self.1 = Some(self.0.next()?);
            }
        }
    }
}
