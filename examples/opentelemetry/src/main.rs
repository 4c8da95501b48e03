//! Sends a span for each request to a collector of OpenTelemetry: `cargo run -- --access-log events`

mod telemetry;

use std::process::ExitCode;

use adapter_web::cli::{self, Exit};
use adapter_web::observe::Route;
use adapter_web::{Args, Body, Environ, Error, Launcher, Request, Response};

use crate::telemetry::Traced;

/// Says hello, and tells a collector of OpenTelemetry about it
#[derive(clap::Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    serving: Args,
}

async fn hello(request: Request, _environ: Environ) -> Result<Response, Error> {
    let Some(name) = request.uri().path().strip_prefix("/hello/") else {
        return Ok(Response::builder().status(404).body(Body::from("try /hello/you\n"))?);
    };
    // A span of the program's own, beneath that of the request.
    let text = tracing::info_span!("greet").in_scope(|| format!("Hello, {name}!\n"));
    let mut response = Response::new(Body::from(text));
    response.extensions_mut().insert(Route::from("/hello/{name}"));
    Ok(response)
}

fn main() -> ExitCode {
    cli::main(|cli: Cli| {
        // In front of the launcher, which leaves a subscriber alone that is there.
        let telemetry = telemetry::start().map_err(Exit::failed)?;
        let ended = Launcher::new(&cli.serving).and_then(|launcher| launcher.run(Traced(hello)));
        // Also where that failed: what is not sent yet is wanted then most of all.
        telemetry.finish();
        ended
    })
}
