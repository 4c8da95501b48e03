//! A fixed contract for load generators and outside test suites: the routes are listed at [`routes::Testbed`].
//!
//! `cargo run --release --example testbed -- --server hyper --bind 127.0.0.1:8080`

mod fetch;
mod file;
mod routes;

use std::process::ExitCode;

use adapter_web::{Args, Launcher};

use crate::routes::Testbed;

#[derive(clap::Parser)]
#[command(name = "testbed", version, about = "A fixed contract for load generators and outside test suites")]
struct Cli {
    #[command(flatten)]
    serving: Args,

    /// Answer unknown routes with 200 and the request as the application saw it, not with 404
    #[arg(long, env = "ADAPTER_REFLECT", value_parser = clap::builder::BoolishValueParser::new())]
    reflect: bool,
}

fn main() -> ExitCode {
    adapter_web::cli::main(|cli: Cli| {
        let launcher = Launcher::new(&cli.serving)?;
        launcher.run(Testbed::new(cli.reflect)?.into_application())
    })
}
