//! The programs of Bottle's "Primer to Asynchronous Applications", on one page that a browser shows.
//!
//! `cargo run --release --example primer`, then open the address it prints.

mod primer;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    adapter_web::serve!(primer::Primer::new())
}
