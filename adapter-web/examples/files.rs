//! A folder, served: `cargo run --example files -- --bind 127.0.0.1:8080 FOLDER`
//!
//! ```text
//! $ curl -i http://127.0.0.1:8080/
//! $ curl -H 'Range: bytes=0-99' http://127.0.0.1:8080/film.mp4
//! ```
//!
//! `--listing` answers folders that have no index with a list of what is in them. What has a hash in its name below `assets/` is kept by
//! browsers for a year; they ask about the rest each time. `app.js.br`, `app.js.zst` and `app.js.gz` stand in for `app.js` where
//! a client can read them.

use std::path::PathBuf;
use std::process::ExitCode;

use adapter_web::files::Directory;
use adapter_web::http::HeaderValue;
use adapter_web::{Args, Launcher};
use clap::Parser;

/// Serves a folder over HTTP
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serving: Args,
    /// The folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Show what is in folders that have no index.html
    #[arg(long)]
    listing: bool,
}

fn main() -> ExitCode {
    adapter_web::cli::main(|cli: Cli| {
        let site = Directory::new(&cli.folder)?.precompressed().immutable("assets/*");
        let site = site.cache_control("*", HeaderValue::from_static("no-cache"));
        Launcher::new(&cli.serving)?.run(if cli.listing { site.listing() } else { site })
    })
}
