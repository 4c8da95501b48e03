//! `cargo run -p guestbook`, then open the address it prints; `-- --server smol` is another server.

use std::process::ExitCode;

use adapter_web::cli::{self, Exit};
use adapter_web::{Args, Launcher};
use guestbook::Store;

/// A guestbook, kept in SQLite
#[derive(clap::Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    serving: Args,
    /// File of the database; made if there is none
    #[arg(long, default_value = "guestbook.db")]
    database: std::path::PathBuf,
}

fn main() -> ExitCode {
    cli::main(|cli: Cli| {
        let launcher = Launcher::new(&cli.serving)?;
        let store = Store::open(&cli.database).map_err(Exit::failed)?;
        launcher.run(guestbook::application(store))
    })
}
