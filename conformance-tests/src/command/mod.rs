//! The command `conformance`: runs the suite against servers by name or at an address, and explains it. Feature `command`.
//!
//! A server author makes one that knows the own server beside those of this project that are among the features:
//!
//! ```no_run
//! # use adapter_core::{DynApplication, ServeError, Server, ServerConfig, ServerHandle, ServerInfo};
//! # struct MyServer;
//! # impl Server for MyServer {
//! #     fn info(&self) -> ServerInfo { ServerInfo::new("mine", "1") }
//! #     fn start(&self, _: DynApplication, _: ServerConfig) -> Result<ServerHandle, ServeError> { Err(ServeError::config("mine", "serves nothing")) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     conformance_tests::command::main(&[&MyServer])
//! }
//! ```
//!
//! Then `cargo run -- run --server mine --server hyper` prints both side by side.

mod run;
mod servers;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::registry::{self, Listed};
use crate::specification::{self, Requirement};
use crate::{alone, application, kills, secure, wire};
use adapter_core::{Bind, Server};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// Conformance suite for servers that run adapter-core applications.
#[derive(Debug, Parser)]
#[command(name = "conformance", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run cases and report what became of them; exit status 1 if any failed: a MUST, or a SHOULD without an entry in the
    /// exceptions.
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
        /// Serve over TLS, with a certificate of an authority nobody knows.
        #[arg(long)]
        tls: bool,
    },
}

/// What to run, and how to report it.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("subject").required(true)))]
struct RunOptions {
    /// A server by name, or `all`; may be repeated.
    #[arg(long, value_name = "NAME", group = "subject")]
    server: Vec<String>,
    /// A server in another process, with the conformance application mounted.
    #[arg(long, value_name = "HOST:PORT", group = "subject")]
    external: Option<String>,
    /// Speak TLS, and start the servers with it; of --external any certificate is taken.
    #[arg(long)]
    tls: bool,
    /// The web server in front of gateways: nginx, which it is by default, apache2, or another one that is known.
    #[arg(long, value_name = "NAME")]
    front: Option<String>,
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
    /// How long to wait for anything before it is missing: a time (`3s`, `500ms`), or a factor of the usual one (`2x`).
    #[arg(long, value_name = "TIME|FACTORx")]
    patience: Option<String>,
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

/// Runs the command line of this process, with `servers` beside those of this build: the body of a `fn main`, which must do
/// nothing before it, since a few cases start the program once more ([`alone`]). Blocks.
///
/// Wrong use is one line on stderr and status 2, as is a name that two servers have; a failed case is status 1.
pub fn main(servers: &[&'static dyn Server]) -> ExitCode {
    #[cfg(feature = "adapter-tls")]
    secure::provide(crate::own_tls::make);
    let known = servers::add(servers);
    let all = servers::all();
    alone::enter(all.iter().map(|server| &**server));
    application::quiet_panics();
    match known.and_then(|()| run(Options::parse())) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("conformance: {message}");
            ExitCode::from(2)
        }
    }
}

/// A time, or a multiple of the usual one.
fn patience(text: &str) -> Result<Duration, String> {
    let number = |unit: &str| text.strip_suffix(unit).and_then(|number| number.parse::<f64>().ok());
    let (number, unit) = match (number("ms"), number("s"), number("x")) {
        (Some(number), ..) => (number, Duration::from_millis(1)),
        (_, Some(number), _) => (number, Duration::from_secs(1)),
        (.., Some(number)) => (number, wire::patience()),
        _ => return Err(format!("\"{text}\" is neither a time, like 3s and 500ms, nor a factor, like 2x")),
    };
    let patience = Duration::try_from_secs_f64(number * unit.as_secs_f64()).unwrap_or_default();
    if (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&patience) {
        return Ok(patience);
    }
    Err(format!("a patience of {text} is not between 1 ms and an hour"))
}

/// Does what was asked. An `Err` is wrong use.
fn run(options: Options) -> Result<ExitCode, String> {
    match options.command {
        Command::Run(options) => run::run(&options),
        Command::List { filter } => list(filter.as_deref()),
        Command::Explain { what } => explain(&what),
        Command::Serve { server, bind, tls } => serve(&server, bind, tls),
    }
}

/// Writes to standard output. Somebody who closed the pipe has seen enough.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn list(filter: Option<&str>) -> Result<ExitCode, String> {
    let cases = registry::matching(filter.unwrap_or(""));
    if cases.is_empty() {
        return Err(format!("no case is called like \"{}\", and no requirement is", filter.unwrap_or("")));
    }
    let width = cases.iter().map(|listed| listed.name().len()).max().unwrap_or(0);
    let ids = cases.iter().map(|listed| listed.case.requirements.join(" ").len()).max().unwrap_or(0);
    let line = |listed: &Listed| {
        let (case, tested) = (listed.case, listed.case.requirements.join(" "));
        format!("{:<width$}  {:<6}  {tested:<ids$}  {}\n", listed.name(), case.level.word(), case.title)
    };
    print(&cases.iter().map(line).collect::<String>());
    Ok(ExitCode::SUCCESS)
}

fn explain(what: &str) -> Result<ExitCode, String> {
    let requirements = specification::family(what);
    if !requirements.is_empty() {
        print(&requirements.iter().map(about_requirement).collect::<Vec<_>>().join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let known = registry::all().find(|listed| listed.name() == what || listed.case.id == what);
    let listed =
        known.ok_or_else(|| format!("\"{what}\" is neither a case nor a requirement; see `conformance list`"))?;
    print(&about_case(&listed));
    Ok(ExitCode::SUCCESS)
}

fn about_requirement(requirement: &Requirement) -> String {
    let Requirement { id, title, text, source, capability, .. } = requirement;
    let mut about = format!("{id} {title}\n{text}\n");
    if !source.is_empty() {
        about.push_str(&format!("Source: {source}\n"));
    }
    if let Some(capability) = capability {
        about.push_str(&format!("Capability: {capability}\n"));
    }
    let cases: Vec<_> = registry::all().filter(|listed| listed.case.requirements.contains(&id.as_str())).collect();
    about.push_str(if cases.is_empty() { "No case tests it.\n" } else { "Cases:\n" });
    for listed in cases {
        about.push_str(&format!("  {}: {}\n", listed.name(), listed.case.title));
    }
    about
}

fn about_case(listed: &Listed) -> String {
    let case = listed.case;
    let mut about = format!("{}\n{}\n\nLevel: {}.", listed.name(), case.title, case.level.word());
    for capability in listed.capabilities() {
        about.push_str(&format!(" Only for servers that declare {capability}."));
    }
    about.push_str(&format!(" Setting: {}.\n", case.setting.name));
    for requirement in case.requirements.iter().filter_map(|id| specification::find(id)) {
        let Requirement { id, title, text, source, .. } = requirement;
        about.push_str(&format!("\n{id} {title}\n{text}\nSource: {source}\n"));
    }
    let faults = kills::faults_of(&listed.name());
    if !faults.is_empty() {
        let faults = faults.join(", ").replace('_', " ");
        about.push_str(&format!("\nServers broken on purpose fail it where {faults}.\n"));
    }
    about
}

fn serve(name: &str, bind: Bind, tls: bool) -> Result<ExitCode, String> {
    let server = servers::find(name)?;
    if tls {
        secure::everywhere()?;
    }
    crate::serve(&*server, bind).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}
