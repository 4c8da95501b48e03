//! Responses of the server's own.

use http::{HeaderValue, StatusCode, header};

use crate::body::Body;
#[cfg(feature = "websocket")]
use crate::causes::HandshakeError;
#[cfg(feature = "websocket")]
use crate::instead::{NO_PLACE, OwnAnswer};
use crate::rejection::Rejection;

type Response = http::Response<Body>;

/// A plain-text response of the server's own.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl Rejection {
    /// The answer: sized, plain text, and the last one of its connection. \[FRM-08\], \[KAP-11\]
    pub fn response(&self) -> Response {
        let mut response = plain(self.status, self.reason);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

#[cfg(feature = "websocket")]
impl HandshakeError {
    /// The response that says so to the client. The application's own mistakes get a generic text. \[ERR-03\]
    pub fn response(&self) -> Response {
        if *self == HandshakeError::NoPlace {
            let mut response = NO_PLACE.response();
            response.extensions_mut().insert(OwnAnswer::refusal(NO_PLACE));
            return response;
        }
        let text = match self {
            HandshakeError::Taken | HandshakeError::Unsendable(_) => "Internal Server Error".to_owned(),
            error => error.to_string(),
        };
        let mut response = plain(self.status(), "").map(|_| text.into());
        if *self == HandshakeError::WrongVersion {
            // [UPG-03b] RFC 6455 §4.4, RFC 9110 §15.5.22
            let headers = response.headers_mut();
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        response
    }
}

#[cfg(feature = "websocket")]
impl From<HandshakeError> for Response {
    fn from(error: HandshakeError) -> Self {
        error.response()
    }
}
