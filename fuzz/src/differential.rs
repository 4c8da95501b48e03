//! The same octets to `threadpool`, `hyper` and `smol`: they accept or refuse the same requests, show the application the
//! same, and frame what follows the same. `threadpool` and `smol` have one codec, and no exceptions between them.
//!
//! Shared by the fuzz target `differential` and by `adapter-web/tests/differential.rs`, which generates requests and replays
//! the corpus.

#[path = "expand.rs"]
pub mod expand;
#[path = "served.rs"]
mod served;

use adapter_core::{Body, Environ, Error, Request, Response};
use adapter_hyper::HyperServer;
use adapter_smol::SmolServer;
use adapter_threadpool::ThreadPoolServer;
use http::{HeaderMap, Version};

use self::expand::expand;
use self::served::Served;

/// Bytes of a body that is taken; more is refused.
const LIMIT: u64 = 1 << 20;
/// What is shown of a body or a request that is longer is how long it is, and a sum.
const SHOWN: usize = 4096;

/// What came back: one entry for each response, then how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Exchange {
    answers: Vec<Answer>,
    /// What stands behind the last whole response.
    rest: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Whether the connection ends after it.
    closes: bool,
    framing: Framing,
    /// What the application saw, if it was called.
    seen: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
}

impl Exchange {
    /// Whether it is `other` up to a request whose body the application left unread, where the connection was closed:
    /// how much of it is read to keep the connection is the server's choice, and hyper reads on once. \[REQ-12\]
    fn is_cut_off_from(&self, other: &Exchange) -> bool {
        let unread = self.answers.last().is_some_and(Answer::is_unread);
        unread && self.rest.is_empty() && other.answers.starts_with(&self.answers)
    }

    /// Whether it is `other` and a refusal.
    fn refuses_at_the_end_of(&self, other: &Exchange) -> bool {
        let last = self.answers.split_last();
        other.rest.is_empty() && last.is_some_and(|(last, before)| last.seen.is_none() && before == other.answers)
    }

    /// Whether it refuses as too long what stands next in `other`.
    fn is_too_long_for(&self, other: &Exchange) -> bool {
        let last = self.answers.split_last();
        last.is_some_and(|(last, before)| last.status == 431 && other.answers.starts_with(before))
    }

    /// Whether both refuse the same head: of one that is malformed and too long, one sees this first, the other that.
    fn refuses_as(&self, other: &Exchange) -> bool {
        let refuses = |status| matches!(status, 400 | 414 | 431);
        match (self.answers.split_last(), other.answers.split_last()) {
            (Some((a, before)), Some((b, other))) => before == other && refuses(a.status) && refuses(b.status),
            _ => false,
        }
    }

    /// Without what hangs on how much of an unread body had come when it was answered. \[REQ-29\]
    fn normal(mut self) -> Self {
        self.answers.iter_mut().filter(|answer| answer.is_unread()).for_each(|answer| answer.closes = false);
        self
    }
}

impl Exchange {
    /// Where it differs from `other`: the first answer that does, and the end.
    fn differing(&self, other: &Exchange) -> String {
        let at = self.answers.iter().zip(&other.answers).take_while(|(a, b)| a == b).count();
        let answer = self.answers.get(at);
        format!(
            "{} times, number {at} with {answer:#?}, then {:?}",
            self.answers.len(),
            self.rest.escape_ascii().to_string()
        )
    }
}

impl Answer {
    fn is_unread(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.ends_with(UNREAD))
    }
}

/// Ends what the application says of a request whose body it did not read.
const UNREAD: &str = "unread";

/// Sends `data` to the servers and compares. `Err` with both exchanges where two disagree.
///
/// # Errors
/// A description of the disagreement.
pub fn check(data: &[u8]) -> Result<(), String> {
    // What is excepted shows in a piece and its neighbours.
    let octets = &expand(data, usize::MAX)[..];
    if is_excepted(&expand(data, 2)) {
        return Ok(());
    }
    let (ours, theirs, third) = SERVERS.with(|servers| {
        (exchange(&servers.threadpool, octets), exchange(&servers.hyper, octets), exchange(&servers.smol, octets))
    });
    let what = |error| format!("to {} ({} octets): {error}", data.escape_ascii(), octets.len());
    let ours = ours.map_err(|error| what(format!("threadpool: {error}")))?.normal();
    let theirs = theirs.map_err(|error| what(format!("hyper: {error}")))?.normal();
    let third = third.map_err(|error| what(format!("smol: {error}")))?.normal();
    if ours != third && !third.is_cut_off_from(&ours) && !ours.is_cut_off_from(&third) {
        let (ours, third) = (ours.differing(&third), third.differing(&ours));
        return Err(what(format!("threadpool answers {ours}\nsmol answers {third}")));
    }
    if ours == theirs || theirs.is_cut_off_from(&ours) || ours.is_cut_off_from(&theirs) {
        return Ok(());
    }
    if (ends_in_a_head(octets) && ours.refuses_at_the_end_of(&theirs))
        || (has_long_word(octets) && ours.is_too_long_for(&theirs))
        || (octets.len() > LONG_HEAD && ours.refuses_as(&theirs))
    {
        return Ok(());
    }
    let (ours, theirs) = (ours.differing(&theirs), theirs.differing(&ours));
    Err(what(format!("threadpool answers {ours}\nhyper answers {theirs}")))
}

/// Where the two may differ: `spec/exceptions.toml`, and what hyper decides before the rules are asked.
fn is_excepted(data: &[u8]) -> bool {
    let count = |part: &[u8]| data.windows(part.len()).filter(|window| window.eq_ignore_ascii_case(part)).count();
    let has = |part: &[u8]| count(part) > 0;
    let coded = has(b"transfer-encoding");
    let bare_lf = data.iter().zip(data.iter().skip(1)).any(|(a, b)| *a != b'\r' && *b == b'\n');
    // Left from when hyper read the framing itself; whether they agree without it was not tried for long
    (coded && bare_lf)
        // [EXP-02] nobody needs a 100 for a body that has come, and an unread one may be drained or ended by a close
        || has(b"expect:")
        // RFC 9110 §5.6.1.2: empty members of a list mean nothing, but it wants "chunked" to be what stands last
        || (coded && [&b":\r"[..], b": \r", b",\r"].into_iter().any(has))
        // [REQ-21] whether a second, malformed length beside a coding is refused hangs on their order
        || (coded && count(b"content-length:") > 1)
        // HTTP/2 by prior knowledge is not threadpool's
        || has(b"PRI * HTTP/2")
}

/// Whether the stream ends within a head: one that came in several reads hyper looks at when its end has come, threadpool
/// refuses what can't become a head before.
fn ends_in_a_head(octets: &[u8]) -> bool {
    !octets.ends_with(b"\n\r\n") && !octets.ends_with(b"\n\n")
}

/// A head may be that long.
const LONG_HEAD: usize = 64 * 1024;

/// [TGT-24] a method of many KiB is a method to hyper, and too long a line to threadpool.
fn has_long_word(octets: &[u8]) -> bool {
    const LONG: usize = 4096;
    octets.split(|octet| *octet == b'\n').any(|line| line.get(..LONG).is_some_and(|start| !start.contains(&b' ')))
}

struct Servers {
    threadpool: Served,
    hyper: Served,
    smol: Served,
}

thread_local! {
    static SERVERS: Servers = Servers {
        threadpool: Served::start(&ThreadPoolServer::new(), application, LIMIT),
        hyper: Served::start(&HyperServer::new(), application, LIMIT),
        smol: Served::start(&SmolServer::new(), application, LIMIT),
    };
}

/// Answers with what it saw. Paths of even length read their body, the others leave it to the server.
async fn application(request: Request, _environ: Environ) -> Result<Response, Error> {
    let (head, mut body) = request.into_parts();
    let is_head = head.method == http::Method::HEAD;
    let mut seen = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    list(&mut seen, &head.headers);
    if head.uri.path().len() % 2 == 0 {
        let data = body.bytes(LIMIT as usize).await?;
        seen += &shown(&data);
        seen.push('\n');
        if let Some(trailers) = body.trailers() {
            list(&mut seen, trailers);
        }
    } else if !http_body::Body::is_end_stream(&body) {
        seen += UNREAD;
    }
    if seen.len() > SHOWN {
        // How it ends says whether it was read.
        let unread = if seen.ends_with(UNREAD) { UNREAD } else { "" };
        seen = format!("{}\n{unread}", shown(seen.as_bytes()));
    }
    let mut response = Response::new(Body::from(seen.clone()));
    // Of an answer to HEAD there is nothing else to see.
    response.headers_mut().insert("x-seen", seen.escape_default().to_string().parse()?);
    if is_head {
        response.headers_mut().insert("x-head", http::HeaderValue::from_static("1"));
    }
    if head.version == Version::HTTP_11 && head.uri.path().len() % 3 == 0 {
        *response.body_mut() = Body::from_iterator([seen]);
    }
    Ok(response)
}

/// Octets, or their number and a sum of them (FNV-1a).
fn shown(octets: &[u8]) -> String {
    if octets.len() <= SHOWN {
        return octets.escape_ascii().to_string();
    }
    let sum = octets
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, octet| (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3));
    format!("{} octets, {sum:x}", octets.len())
}

fn list(seen: &mut String, fields: &HeaderMap) {
    // The order of fields with different names means nothing. RFC 9110 §5.3
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in fields {
        *seen += &format!("{name}: {}\n", value.as_bytes().escape_ascii());
    }
}

fn exchange(server: &Served, data: &[u8]) -> Result<Exchange, String> {
    let answers = server.answers(data)?;
    parse(&answers).ok_or_else(|| format!("there came no responses but {}", answers.escape_ascii()))
}

/// `None` if it is no sequence of responses.
fn parse(mut octets: &[u8]) -> Option<Exchange> {
    let mut answers = Vec::new();
    while !octets.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = response.parse(octets) else { return None };
        octets = &octets[length..];
        let status = response.code?;
        let field = |name: &str| {
            let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            found.map(|field| String::from_utf8_lossy(field.value).into_owned())
        };
        let seen = field("x-seen");
        let (framing, body) = match (field("content-length"), field("transfer-encoding")) {
            (Some(length), None) => {
                let length = length.parse().ok()?;
                (Framing::Length(length), length)
            }
            (None, Some(_)) => (Framing::Chunked, chunked(octets)?),
            (None, None) => (Framing::None, 0),
            _ => return None,
        };
        let is_refusal = seen.is_none() && status >= 400;
        if is_refusal {
            // Its text is the server's own, and in answer to HEAD there is none. Nothing comes after it.
            octets = &[];
        } else if field("x-head").is_none() {
            octets = octets.get(body..)?;
        }
        answers.push(Answer {
            status: match status {
                // [TGT-24], [LIM-01]: too long for a target may be too long for a head as well
                414 if is_refusal => 431,
                status => status,
            },
            closes: is_refusal || field("connection").as_deref() == Some("close"),
            framing: if is_refusal { Framing::None } else { framing },
            seen,
        });
    }
    Some(Exchange { answers, rest: octets.to_vec() })
}

/// The length of a chunked body without trailers.
fn chunked(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&octets[at..]) else {
            return None;
        };
        at += line + usize::try_from(size).ok()? + 2;
        if at > octets.len() {
            return None;
        }
        if size == 0 {
            return Some(at);
        }
    }
}
