//! Applications that are made when the server starts, on every server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use adapter_web::{
    Application, Body, DynApplication, Environ, Error, Request, Response, ServeError, ServerInfo, at_startup,
    axum_at_startup,
};
use axum::Router;
use axum::routing::get;

use crate::support::{ask, config, each, start};

/// Tells of its hooks.
struct Made(mpsc::Sender<String>, usize);

impl Application for Made {
    async fn call(&self, _request: Request, _environ: Environ) -> Result<Response, Error> {
        Ok(Response::new(Body::from(format!("number {}", self.1))))
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        assert!(!server.local_addrs.is_empty());
        Ok(self.0.send(format!("startup {}", self.1))?)
    }

    async fn shutdown(&self) -> Result<(), Error> {
        Ok(self.0.send(format!("shutdown {}", self.1))?)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.0.send(format!("drop {}", self.1));
    }
}

#[test]
fn each_start_makes_one_and_runs_its_hooks() {
    for server in adapter_web::servers() {
        println!("on {}", server.info().name);
        let (told, tell) = mpsc::channel();
        let count = AtomicUsize::new(0);
        let application = DynApplication::new(at_startup(move || {
            let made = Made(told.clone(), count.fetch_add(1, Ordering::Relaxed));
            async move { Ok::<_, Error>(made) }
        }));
        for n in 0..2 {
            let running = start(server, application.clone(), config());
            assert_eq!(ask(&running, "/"), (200, format!("number {n}")));
            running.stop();
        }
        drop(application);
        let all: Vec<_> = tell.iter().collect();
        assert_eq!(all, ["startup 0", "shutdown 0", "startup 1", "drop 0", "shutdown 1", "drop 1"]);
    }
}

#[test]
fn an_error_ends_the_start() {
    for server in adapter_web::servers() {
        let fails = || async { Err::<Made, _>(Error::new("no database")) };
        let error = server.start(DynApplication::new(at_startup(fails)), config()).err().unwrap();
        assert!(matches!(error, ServeError::Startup(_)), "{error:?}");
        assert!(error.to_string().contains("no database"), "{error}");
    }
}

/// What a pool of sqlx's does: tasks and timers of tokio's, before there is a router.
#[test]
fn a_router_is_made_within_tokio() {
    let app = || async {
        let greeting = tokio::spawn(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            "made"
        });
        let greeting = greeting.await?;
        Ok::<_, Error>(Router::new().route("/", get(move || async move { greeting })))
    };
    each(axum_at_startup(app), |server| assert_eq!(ask(&server, "/"), (200, "made".to_owned())));
}
