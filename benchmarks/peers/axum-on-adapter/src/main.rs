//! The same axum application on the adapters: `--server NAME`.

use std::process::ExitCode;

use adapter_web::{Args, cli};

#[derive(clap::Parser)]
struct Options {
    #[command(flatten)]
    serving: Args,
    #[arg(long)]
    port: u16,
}

fn main() -> ExitCode {
    cli::main(|mut options: Options| {
        options.serving.binds = vec![std::net::SocketAddr::from(([127, 0, 0, 1], options.port)).into()];
        adapter_web::run(peer_axum::router(), &options.serving)
    })
}
