//! A client whose clock stands still: hours pass at once, in order, and not before they may.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use adapter_core::testing::Client;
use adapter_core::{Body, Environ, Error, Request, Response, ServerConfig, blocking};
use futures_lite::{StreamExt as _, stream};

const HOUR: Duration = Duration::from_secs(3600);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Says what the time is, three times.
async fn telling(_request: Request, environ: Environ) -> Result<Response, Error> {
    let began = environ.runtime().now();
    let pauses = stream::iter([0, 3, 5]).then(move |pause| {
        let runtime = environ.runtime().clone();
        async move {
            runtime.sleep(seconds(pause)).await;
            format!("{}\n", (runtime.now() - began).as_secs())
        }
    });
    Ok(Response::new(Body::from_stream(pauses)))
}

#[test]
fn time_jumps_to_where_something_happens() {
    let client = Client::with_paused_time(telling);
    let real = Instant::now();
    let began = client.now();
    let mut answer = client.get("/").open();
    for (piece, after) in [("0\n", 0), ("3\n", 3), ("8\n", 8)] {
        assert_eq!(answer.chunk().unwrap().unwrap(), piece);
        assert_eq!(client.now() - began, seconds(after), "no further than it must");
    }
    assert!(answer.chunk().is_none());
    assert_eq!(client.get("/").send().text(), "0\n3\n8\n");
    assert_eq!(client.now() - began, seconds(16));
    assert!(real.elapsed() < seconds(8), "a test of hangs, not of speed");
}

#[test]
fn time_does_not_pass_while_the_test_does_other_things() {
    let client = Client::with_paused_time(telling);
    let began = client.now();
    let mut answer = client.get("/").open();
    assert_eq!(answer.chunk().unwrap().unwrap(), "0\n");
    // It sleeps, and nobody waits.
    client.advance(seconds(2));
    assert_eq!(client.now() - began, seconds(2));
    client.advance(seconds(2));
    assert_eq!(client.now() - began, seconds(4));
    assert_eq!(answer.chunk().unwrap().unwrap(), "3\n", "it was there at its time");
    client.advance(HOUR);
    assert_eq!(answer.chunk().unwrap().unwrap(), "8\n");
}

#[test]
fn spawned_tasks_and_blocking_work_are_waited_for() {
    async fn gather(_request: Request, environ: Environ) -> Result<Response, Error> {
        let runtime = environ.runtime();
        let sleeper = |hours| {
            let later = runtime.clone();
            runtime.spawn(async move { later.sleep(HOUR * hours).await })
        };
        let began = runtime.now();
        let (one, two) = (sleeper(1), sleeper(2));
        // Time stands while a thread works.
        let worked = runtime.run_blocking(move || std::thread::sleep(Duration::from_millis(20)));
        worked.await?;
        let stood = runtime.now() == began;
        two.await?;
        one.await?;
        Ok(Response::new(Body::from(format!("{stood} {}", (runtime.now() - began).as_secs()))))
    }
    for _ in 0..50 {
        assert_eq!(Client::with_paused_time(gather).get("/").send().text(), "true 7200");
    }
}

#[test]
fn timeouts_are_in_the_same_time() {
    let mut config = ServerConfig::default();
    config.timeouts.handler = Some(HOUR);
    let late = |_request: Request, environ: Environ| async move {
        environ.runtime().sleep(HOUR * 2).await;
        Ok::<_, Error>(Response::default())
    };
    let client = Client::with_paused_time(late).configured(config);
    let began = client.now();
    assert_eq!(client.get("/").send().status(), 503);
    assert_eq!(client.now() - began, HOUR);
    let limited = |_request: Request, environ: Environ| async move {
        let never = poll_fn(|_| Poll::<()>::Pending);
        let outcome = environ.runtime().timeout(HOUR, never).await;
        Ok::<_, Error>(Response::new(Body::from(format!("{outcome:?}"))))
    };
    assert_eq!(Client::with_paused_time(limited).get("/").send().text(), "Err(Elapsed)");
}

#[test]
fn intervals_tick_once_a_period() {
    let ticking = |_request: Request, environ: Environ| async move {
        let mut ticks = environ.runtime().interval(HOUR);
        for _ in 0..24 {
            ticks.tick().await;
        }
        Ok::<_, Error>(Response::default())
    };
    let client = Client::with_paused_time(ticking);
    let began = client.now();
    client.get("/").send();
    assert_eq!(client.now() - began, HOUR * 24);
}

#[test]
fn a_client_may_go_away_in_the_middle() {
    let client = Client::with_paused_time(telling);
    let mut answer = client.get("/").open();
    assert_eq!(answer.chunk().unwrap().unwrap(), "0\n");
    answer.disconnect();
    assert_eq!(client.get("/").send().text(), "0\n3\n8\n", "nobody is busy for ever");
}

#[test]
fn blocking_applications_work_as_ever() {
    let application = blocking(|_request, _environ| Ok::<_, Error>(Response::new(Body::from_iterator(["a", "b"]))));
    assert_eq!(Client::with_paused_time(application).get("/").send().text(), "ab");
}

#[cfg(feature = "websocket")]
#[test]
fn websockets_live_in_the_same_time() {
    use adapter_core::websocket::{self, Upgrade};
    let slow = |request: Request, environ: Environ| async move {
        let runtime = environ.runtime().clone();
        let upgrade = Upgrade::from_request(&request, &environ)?.idle_timeout(None);
        Ok::<_, Error>(upgrade.accept(move |mut socket| async move {
            while let Some(message) = socket.recv().await {
                runtime.sleep(HOUR).await;
                socket.send(message?).await?;
            }
            Ok::<_, websocket::Error>(())
        })?)
    };
    let client = Client::with_paused_time(slow);
    let began = client.now();
    let mut socket = client.get("/").websocket().unwrap();
    for _ in 0..3 {
        socket.send("hello").unwrap();
        assert_eq!(socket.recv().unwrap().unwrap().as_text(), Some("hello"));
    }
    assert_eq!(client.now() - began, HOUR * 3);
    socket.close(1000, "").unwrap();
}

/// Two that wake at once, again and again: none sees a time that the other has not come to.
#[test]
fn who_sleeps_until_the_same_time_wakes_at_it() {
    async fn race(_request: Request, environ: Environ) -> Result<Response, Error> {
        let runtime = environ.runtime();
        let runners: Vec<_> = (0..4)
            .map(|_| {
                let own = runtime.clone();
                runtime.spawn(async move {
                    for _ in 0..50 {
                        let due = own.now() + HOUR;
                        own.sleep_until(due).await;
                        assert_eq!(own.now(), due, "woken late");
                    }
                })
            })
            .collect();
        for runner in runners {
            runner.await?;
        }
        Ok(Response::new(Body::from("together")))
    }
    let client = Client::with_paused_time(race);
    let began = client.now();
    assert_eq!(client.get("/").send().text(), "together");
    assert_eq!(client.now() - began, HOUR * 50);
}

#[test]
fn never_does_not_come() {
    let patient = |_request: Request, environ: Environ| async move {
        environ.runtime().spawn_daemon(environ.runtime().sleep(Duration::MAX)).detach();
        environ.runtime().sleep(HOUR).await;
        Ok::<_, Error>(Response::new(Body::from("an hour")))
    };
    let client = Client::with_paused_time(patient);
    let began = client.now();
    assert_eq!(client.get("/").send().text(), "an hour");
    assert_eq!(client.get("/").open().finish().text(), "an hour");
    assert_eq!(client.now() - began, HOUR * 2);
}

/// [ENV-11]
#[test]
fn a_request_is_not_from_the_future() {
    use adapter_core::lint::Lint;
    let client = Client::with_paused_time(Lint::new(telling));
    client.advance(HOUR);
    assert_eq!(client.get("/").send().status(), 200);
}
