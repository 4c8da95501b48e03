//! The properties that hold for any input. Each function panics where one does not.
//!
//! Shared by the fuzz targets and by `adapter-threadpool/tests/corpus.rs`, which replays the corpus.

#[path = "expand.rs"]
mod expand;
#[path = "served.rs"]
mod served;

use adapter_core::proxy_protocol::{self, Reader};
use adapter_core::rules::request::BodyLength;
use adapter_core::{Body, Environ, Error, Limits, Request, RequestBodyError, Response};
use adapter_http1::body_decoder::{Decoder, Event};
use adapter_http1::head::parse;
use adapter_threadpool::ThreadPoolServer;
use http::HeaderMap;

use self::expand::expand;
use self::served::Served;

/// Request heads: a head is accepted or refused the same however much of what follows has arrived.
pub fn head(data: &[u8]) {
    // A head of more than a few hundred KiB is refused by its length alone.
    let data = &expand(data, 2048)[..];
    let limits = Limits::default();
    let whole = parse(data, &limits);
    let length = whole.as_ref().ok().and_then(|head| head.as_ref()).map(|head| head.length);
    let step = data.len() / 256 + 1;
    for cut in (0..data.len()).step_by(step) {
        match (parse(&data[..cut], &limits), length) {
            (Ok(Some(head)), Some(length)) => assert_eq!(head.length, length, "cut at {cut}"),
            (Ok(Some(_)), None) => panic!("a prefix of {cut} bytes is accepted, the whole is not"),
            (Ok(None), Some(length)) => assert!(cut < length, "a whole head is taken for a part at {cut}"),
            (Err(_), Some(_)) => panic!("a prefix of {cut} bytes is refused, the whole is not"),
            (_, None) => {}
        }
    }
    if let Ok(Some(head)) = whole {
        let target = head.parts.uri.to_string();
        assert!(head.parts.method == "CONNECT" || target.starts_with(['/', '*']), "{target}");
        assert!(head.facts.version == http::Version::HTTP_10 || head.parts.headers.contains_key("host"));
    }
}

/// Headers of the PROXY protocol: what is read of one does not depend on the pieces it comes in, nor on what comes behind it.
pub fn proxy_protocol(data: &[u8]) {
    let whole = proxy_protocol::parse(data);
    if let Ok(Some((header, length))) = whole {
        assert!(length <= data.len().min(proxy_protocol::MOST));
        assert_eq!(proxy_protocol::parse(&data[..length]), Ok(Some((header, length))));
        assert_eq!(proxy_protocol::parse(&data[..length - 1]), Ok(None));
    }
    assert!(whole != Ok(None) || data.len() < proxy_protocol::MOST);
    for size in [1, 7, data.len().max(1)] {
        let mut reader = Reader::new();
        let mut taken = 0;
        let mut read = Ok(None);
        for piece in data.chunks(size) {
            taken += piece.len();
            read = reader.receive(piece);
            if read != Ok(None) {
                break;
            }
        }
        match (read, whole) {
            (Ok(Some((header, behind))), Ok(Some((expected, length)))) => {
                assert_eq!((header, &behind[..]), (expected, &data[length..taken]));
            }
            (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
            (read, whole) => panic!("in pieces of {size}: {read:?}, as a whole: {whole:?}"),
        }
    }
}

type Decoded = Option<Result<(Vec<u8>, Option<HeaderMap>, Vec<u8>), RequestBodyError>>;

fn decode(pieces: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::new(BodyLength::Unknown, Some(1 << 20));
    let mut data = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        let mut rest = *piece;
        loop {
            match decoder.decode(rest) {
                Ok(Event::Data { start, consumed }) => {
                    assert!(start < consumed);
                    data.extend_from_slice(&rest[start..consumed]);
                    rest = &rest[consumed..];
                }
                Ok(Event::More { consumed }) => {
                    assert_eq!(consumed, rest.len());
                    break;
                }
                Ok(Event::End { trailers, consumed }) => {
                    let left = [&rest[consumed..], &pieces[n + 1..].concat()].concat();
                    return Some(Ok((data, trailers, left)));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
    None
}

/// Chunked bodies: every split of the input decodes to the same.
pub fn chunked(data: &[u8]) {
    let data = &expand(data, usize::MAX)[..];
    let whole = decode(&[data]);
    // Few splits where the input is long: each costs a pass.
    let step = data.len() / (if data.len() > 16 * 1024 { 16 } else { 256 }) + 1;
    for cut in (0..data.len()).step_by(step) {
        assert_eq!(decode(&[&data[..cut], &data[cut..]]), whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(decode(&single), whole, "byte by byte");
}

/// Ordinary chunked bodies: whatever their length, the number and sizes of their chunks, with leading zeros and the
/// extension of a signature, they are read. \[LIM-08c\]
pub fn ordinary(data: &[u8]) {
    let (mut wire, mut sent) = (Vec::new(), Vec::new());
    for shape in data.chunks_exact(4) {
        let [times, size, how, extension] = *shape else { continue };
        let size = expand::count(size);
        let payload: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let room = (1_usize << 20).saturating_sub(sent.len()) / size;
        for _ in 0..expand::count(times).min(room) {
            let digits = format!("{size:x}");
            let zeros = usize::from(how & 15).saturating_sub(digits.len());
            wire.extend_from_slice("0".repeat(zeros).as_bytes());
            wire.extend_from_slice(digits.as_bytes());
            let extension = usize::from(extension % 81);
            if extension > 0 {
                wire.push(b';');
                wire.extend(std::iter::repeat_n(b'x', extension - 1));
            }
            wire.extend_from_slice(b"\r\n");
            wire.extend_from_slice(&payload);
            wire.extend_from_slice(b"\r\n");
            sent.extend_from_slice(&payload);
        }
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    let pieces: Vec<&[u8]> = wire.chunks(64 * 1024).collect();
    match decode(&pieces) {
        Some(Ok((read, None, left))) => assert!(read == sent && left.is_empty(), "another body is read"),
        other => panic!("{} octets in {} of chunks: {other:?}", sent.len(), wire.len()),
    }
}

/// Whole connections: the answers to whatever is sent are well-formed responses, and then the connection ends.
pub fn connection(data: &[u8]) {
    let data = &expand(data, usize::MAX)[..];
    let answers = SERVER.with(|server| server.answers(data)).unwrap_or_else(|error| panic!("{error}"));
    // A HEAD that is refused has a length and no body, and the application has not marked the answer.
    let asks_head = data.windows(4).any(|window| window == b"HEAD");
    well_formed(&answers, asks_head);
}

fn well_formed(mut rest: &[u8], asks_head: bool) {
    while !rest.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(rest) {
            Ok(httparse::Status::Complete(length)) => length,
            other => panic!("{other:?} in {}", rest.escape_ascii()),
        };
        let status = response.code.expect("a parsed response has a status");
        let field = |name: &str| response.headers.iter().find(|field| field.name == name).map(|field| field.value);
        rest = &rest[length..];
        if status == 100 {
            continue;
        }
        assert!(field("date").is_some() && field("transfer-encoding").is_none());
        let body = field("content-length").map_or(0, |length| {
            std::str::from_utf8(length).ok().and_then(|length| length.parse().ok()).expect("Content-Length is a number")
        });
        let refused_head = asks_head && status >= 400 && rest.is_empty();
        if field("x-head").is_none() && !refused_head {
            assert!(rest.len() >= body, "the last body is cut off");
            rest = &rest[body..];
        }
        let closes = field("connection") == Some(b"close");
        assert!(!closes || rest.is_empty(), "something follows the last response");
    }
}

thread_local! {
    static SERVER: Served = Served::start(&ThreadPoolServer::new(), application, 1 << 20);
}

async fn application(request: Request, _environ: Environ) -> Result<Response, Error> {
    let is_head = request.method() == "HEAD";
    let whole = request.uri().path().len() % 2 == 0;
    let mut body = request.into_body();
    // Some bodies are read, some are left to the server.
    let data = if whole { body.bytes(1 << 20).await? } else { Default::default() };
    let mut response = Response::new(Body::from(data));
    if is_head {
        response.headers_mut().insert("x-head", http::HeaderValue::from_static("1"));
    }
    Ok(response)
}
