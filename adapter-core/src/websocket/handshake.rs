//! Whether a request is a handshake, and what to answer if it is not. RFC 6455 §4.2, RFC 8441 §4
//!
//! Pure functions over the head. \[UPG-01\] to \[UPG-05\], \[UPG-25\], \[UPG-26\]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Version};

use crate::causes::HandshakeError;
use crate::environ::Environ;
use crate::rules;
use crate::upgrade::UpgradeError;

/// The version of the protocol spoken here. RFC 6455 §4.1
const VERSION: &[u8] = b"13";
/// RFC 6455 §1.3
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How a handshake is answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// 101 with the accept that fits the key.
    Switch(HeaderValue),
    /// 200 to an extended CONNECT. \[UPG-26\]
    Connect,
}

/// Whether `request` is a handshake.
pub(super) fn check<B>(request: &Request<B>, environ: &Environ) -> Result<Answer, HandshakeError> {
    let headers = request.headers();
    let over_http2 = request.version() >= Version::HTTP_2;
    // [UPG-02] RFC 6455 §4.2.1; [UPG-26] RFC 8441 §5
    let asks = if over_http2 {
        *request.method() == Method::CONNECT && environ.connect_protocol() == Some("websocket")
    } else {
        *request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && lists(headers, &header::UPGRADE, b"websocket")
            && lists(headers, &header::CONNECTION, b"upgrade")
    };
    if !asks {
        return Err(HandshakeError::NotWebSocket);
    }
    match single(headers, &header::SEC_WEBSOCKET_VERSION) {
        Ok(version) if version == VERSION => {}
        Ok(_) => return Err(HandshakeError::WrongVersion),
        Err(()) => return Err(HandshakeError::Malformed("Sec-WebSocket-Version is missing or repeated")),
    }
    let answer = if over_http2 { Answer::Connect } else { Answer::Switch(accept_for(headers)?) };
    // [UPG-25]
    if !environ.server().capabilities.websocket {
        return Err(HandshakeError::Unsupported);
    }
    match environ.offer() {
        Ok(offer) if offer.is_open() => Ok(answer),
        Ok(_) | Err(UpgradeError::Taken) => Err(HandshakeError::Taken),
        Err(UpgradeError::Unsupported) => Err(HandshakeError::Unsupported),
        // It asks as it should, and still the server offers none.
        Err(_) => Err(HandshakeError::Malformed("it has a body")),
    }
}

/// The accept for the key in `headers`. \[UPG-01\], \[UPG-03a\] RFC 6455 §4.2.2
fn accept_for(headers: &HeaderMap) -> Result<HeaderValue, HandshakeError> {
    let bad = HandshakeError::Malformed("Sec-WebSocket-Key is not one of 16 octets in base64");
    let key = single(headers, &header::SEC_WEBSOCKET_KEY).map_err(|()| bad.clone())?;
    if !BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Err(bad);
    }
    let mut hash = sha1_smol::Sha1::from(key);
    hash.update(GUID.as_bytes());
    HeaderValue::from_str(&BASE64.encode(hash.digest().bytes())).map_err(|_| bad)
}

/// The value of a field that must be there once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h [u8], ()> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes().trim_ascii()),
        _ => Err(()),
    }
}

/// Whether the list field has `member`, in any case. An Upgrade's version (`websocket/1`) is none of ours.
fn lists(headers: &HeaderMap, name: &HeaderName, member: &[u8]) -> bool {
    headers.get_all(name).into_iter().flat_map(rules::list_members).any(|found| found.eq_ignore_ascii_case(member))
}

/// The subprotocols the client offers, in its order. \[UPG-07\]
pub(super) fn offered_protocols(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let members = values.flat_map(rules::list_members);
    members.filter_map(|member| std::str::from_utf8(member).ok()).map(str::to_owned).collect()
}
