//! The in-process client within tokio: what works, and what says why it can't.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use adapter_core::testing::Client;
use adapter_core::{Body, Environ, Error, Request, Response};

async fn sleeps(_request: Request, _environ: Environ) -> Result<Response, Error> {
    tokio::time::sleep(Duration::from_millis(10)).await;
    Ok(Response::new(Body::from("slept")))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn send_async_finds_the_runtime() {
    let answer = runtime().block_on(Client::new(sleeps).get("/").send_async());
    assert_eq!(answer.text(), "slept");
}

#[test]
fn send_tells_that_it_blocks_the_runtime_the_application_needs() {
    let panic = runtime().block_on(async { catch_unwind(AssertUnwindSafe(|| Client::new(sleeps).get("/").send())) });
    let payload = panic.expect_err("a panic, long before a minute is over");
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(message.contains("send_async().await"), "{message}");
}

#[test]
fn open_answers_where_there_is_no_tokio() {
    let status = runtime().block_on(async { Client::new(sleeps).get("/").open().status() });
    assert_eq!(status, 500);
}
