//! Making an application's response head sendable, and deciding how its body is framed. RFC 9112 §6, RFC 9110 §15
//!
//! \[RSP-05\], \[RSP-06\], \[FRM-01\] to \[FRM-06\], \[NOB-01\] to \[NOB-10\], \[KAP-05\]

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode, Version, response};

use super::request::{self, Facts};

/// How a response body is delimited on the wire. RFC 9112 §6.3
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body by definition (1xx, 204, 304, 2xx to CONNECT): no framing fields either (a 304 may keep a
    /// Content-Length).
    None,
    /// Content-Length of this many bytes.
    Length(u64),
    /// Chunked (HTTP/1.1), or the end of the stream (HTTP/2).
    Chunked,
    /// Until the connection closes (HTTP/1.0).
    Close,
}

impl Framing {
    /// The length of [`Framing::Length`].
    pub fn length(self) -> Option<u64> {
        match self {
            Framing::Length(length) => Some(length),
            _ => None,
        }
    }
}

/// What a server does with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// How the body is delimited; the head's Content-Length agrees with it, Transfer-Encoding is left to the engine.
    pub framing: Framing,
    /// Whether body bytes go out; if not, the body is dropped unpulled. \[NOB-03\]
    pub send_body: bool,
    /// Whether the connection ends after this response as far as request and response say; the head says so then.
    pub close: bool,
    /// Whether the head has the right Content-Length already.
    declared: bool,
}

/// A response the application must not make; it is answered 500 and logged. \[FRM-06\], \[NOB-08\]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[{requirement}] {reason}")]
#[non_exhaustive]
pub struct InvalidResponse {
    /// The requirement it breaks.
    pub requirement: &'static str,
    /// What is wrong.
    pub reason: &'static str,
}

/// Makes `head` sendable in answer to the request of `facts`; `length` is the body's exact length, if known.
///
/// Removes what only a server may say, sets Content-Length where it is known and allowed, `Connection: close` where
/// the connection ends. Date and Transfer-Encoding are left to the engine.
///
/// # Errors
/// [`InvalidResponse`]: answer 500 instead.
pub fn prepare(head: &mut response::Parts, length: Option<u64>, facts: &Facts) -> Result<Plan, InvalidResponse> {
    let plan = plan(head, length, facts)?;
    plan.declare_length(&mut head.headers);
    Ok(plan)
}

impl Plan {
    /// Says the length of [`Framing::Length`] in `headers`.
    #[inline]
    pub fn declare_length(&self, headers: &mut HeaderMap) {
        if let Framing::Length(length) = self.framing
            && !self.declared
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

/// [`prepare`], with the Content-Length of a [`Framing::Length`] left to an engine that writes it itself.
///
/// # Errors
/// [`InvalidResponse`]: answer 500 instead.
#[inline]
pub fn plan(head: &mut response::Parts, length: Option<u64>, facts: &Facts) -> Result<Plan, InvalidResponse> {
    let status = head.status;
    // [RSP-13] the version is the server's: that of the request, which HTTP/1.1 and 1.0 share the sending of
    head.version = facts.version;
    if status.is_informational() && !(status == StatusCode::SWITCHING_PROTOCOLS && facts.upgrade) {
        // [NOB-08] RFC 9110 §15.2: a 1xx is no final response
        return Err(InvalidResponse { requirement: "NOB-08", reason: "an informational status as the final one" });
    }
    let fields = Fields::scan(&head.headers)?;
    let http1 = facts.version < Version::HTTP_2;
    let mut close = !facts.keep_alive && http1;
    let mut upgrade = false;
    if fields.hop_by_hop {
        let kept = remove_hop_by_hop(&mut head.headers, status, facts.version);
        close |= kept.close && http1;
        upgrade = kept.upgrade;
    }

    // [TGT-15] RFC 9110 §9.3.6, §8.6; [NOB-05] §15.3.5; [NOB-06] §15.4.5
    let connected = facts.is_connect && status.is_success();
    let bodiless = status.is_informational() || connected || matches!(status.as_u16(), 204 | 304);
    let (framing, send_body) = if bodiless {
        if status != StatusCode::NOT_MODIFIED && fields.length.is_some() {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        (Framing::None, false)
    } else if status == StatusCode::RESET_CONTENT {
        // [NOB-10] RFC 9110 §15.3.6: no content, said by a length of zero
        (Framing::Length(0), false)
    } else if let Some(length) = fields.length.or(length) {
        (Framing::Length(length), !facts.is_head)
    } else if facts.version >= Version::HTTP_11 {
        (Framing::Chunked, !facts.is_head)
    } else {
        // [FRM-02] RFC 9112 §6.3: only the close delimits it; HEAD has nothing to delimit but must say the same
        close = true;
        (Framing::Close, !facts.is_head)
    };
    let declared = matches!(framing, Framing::Length(length) if fields.length == Some(length));
    let plan = Plan { framing, send_body, close, declared };
    // [RSP-05b] after a 101 the connection is another protocol's: nothing to say of its end
    let options = match (upgrade, plan.close && status != StatusCode::SWITCHING_PROTOCOLS) {
        (true, true) => "upgrade, close",
        (true, false) => "upgrade",
        (false, true) => "close",
        (false, false) => return Ok(plan),
    };
    head.headers.insert(header::CONNECTION, HeaderValue::from_static(options));
    Ok(plan)
}

/// Whether [`plan`] would leave the head of `response` as it is and give its body of `length` octets that length and nothing
/// else: the usual response, with no hop-by-hop field and no length but that, to the usual request. For engines that
/// save instructions.
#[inline]
pub fn is_simple<B>(response: &http::Response<B>, facts: &Facts, length: u64) -> bool {
    simple(response, facts, length).is_some()
}

/// What [`plan`] decides for a response that [is simple](is_simple). For engines that save instructions.
#[inline]
pub fn simple<B>(response: &http::Response<B>, facts: &Facts, length: u64) -> Option<Plan> {
    let usual = facts.version == Version::HTTP_11
        && response.version() == Version::HTTP_11
        && facts.keep_alive
        && !facts.is_head
        && !facts.is_connect
        && !matches!(response.status().as_u16(), ..200 | 204 | 205 | 304);
    if !usual {
        return None;
    }
    let mut declared = false;
    for (name, value) in response.headers() {
        // the ones that most have are known by a number
        if *name == header::CONTENT_LENGTH {
            if declared || request::parse_length(value.as_bytes()) != Some(length) {
                return None;
            }
            declared = true;
        } else if *name != header::CONTENT_TYPE && is_hop_by_hop(name) {
            return None;
        }
    }
    Some(Plan { framing: Framing::Length(length), send_body: true, close: false, declared })
}

/// What a response's fields say about framing and connection.
struct Fields {
    length: Option<u64>,
    hop_by_hop: bool,
}

impl Fields {
    /// One pass over the names: a response has few fields, most of them of no interest, and a lookup hashes.
    #[inline]
    fn scan(headers: &HeaderMap) -> Result<Self, InvalidResponse> {
        let mut fields = Fields { length: None, hop_by_hop: false };
        for name in headers.keys() {
            if *name == header::CONTENT_LENGTH {
                fields.length = Some(length(headers)?);
            } else if is_hop_by_hop(name) {
                fields.hop_by_hop = true;
            }
        }
        Ok(fields)
    }
}

/// \[FRM-06\] RFC 9110 §8.6: the one Content-Length.
fn length(headers: &HeaderMap) -> Result<u64, InvalidResponse> {
    let invalid = |reason| InvalidResponse { requirement: "FRM-06", reason };
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = values.next().and_then(|value| request::parse_length(value.as_bytes()));
    let length = length.ok_or(invalid("Content-Length is not a number"))?;
    if values.next().is_some() { Err(invalid("Content-Length more than once")) } else { Ok(length) }
}

/// Whether `name` is the server's business (RFC 9110 §7.6.1).
#[inline]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "transfer-encoding" | "keep-alive" | "proxy-connection" | "te" | "upgrade")
}

/// What is left of the application's say over the connection.
struct Kept {
    /// It asked for a close. \[KAP-05\]
    close: bool,
    /// Its Upgrade field stays, and needs to be named in Connection (RFC 9110 §7.8).
    upgrade: bool,
}

/// \[RSP-05a\], \[RSP-05b\] removes them, Connection too, except the Upgrade of a 101 or 426.
fn remove_hop_by_hop(headers: &mut HeaderMap, status: StatusCode, version: Version) -> Kept {
    let asked = request::Connection::of(headers);
    headers.remove(header::CONNECTION);
    // HTTP/2 has no Upgrade (RFC 9113 §8.2.2).
    let may_upgrade = matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED);
    let upgrade = may_upgrade && version < Version::HTTP_2 && headers.contains_key(header::UPGRADE);
    let mut removed = Vec::new();
    for name in ["transfer-encoding", "keep-alive", "proxy-connection", "te", "upgrade"] {
        if !(upgrade && name == "upgrade") && headers.remove(name).is_some() {
            removed.push(name);
        }
    }
    if !removed.is_empty() {
        tracing::warn!(target: "adapter", fields = %removed.join(", "), "[RSP-05] the application set fields that are the server's; removed");
    }
    Kept { close: asked.close, upgrade }
}
