//! What no client of gRPC shows: an error is a head alone, and a deadline is kept by the server even if the client does not.

#![allow(clippy::unwrap_used, reason = "tests")]

use adapter_web::axum_at_startup;
use adapter_web::testing::{Answer, Client};
use grpc::numbers::{DivideRequest, GivenUpRequest};
use prost::Message;

/// Calls a method with one message.
fn call(method: &str, message: &impl Message, timeout: &str) -> Answer {
    let mut body = vec![0];
    body.extend(u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
    body.extend(message.encode_to_vec());
    let request = Client::new(axum_at_startup(grpc::app)).post(&format!("/numbers.v1.Numbers/{method}"), body);
    request.header("content-type", "application/grpc").header("te", "trailers").header("grpc-timeout", timeout).send()
}

#[test]
fn an_error_is_a_head_alone() {
    let answer = call("Divide", &DivideRequest { dividend: 1, divisor: 0 }, "1M");
    assert_eq!((answer.status().as_u16(), answer.header("grpc-status")), (200, Some("3")));
    assert_eq!((answer.body().len(), answer.trailers()), (0, None));
}

#[test]
fn the_server_keeps_the_deadline() {
    let answer = call("GivenUp", &GivenUpRequest { at_least: 1 }, "20m");
    assert_eq!((answer.header("grpc-status"), answer.body().len()), (Some("4"), 0));
    let answer = call("GivenUp", &GivenUpRequest { at_least: 0 }, "1M");
    assert_eq!((answer.header("grpc-status"), answer.body().len()), (None, 5));
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
}

#[test]
fn streams_have_their_status_behind_them() {
    let count = grpc::numbers::CountRequest { to: 3, pause: 0 };
    let answer = call("Count", &count, "1M");
    assert_eq!((answer.header("grpc-status"), answer.body().len()), (None, 3 * 7));
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
    let count = grpc::numbers::CountRequest { to: i64::MAX, pause: 1 };
    assert_eq!(call("Count", &count, "50m").trailers().unwrap()["grpc-status"], "4");
}
