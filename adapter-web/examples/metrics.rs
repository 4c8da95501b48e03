//! An observer of one's own: what `--metrics-bind` does not tell, from the same events.
//!
//! ```text
//! $ cargo run --example metrics -- --bind 127.0.0.1:8080
//! $ curl http://127.0.0.1:8080/users/7 http://127.0.0.1:8080/observed
//! ```
//!
//! `Slowest` remembers the slowest request of each route, and how often clients did not wait for the end. An observer runs on the
//! threads that serve: it does little, and holds its lock for a moment only. Another one might hand the events on to a facade of
//! metrics, such as the crates `metrics` or `opentelemetry`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapter_web::observe::{Observer, RequestEnd, RequestEnded, Route};
use adapter_web::{Args, Body, Environ, Error, Launcher, Request, Response};
use clap::Parser;

#[derive(Debug, Default)]
struct Slowest {
    routes: Mutex<BTreeMap<String, Duration>>,
    impatient: AtomicU64,
}

impl Observer for Slowest {
    fn request_ended(&self, request: &RequestEnded<'_>) {
        if request.how == RequestEnd::ClientGone {
            self.impatient.fetch_add(1, Ordering::Relaxed);
        }
        // Never the path: clients can invent any number of them.
        let route = request.route.unwrap_or("(no route)");
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        match routes.get_mut(route) {
            Some(slowest) => *slowest = request.to_last.max(*slowest),
            None => {
                routes.insert(route.to_owned(), request.to_last);
            }
        }
    }
}

impl Slowest {
    fn report(&self) -> String {
        let mut report = format!("{} clients did not wait\n", self.impatient.load(Ordering::Relaxed));
        for (route, slowest) in &*self.routes.lock().unwrap_or_else(PoisonError::into_inner) {
            // Writing to a String can't fail.
            let _ = writeln!(report, "{route}: {slowest:?} at most");
        }
        report
    }
}

async fn answer(request: Request, observer: Arc<Slowest>) -> Result<Response, Error> {
    let path = request.uri().path();
    if path == "/observed" {
        return Ok(Response::new(Body::from(observer.report())));
    }
    let Some(user) = path.strip_prefix("/users/") else {
        return Ok(Response::builder().status(404).body(Body::from("nothing here\n"))?);
    };
    let mut response = Response::new(Body::from(format!("user {user}\n")));
    response.extensions_mut().insert(Route::from("/users/{id}"));
    Ok(response)
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serving: Args,
}

fn main() -> ExitCode {
    adapter_web::cli::main(|cli: Cli| {
        let observer = Arc::new(Slowest::default());
        let mut launcher = Launcher::new(&cli.serving)?;
        let config = launcher.config();
        *config = std::mem::take(config).observe(observer.clone());
        launcher.run(move |request: Request, _: Environ| answer(request, observer.clone()))
    })
}
