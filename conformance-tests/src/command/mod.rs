//! Command line of `conformance`. An `Err` is wrong use: one line, exit status 2.

mod run;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;

use adapter_core::Bind;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use conformance_tests::specification::Requirement;
use conformance_tests::{kills, registry, specification};

/// Conformance suite for servers that run adapter-core applications.
#[derive(Debug, Parser)]
#[command(name = "conformance", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run cases and report what became of them; exit status 1 if any failed.
    Run(RunOptions),
    /// List the cases.
    List {
        /// Only cases whose name contains this, or that test this requirement.
        filter: Option<String>,
    },
    /// Say what a case does, or which cases test a requirement.
    Explain {
        /// A case (`target::path_is_raw`), or the id of a requirement (`TGT-04`) or of a family (`TGT-10`).
        what: String,
    },
    /// Serve the conformance application, for `run --external` in another process.
    Serve {
        /// The server, by name.
        #[arg(long)]
        server: String,
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:8080")]
        bind: Bind,
    },
}

/// What to run, and how to report it.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("subject").required(true)))]
pub(crate) struct RunOptions {
    /// A server by name, or `all`; may be repeated.
    #[arg(long, value_name = "NAME", group = "subject")]
    server: Vec<String>,
    /// A server in another process, with the conformance application mounted.
    #[arg(long, value_name = "HOST:PORT", group = "subject")]
    external: Option<String>,
    /// Only cases whose name contains this, or that test this requirement; may be repeated.
    #[arg(long, value_name = "FILTER")]
    case: Vec<String>,
    /// How to report on standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Also write the report as one page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also excuse servers by this file, which has the form of spec/exceptions.toml.
    #[arg(long, value_name = "FILE")]
    exceptions: Option<PathBuf>,
    /// Cases at a time.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A matrix of groups and servers, with failures in full.
    Table,
    /// Everything, as one document.
    Json,
    /// JUnit's XML.
    Junit,
}

/// Does what was asked.
pub(crate) fn run(options: Options) -> Result<ExitCode, String> {
    match options.command {
        Command::Run(options) => run::run(&options),
        Command::List { filter } => list(filter.as_deref()),
        Command::Explain { what } => explain(&what),
        Command::Serve { server, bind } => serve(&server, bind),
    }
}

fn list(filter: Option<&str>) -> Result<ExitCode, String> {
    let cases = registry::matching(filter.unwrap_or(""));
    if cases.is_empty() {
        return Err(format!("no case is called like \"{}\", and no requirement is", filter.unwrap_or("")));
    }
    for listed in &cases {
        let (case, ids) = (listed.case, listed.case.requirements.join(" "));
        println!("{:<60} {:<6} {ids:<30} {}", listed.name(), case.level.word(), case.title);
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(what: &str) -> Result<ExitCode, String> {
    let requirements = specification::family(what);
    if !requirements.is_empty() {
        for requirement in requirements {
            explain_requirement(&requirement);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let known = registry::all().find(|listed| listed.name() == what || listed.case.id == what);
    let listed =
        known.ok_or_else(|| format!("\"{what}\" is neither a case nor a requirement; see `conformance list`"))?;
    println!("{}\n{}\n", listed.name(), listed.case.title);
    let capability = listed.case.capability.unwrap_or("none");
    println!("Level: {}. Capability: {capability}. Setting: {}.", listed.case.level.word(), listed.case.setting.name);
    for id in listed.case.requirements {
        if let Some(requirement) = specification::find(id) {
            println!("\n{id} {}\n{}", requirement.title, requirement.text);
            if !requirement.source.is_empty() {
                println!("Source: {}", requirement.source);
            }
        }
    }
    let faults = kills::faults_of(&listed.name());
    if !faults.is_empty() {
        println!("\nServers broken on purpose fail it where {}.", faults.join(", ").replace('_', " "));
    }
    Ok(ExitCode::SUCCESS)
}

fn explain_requirement(requirement: &Requirement) {
    let Requirement { id, title, text, source, capability, .. } = requirement;
    println!("{id} {title}\n{text}");
    if !source.is_empty() {
        println!("Source: {source}");
    }
    if let Some(capability) = capability {
        println!("Capability: {capability}");
    }
    let cases: Vec<_> = registry::all().filter(|listed| listed.case.requirements.contains(&id.as_str())).collect();
    println!("{}", if cases.is_empty() { "No case tests it." } else { "Cases:" });
    for listed in cases {
        println!("  {}: {}", listed.name(), listed.case.title);
    }
    println!();
}

fn serve(name: &str, bind: Bind) -> Result<ExitCode, String> {
    let server = servers::find(name)?;
    conformance_tests::serve(&*server, bind).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}
