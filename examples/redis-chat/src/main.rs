//! `cargo run -p redis-chat -- --redis redis://127.0.0.1/`, on as many machines as you like; without `--redis` one process
//! keeps the chat in memory.

use std::process::ExitCode;

use adapter_web::cli::{self, Exit};
use adapter_web::{Args, Error, Launcher};
use redis_chat::application;
use redis_chat::store::{Memory, Redis};

/// A chat on more than one machine
#[derive(clap::Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    serving: Args,
    /// Where all processes keep the chat: redis://HOST:PORT/ [default: in memory, for one process]
    // There may be a password in it.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis: Option<String>,
}

fn main() -> ExitCode {
    cli::main(|cli: Cli| {
        let launcher = Launcher::new(&cli.serving)?;
        match cli.redis {
            None => launcher.run(application(|| Ok(Memory::default()))),
            Some(url) => {
                let client = Redis::client(&url).map_err(Exit::failed)?;
                launcher.run(application(move || Redis::new(client.clone()).map_err(Error::new)))
            }
        }
    })
}
