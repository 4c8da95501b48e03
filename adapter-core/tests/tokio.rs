//! The in-process client and tokio: the application has a runtime wherever it is asked from.

#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use adapter_core::testing::Client;
use adapter_core::{Application, Body, Environ, Error, Request, Response, ServerInfo};
use tokio::runtime::Builder;

/// Needs timers and tasks of tokio's in all that it does.
struct Sleeper;

async fn sleep() -> Result<(), Error> {
    Ok(tokio::spawn(tokio::time::sleep(Duration::from_millis(1))).await?)
}

impl Application for Sleeper {
    async fn call(&self, _request: Request, environ: Environ) -> Result<Response, Error> {
        sleep().await?;
        // What it spawns by the interface finds tokio, too.
        environ.runtime().spawn(sleep()).await??;
        let body = futures_lite::stream::unfold(0, |count| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            (count < 3).then(|| (format!("{count} "), count + 1))
        });
        Ok(Response::new(Body::from_stream(body)))
    }

    async fn startup(&self, _server: &ServerInfo) -> Result<(), Error> {
        sleep().await
    }

    async fn shutdown(&self) -> Result<(), Error> {
        sleep().await
    }
}

fn ask() {
    let client = Client::new(Sleeper);
    client.startup().unwrap();
    assert_eq!(client.get("/").send().text(), "0 1 2 ");
    let mut open = client.get("/").open();
    assert_eq!(open.chunk().unwrap().unwrap(), "0 ");
    assert_eq!(open.finish().text(), "1 2 ");
    assert_eq!(client.get("/").upgrade().unwrap_err().text(), "0 1 2 ");
    assert_eq!(Client::new(Sleeper).on_threads().get("/").send().text(), "0 1 2 ");
    client.shutdown().unwrap();
}

#[test]
fn outside_of_any_runtime() {
    ask();
}

#[test]
fn in_a_runtime_of_one_thread() {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async { ask() });
}

#[test]
fn in_a_runtime_of_several() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { ask() });
    runtime.block_on(async { tokio::spawn(async { ask() }).await }).unwrap();
    let alone = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    alone.block_on(async { tokio::spawn(async { ask() }).await }).unwrap();
}

#[test]
fn awaited_in_the_runtime_whose_clock_is_paused() {
    async fn long(_request: Request, _environ: Environ) -> Result<Response, Error> {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Ok(Response::new(Body::from("an hour later")))
    }
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let answer = runtime.block_on(Client::new(long).get("/").send_async());
    assert_eq!(answer.text(), "an hour later");
}

#[test]
fn a_panic_is_the_tests_own() {
    struct Broken;
    impl Application for Broken {
        async fn call(&self, _: Request, _: Environ) -> Result<Response, Error> {
            Ok(Response::default())
        }
        async fn startup(&self, _: &ServerInfo) -> Result<(), Error> {
            Err(Error::new("no database"))
        }
    }
    let runtime = Builder::new_current_thread().build().unwrap();
    // A panic that tells where it happened takes seconds on a busy machine.
    let client = Client::new(Broken).patience(Duration::from_secs(60));
    let asked = std::panic::AssertUnwindSafe(|| runtime.block_on(async { client.get("/").send() }));
    let panic = std::panic::catch_unwind(asked).expect_err("the application could not start");
    assert!(panic.downcast_ref::<String>().unwrap().contains("no database"));
}

#[cfg(feature = "axum")]
#[test]
fn what_nobody_takes_of_axum_holds_no_blocking_thread() {
    use http_body::Body as _;

    const PIECE: &[u8] = &[7; 16 * 1024];
    let tokio = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).enable_time().build().unwrap();
    let all = async {
        let pieces = || Body::from_iterator(std::iter::repeat_n(PIECE, 64));
        let mut slow: Vec<axum::body::Body> = (0..3).map(|_| pieces().into()).collect();
        for body in &mut slow {
            let first = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await;
            assert_eq!(first.unwrap().unwrap().into_data().unwrap(), PIECE);
        }
        assert_eq!(tokio::task::spawn_blocking(|| "beside").await.unwrap(), "beside");
        for body in slow {
            assert_eq!(axum::body::to_bytes(body, usize::MAX).await.unwrap().len(), 63 * PIECE.len());
        }
    };
    tokio.block_on(async { tokio::time::timeout(Duration::from_secs(20), all).await }).unwrap();
}
