//! What is a handshake, and how it is answered. \[UPG-01\] to \[UPG-08\], \[UPG-25\], \[UPG-26\]

use http::header::{self, HeaderName};
use http::{HeaderValue, Method, Request, StatusCode, Version};

use super::super::{HandshakeError, Upgrade};
use super::environ;
use crate::environ::Environ;
use crate::server::ShutdownTrigger;
use crate::upgrade::channel;
use crate::{Error, dispatch};

fn offering() -> (Environ, crate::upgrade::Handover) {
    let (handover, offer) = channel();
    (environ(true, true, ShutdownTrigger::new()).with_upgrade(offer), handover)
}

fn handshake() -> Request<()> {
    Request::get("/")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "a, b")
        .header("sec-websocket-extensions", "permessage-deflate")
        .body(())
        .unwrap()
}

#[test]
fn the_accept_is_complete_and_says_no_more() {
    let (environ, handover) = offering();
    let upgrade = Upgrade::from_request(&handshake(), &environ).unwrap();
    assert_eq!(upgrade.offered_protocols().collect::<Vec<_>>(), ["a", "b"]);
    let upgrade = upgrade.protocols(["c", "b", "a"]);
    assert_eq!(upgrade.chosen_protocol(), Some("b"), "our order decides");
    let upgrade = upgrade.header(HeaderName::from_static("x-y"), HeaderValue::from_static("z"));
    assert!(!handover.is_taken(), "looking does not take");
    let response = upgrade.accept(|socket| async move { drop(socket) }).unwrap();
    assert!(handover.is_taken());
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut fields: Vec<_> =
        response.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    fields.sort_unstable();
    let expected = [
        "connection: upgrade",
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "sec-websocket-protocol: b",
        "upgrade: websocket",
        "x-y: z",
    ];
    assert_eq!(fields, expected);
    let again = Upgrade::from_request(&handshake(), &environ).unwrap_err();
    assert_eq!(again, HandshakeError::Taken, "[UPG-19a]");
}

#[test]
fn over_http2_it_is_an_extended_connect() {
    let request = || {
        let mut request = handshake();
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = Method::CONNECT;
        for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_KEY] {
            request.headers_mut().remove(name);
        }
        request
    };
    let with_protocol = |protocol| {
        let (handover, offer) = channel();
        let environ = environ(true, true, ShutdownTrigger::new()).with_upgrade(offer.with_protocol(protocol));
        (environ, handover)
    };
    let (environ, _handover) = with_protocol("websocket");
    let upgrade = Upgrade::from_request(&request(), &environ).unwrap();
    let response = upgrade.accept(|socket| async move { drop(socket) }).unwrap();
    assert_eq!((response.status(), response.headers().len()), (StatusCode::OK, 0), "[UPG-26]");
    let (environ, _handover) = with_protocol("connect-udp");
    assert_eq!(Upgrade::from_request(&request(), &environ).unwrap_err(), HandshakeError::NotWebSocket);
}

#[test]
fn every_way_not_to_be_one_has_its_error_and_answer() {
    let refused = |change: &dyn Fn(&mut Request<()>)| {
        let mut request = handshake();
        change(&mut request);
        Upgrade::from_request(&request, &offering().0).unwrap_err()
    };
    let without = |name: HeaderName| refused(&|request| drop(request.headers_mut().remove(&name)));
    let with = |name: HeaderName, value: &'static str| {
        refused(&|request| drop(request.headers_mut().insert(&name, HeaderValue::from_static(value))))
    };
    for error in [
        without(header::UPGRADE),
        without(header::CONNECTION),
        with(header::UPGRADE, "h2c"),
        with(header::CONNECTION, "close"),
        refused(&|request| *request.method_mut() = Method::POST),
        refused(&|request| *request.version_mut() = Version::HTTP_10),
        refused(&|request| *request.version_mut() = Version::HTTP_2),
    ] {
        assert_eq!((&error, error.status().as_u16()), (&HandshakeError::NotWebSocket, 400), "[UPG-05]");
    }
    for error in [
        without(header::SEC_WEBSOCKET_KEY),
        without(header::SEC_WEBSOCKET_VERSION),
        with(header::SEC_WEBSOCKET_KEY, "c2hvcnQ="),
        with(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ"),
        with(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZSE="),
    ] {
        assert!(matches!(error, HandshakeError::Malformed(_)) && error.status() == 400, "[UPG-03a] {error}");
    }
    let wrong = with(header::SEC_WEBSOCKET_VERSION, "8");
    assert_eq!(wrong, HandshakeError::WrongVersion);
    // [UPG-03b] however it is passed on
    for response in [wrong.response(), dispatch::error_response(&Error::from(wrong.clone()))] {
        assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(response.headers()["sec-websocket-version"], "13");
        assert_eq!(response.headers()["upgrade"], "websocket");
    }
}

#[test]
fn without_the_capability_it_is_an_error() {
    for (upgrade, websocket) in [(false, false), (false, true), (true, false)] {
        let environ = environ(upgrade, websocket, ShutdownTrigger::new());
        let error = Upgrade::from_request(&handshake(), &environ).unwrap_err();
        assert_eq!((&error, error.status().as_u16()), (&HandshakeError::Unsupported, 501), "[UPG-25]");
        assert_eq!(Error::from(error).status(), 501);
    }
}

#[test]
fn what_can_not_be_sent_is_the_applications_mistake() {
    let upgrade = || Upgrade::from_request(&handshake(), &offering().0).unwrap();
    let value = HeaderValue::from_static("1");
    for upgrade in [
        upgrade().protocol("not offered"),
        upgrade().header(header::SEC_WEBSOCKET_ACCEPT, value.clone()),
        upgrade().header(header::SEC_WEBSOCKET_EXTENSIONS, value.clone()),
        upgrade().header(header::CONTENT_LENGTH, value.clone()),
        upgrade().header(header::UPGRADE, value.clone()),
    ] {
        let error = upgrade.accept(|socket| async move { drop(socket) }).unwrap_err();
        assert!(matches!(error, HandshakeError::Unsendable(_)) && error.status() == 500, "[UPG-07] {error}");
    }
}
