//! Responses made sendable, and those in place of errors. \[ERR-01\], \[ERR-03\], \[ERR-08\], \[ERR-12\], \[NOB-08\], \[TRL-04\]

use std::sync::Arc;

use adapter_core::dispatch::{
    NO_PLACE, OwnAnswer, error_response, failure, is_unanswerable, log_broken, no_place_for, prepare,
};
use adapter_core::http::{HeaderMap, HeaderValue, StatusCode, header};
use adapter_core::rules::response::Framing;
use adapter_core::{Body, Error, RequestBodyError, Response, ServerConfig, TaskError};
use tracing::Level;

use crate::{Grudge, Logged, Still, connection, request, with};

const LEVELS: [Level; 3] = [Level::ERROR, Level::INFO, Level::DEBUG];

/// How many lines there are of each level.
fn logged(what: impl Fn()) -> [usize; 3] {
    LEVELS.map(|level| Logged::by(level, &what).1)
}

#[test]
fn an_error_is_logged_by_whose_fault_it_is() {
    let by = |error: fn() -> Error| logged(|| drop(error_response(&error())));
    assert_eq!(by(|| Error::new("a fault")), [1, 0, 0]);
    assert_eq!(by(|| Error::new("no").with_status(StatusCode::NOT_FOUND)), [0, 1, 0]);
    assert_eq!(by(|| RequestBodyError::Disconnected.into()), [0, 0, 1]);
    assert_eq!(by(|| RequestBodyError::TimedOut.into()), [0, 1, 0]);
    // Where it was caught.
    assert_eq!(by(|| TaskError::Panicked("it".into()).into()), [0, 0, 0]);
}

/// Who reads the log is to know where to look.
#[test]
fn it_is_said_who_has_failed() {
    let said = |error: Error| Logged::lines(Level::ERROR, || error_response(&error)).1;
    let broken = RequestBodyError::ServerFault("it is too long".into());
    assert_eq!(said(broken.into()), ["the server failed the application"]);
    assert_eq!(said(Error::new("a fault")), ["the application failed"]);
}

/// \[CON-05\], \[RTM-03\] Whether the server finds that out before it calls the application or behind that.
#[test]
fn a_full_queue_is_a_warning_and_a_refusal() {
    let said = |error: Error| Logged::lines(Level::WARN, || error_response(&error));
    let (response, lines) = said(TaskError::Refused.into());
    assert_eq!(lines, ["no thread is free and no place to wait; answered 503"]);
    let connection = connection(&Still::new(), &ServerConfig::default());
    let (parts, _) = request().0.into_parts();
    let (rejection, told) = Logged::lines(Level::WARN, || no_place_for(&connection, &parts));
    assert_eq!((*rejection, told), (NO_PLACE, lines));
    assert_eq!(response.extensions().get::<OwnAnswer>().and_then(OwnAnswer::rejection), Some(&NO_PLACE));
    assert_eq!(response.status(), NO_PLACE.status);
    // The application has an answer of its own.
    let (response, lines) = said(Error::from(TaskError::Refused).with_status(StatusCode::TOO_MANY_REQUESTS));
    let own: &OwnAnswer = response.extensions().get().unwrap();
    assert!(lines.is_empty() && own.rejection().is_none());
    assert_eq!(own.reason(), "the server refused the task");
}

#[test]
fn a_response_that_breaks_off_is_logged_by_whose_fault_it_is() {
    let by = |error: fn() -> Error| logged(|| log_broken(&error()));
    assert_eq!(by(|| Error::new("a fault")), [1, 0, 0]);
    assert_eq!(by(|| RequestBodyError::TimedOut.into()), [0, 1, 0]);
    assert_eq!(by(|| RequestBodyError::Disconnected.into()), [0, 0, 1]);
}

#[test]
fn nobody_is_answered_who_has_gone() {
    let gone = || Error::from(RequestBodyError::Disconnected);
    let response = error_response(&gone());
    assert!(is_unanswerable(&response));
    assert_eq!(response.headers().get(header::CONNECTION), Some(&HeaderValue::from_static("close")));
    // The application means to answer.
    assert!(!is_unanswerable(&error_response(&gone().with_status(StatusCode::IM_A_TEAPOT))));
    let malformed = error_response(&RequestBodyError::TimedOut.into());
    assert!(!is_unanswerable(&malformed));
    assert_eq!(malformed.headers().get(header::CONNECTION), Some(&HeaderValue::from_static("close")));
    assert!(!is_unanswerable(&Response::new(Body::empty())));
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert("anything");
    assert!(!is_unanswerable(&response));
}

#[cfg(feature = "websocket")]
#[test]
fn a_handshake_is_answered_as_its_protocol_wants() {
    use adapter_core::websocket::HandshakeError;
    let wrong = || Error::from(HandshakeError::WrongVersion);
    assert!(error_response(&wrong()).headers().contains_key(header::SEC_WEBSOCKET_VERSION));
    let other = error_response(&wrong().with_status(StatusCode::GONE));
    assert_eq!(
        (other.status(), other.headers().contains_key(header::SEC_WEBSOCKET_VERSION)),
        (StatusCode::GONE, false)
    );
}

#[test]
fn only_failures_are_failures() {
    for (asked, given) in [(400, 400), (599, 599), (200, 500), (304, 500)] {
        assert_eq!(failure(StatusCode::from_u16(asked).unwrap()).status().as_u16(), given);
    }
}

#[test]
fn extensions_whose_drop_panics_hurt_nobody() {
    let mut response = Response::new(Body::from("fine"));
    response.extensions_mut().insert(Arc::new(Grudge));
    let (head, ..) = prepare(response, &request().1, false);
    // Would panic here.
    assert!(head.extensions.is_empty());
}

#[test]
fn who_was_not_offered_another_protocol_gets_none() {
    let facts = with(|facts| facts.upgrade = true);
    let switching = || {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("else"));
        response
    };
    let status = |offered| prepare(switching(), &facts, offered).0.status;
    assert_eq!((status(false), status(true)), (StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SWITCHING_PROTOCOLS));
    let other = |offered| prepare(Response::new(Body::from_iterator(["a"])), &facts, offered).0.status;
    assert_eq!((other(false), other(true)), (StatusCode::OK, StatusCode::OK));
}

#[test]
fn trailers_are_announced_where_they_are_sent() {
    let trailed = |asked: bool| {
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("1"))]);
        let mut response = Response::new(Body::from("fine").with_trailers(trailers));
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("4"));
        let (head, _, plan) = prepare(response, &with(|facts| facts.trailers = asked), false);
        let named = head.headers.get(header::TRAILER).cloned();
        (head.status.as_u16(), plan.framing, named, head.headers.contains_key(header::CONTENT_LENGTH))
    };
    assert_eq!(trailed(true), (200, Framing::Chunked, Some(HeaderValue::from_static("x-sum")), false));
    assert_eq!(trailed(false), (200, Framing::Length(4), None, true));
    // HEAD in chunks: announced too, and in HTTP/1.0 there is no room.
    let untrailed = prepare(Response::new(Body::from_iterator(["a"])), &with(|facts| facts.trailers = true), false);
    assert!(!untrailed.0.headers.contains_key(header::TRAILER));
    let old = with(|facts| {
        facts.trailers = true;
        facts.keep_alive = false;
        facts.version = adapter_core::http::Version::HTTP_10;
    });
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("1"))]);
    let (head, _, plan) = prepare(Response::new(Body::from("fine").with_trailers(trailers)), &old, false);
    assert_eq!((plan.framing, head.headers.contains_key(header::TRAILER)), (Framing::Close, false));
}
