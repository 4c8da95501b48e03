//! A test on every server of this build that hands connections over.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "tests; not every test uses all of it")]

#[path = "../wire/mod.rs"]
mod wire;

use std::sync::Arc;

use adapter_core::http::{HeaderValue, StatusCode, header};
use adapter_core::{Application, Body, Response, ServerConfig};

#[allow(unused_imports, reason = "not every test uses all of it")]
pub use self::wire::*;

/// Asks for another protocol.
pub const ASK: &[u8] = b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// What a 101 says; its body must not be sent.
pub fn switching() -> Response {
    let mut response = Response::new(Body::from("not sent"));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("echo"));
    response
}

/// Runs `test` with each server in turn.
#[track_caller]
pub fn each(application: impl Application, test: impl FnMut(Running)) {
    each_with(config(), application, test);
}

#[track_caller]
pub fn each_with(config: ServerConfig, application: impl Application, mut test: impl FnMut(Running)) {
    let application = Arc::new(application);
    for server in adapter_web::servers() {
        let info = server.info();
        if info.capabilities.upgrade && info.capabilities.websocket {
            // Shown where the test fails.
            println!("on {}", info.name);
            test(start(server, application.clone(), config.clone()));
        }
    }
}

/// Status and body, of an HTTP/1.0 exchange.
pub fn ask(server: &Running, path: &str) -> (u16, String) {
    let mut client = Client::connect(server.addr);
    client.send(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").as_bytes());
    let (head, body) = client.whole();
    (status(&head), body)
}

/// Of a response's head.
pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
}

impl Client {
    /// Head and body of a response that the end of the connection ends.
    pub fn whole(&mut self) -> (String, String) {
        let head = self.head();
        let mut body = String::new();
        while let Some(octet) = self.exact(1) {
            body.push(char::from(octet[0]));
        }
        (head, body)
    }
}
