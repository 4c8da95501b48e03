//! The command `conformance`: runs the suite against servers by name or at an address, and explains it.

mod command;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    conformance_tests::alone::enter(command::servers().iter().map(|server| &**server));
    conformance_tests::application::quiet_panics();
    match command::run(command::Options::parse()) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("conformance: {message}");
            ExitCode::from(2)
        }
    }
}
