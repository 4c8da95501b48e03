//! `cargo run -p grpc`, then ask it, as with `grpcurl -plaintext 127.0.0.1:8080 list`; `-- --server smol` is another server.

use std::process::ExitCode;

use adapter_web::{Args, Launcher, axum_at_startup, cli};

/// A gRPC service
#[derive(clap::Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    serving: Args,
}

fn main() -> ExitCode {
    cli::main(|cli: Cli| {
        // gRPC is HTTP/2.
        let mut launcher = Launcher::new(&cli.serving)?.require("http2")?;
        grpc::for_streams(launcher.config());
        launcher.run(axum_at_startup(grpc::app))
    })
}
