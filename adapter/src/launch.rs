//! From a command line to a server that has stopped.
//!
//! Runs on the main thread, which picks the server, starts it, and then only waits; signals are watched by a thread
//! of their own. Nothing here is on the path of a request.

use std::io::{self, Write as _};
use std::process::ExitCode;

use adapter_core::{Application, DynApplication, ListenAddr, ServeError, Server, ServerConfig};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::access_log::{self, AccessLog, Format};
use crate::cli::{self, Args, Exit};
use crate::{inherited, registry};

/// Serves `application` as the command line says, until a signal ends it: the body of a `fn main`.
///
/// Wrong use and failures are told in one line on stderr, and by the exit status: 2 for wrong use, 1 for what failed
/// at run time. SIGINT and SIGTERM drain, a second one forces, a third one kills.
///
/// ```no_run
/// use adapter::{Body, Environ, Error, Request, Response};
///
/// fn main() -> std::process::ExitCode {
///     adapter::serve(|_request: Request, _environ: Environ| async {
///         Ok::<_, Error>(Response::new(Body::from("Hello, World!\n")))
///     })
/// }
/// ```
pub fn serve(application: impl Application) -> ExitCode {
    /// An HTTP application with its server picked by name
    #[derive(clap::Parser)]
    #[command(version)]
    struct Plain {
        #[command(flatten)]
        args: Args,
    }
    cli::main(|plain: Plain| run(application, &plain.args))
}

/// Serves `application` as `args` say. Blocks until the server has stopped.
///
/// # Errors
/// [`Exit`]: why it could not be served, or did not end well.
pub fn run(application: impl Application, args: &Args) -> Result<(), Exit> {
    Launcher::new(args)?.run(application)
}

/// A server that is chosen and configured, but not started yet.
#[must_use = "nothing is served until `run` is called"]
pub struct Launcher {
    server: &'static dyn Server,
    config: ServerConfig,
    access_log: Format,
}

impl Launcher {
    /// Picks and configures the server `args` name. Sets up logging to stderr, unless the program has a `tracing`
    /// subscriber already.
    ///
    /// # Errors
    /// [`Exit`]: wrong use, or the list of servers if that was asked for.
    pub fn new(args: &Args) -> Result<Self, Exit> {
        if args.list_servers {
            return Err(Exit::done(registry::table()));
        }
        Launcher::with_server(registry::server(&args.server)?, args)
    }

    /// As [`new`](Self::new), with a server that is in no registry; `args.server` is not looked at.
    ///
    /// # Errors
    /// [`Exit`]: wrong use.
    pub fn with_server(server: &'static dyn Server, args: &Args) -> Result<Self, Exit> {
        let config = args.config()?;
        init_logging(&args.log, args.access_log)?;
        Ok(Launcher { server, config, access_log: args.access_log })
    }

    /// The configuration, for what flags can't say, such as [`ServerConfig::values`].
    pub fn config(&mut self) -> &mut ServerConfig {
        &mut self.config
    }

    /// Starts the server, prints where it listens, and blocks until it has stopped.
    ///
    /// Sockets inherited through `LISTEN_FDS` replace the addresses of the configuration.
    ///
    /// # Errors
    /// [`Exit`] with status 1 if it could not start or did not stop well, 2 if the server refuses a setting.
    pub fn run(mut self, application: impl Application) -> Result<(), Exit> {
        let inherited = inherited::take()?;
        if !inherited.is_empty() {
            if !self.config.binds.is_empty() {
                tracing::warn!(target: "adapter", "LISTEN_FDS is set; the addresses to bind are not used");
            }
            self.config.binds = inherited;
        }
        // Before the start, so that a signal during a long startup hook is not lost.
        #[cfg(unix)]
        let signals = crate::signals::Signals::watch().map_err(ServeError::Io)?;
        let writer = match self.access_log {
            Format::Common | Format::Combined => Some(access_log::Writer::stdout().map_err(ServeError::Io)?),
            Format::Off | Format::Events => None,
        };
        let application = DynApplication::new(application);
        let application = match self.access_log {
            Format::Off => application,
            format => DynApplication::new(AccessLog::new(application, format, writer.as_ref())),
        };
        let prefix = self.config.mount_prefix.clone();
        let info = self.server.info();
        let handle = self.server.start(application, self.config)?;
        // Before anybody is told that it listens, so that whoever was told can stop it.
        #[cfg(unix)]
        signals.attach(handle.trigger());
        for address in handle.local_addrs() {
            let url = describe(address, &prefix);
            // Nobody reads stderr: no reason not to serve.
            let _ = writeln!(io::stderr(), "adapter: {} {} listening on {url}", info.name, info.version);
        }
        let ended = handle.wait();
        if let Some(writer) = writer {
            writer.close();
        }
        ended.map_err(Exit::from)
    }
}

impl std::fmt::Debug for Launcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launcher")
            .field("server", &self.server.info().name)
            .field("config", &self.config)
            .field("access_log", &self.access_log)
            .finish()
    }
}

/// What to open in a browser, or the path of the socket.
fn describe(address: &ListenAddr, prefix: &str) -> String {
    match address {
        ListenAddr::Tcp(bound) if bound.ip().is_unspecified() => {
            format!("http://localhost:{}{prefix} (every interface: {bound})", bound.port())
        }
        ListenAddr::Tcp(bound) => format!("http://{bound}{prefix}"),
        other => other.to_string(),
    }
}

fn init_logging(directives: &str, access_log: Format) -> Result<(), Exit> {
    // tracing would take a misspelt level for the name of a target, and log nothing.
    let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
    if let Some(part) = directives.split(',').find(|part| !part.contains(['=', '[', '{', '}', ']']) && !is_level(part))
    {
        return Err(Exit::usage(format_args!("--log: \"{part}\" is no level (off, error, warn, info, debug, trace)")));
    }
    let problem = |error| Exit::usage(format_args!("--log: {error}"));
    let mut filter = EnvFilter::try_new(directives).map_err(problem)?;
    // The lines on stdout say it already; who wants the events as well asks for them by name.
    if matches!(access_log, Format::Common | Format::Combined)
        && !directives.contains(access_log::TARGET)
        && let Ok(directive) = format!("{}=warn", access_log::TARGET).parse()
    {
        filter = filter.add_directive(directive);
    }
    // An error means that the program has a subscriber of its own, which is then the one to use.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).try_init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_as_urls() {
        let tcp = |text: &str| ListenAddr::Tcp(text.parse().expect("an address"));
        assert_eq!(describe(&tcp("127.0.0.1:80"), ""), "http://127.0.0.1:80");
        assert_eq!(describe(&tcp("[::1]:80"), "/shop"), "http://[::1]:80/shop");
        assert_eq!(describe(&tcp("0.0.0.0:80"), ""), "http://localhost:80 (every interface: 0.0.0.0:80)");
        assert_eq!(describe(&ListenAddr::Unix("/run/x".into()), "/shop"), "unix:/run/x");
    }
}
