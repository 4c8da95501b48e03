//! Builds the servers, loads them in turn and prints one table a measurement. See README.md.

mod identity;
mod load;
mod measure;
mod nginx;
mod options;
mod plot;
mod process;
mod subjects;
mod table;
mod uvicorn;

use std::process::ExitCode;

use measure::{Bench, Measurement};
use options::Options;

fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if options.list {
        for measurement in Measurement::ALL {
            println!("measurement  {:<13} {}", measurement.name(), measurement.about());
        }
        for name in subjects::names() {
            println!("server       {name}");
        }
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benchmarks: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let bench = Bench::prepare(options)?;
    let mut results = Vec::new();
    for measurement in Measurement::ALL.into_iter().filter(|measurement| options.wants(*measurement)) {
        for table in measurement.run(&bench) {
            println!("{}", table.text());
            results.push(table.json());
        }
        // After each measurement, so that an interrupted run leaves what it has.
        if let Some(path) = &options.json {
            let text = serde_json::to_string_pretty(&results).expect("tables are plain data");
            std::fs::write(path, text + "\n").map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
    }
    Ok(())
}
