//! From a command line to a server that has stopped.
//!
//! Runs on the main thread, which picks the server, starts it, and then only waits; signals are watched by a thread
//! of their own. Nothing here is on the path of a request.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use adapter_core::server::LastReference;
use adapter_core::{Application, Bind, DynApplication, ListenAddr, ServeError, Server, ServerConfig};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::access_log::{self, AccessLog, Format};
use crate::cli::{self, Args, Exit};
#[cfg(unix)]
use crate::descriptors;
#[cfg(unix)]
use crate::signals::Signals;
use crate::{inherited, registry, stderr};

/// Serves `application` as the command line says, until a signal ends it: the body of a `fn main`.
///
/// Wrong use and failures are told in one line on stderr, and by the exit status: 2 for wrong use, 1 for what failed
/// at run time. SIGINT, SIGTERM and SIGHUP drain, a second one forces, a third one kills; the same one within a second is
/// the first once more. With `--tls-cert`, SIGHUP reads the certificates again.
///
/// `--help` and `--version` tell the program's name from how it was called, and this crate's version, for the program's
/// own is not known to a function: the macro [`serve!`](crate::serve!) knows it. Programs with flags call [`cli::main`].
///
/// ```no_run
/// use adapter_web::{Body, Environ, Error, Request, Response};
///
/// fn main() -> std::process::ExitCode {
///     adapter_web::serve(|_request: Request, _environ: Environ| async {
///         Ok::<_, Error>(Response::new(Body::from("Hello, World!\n")))
///     })
/// }
/// ```
pub fn serve(application: impl Application) -> ExitCode {
    Program::unknown().serve(application)
}

/// As the function [`serve`](fn@crate::serve), with the version of the crate that calls it for `--version`, and its
/// description for `--help`: `shop 0.3.0`.
///
/// ```no_run
/// use adapter_web::{Body, Environ, Error, Request, Response};
///
/// async fn hello(_request: Request, _environ: Environ) -> Result<Response, Error> {
///     Ok(Response::new(Body::from("Hello, World!\n")))
/// }
///
/// fn main() -> std::process::ExitCode {
///     adapter_web::serve!(hello)
/// }
/// ```
///
/// `serve!(hello, about = "Says hello")` has a description of its own.
#[macro_export]
macro_rules! serve {
    ($application:expr, about = $about:expr $(,)?) => {
        $crate::Program::new(::core::option_env!("CARGO_PKG_VERSION"), ::core::option_env!("CARGO_PKG_DESCRIPTION"))
            .about($about)
            .serve($application)
    };
    ($application:expr $(,)?) => {
        $crate::Program::new(::core::option_env!("CARGO_PKG_VERSION"), ::core::option_env!("CARGO_PKG_DESCRIPTION"))
            .serve($application)
    };
}

/// What a program without flags of its own says of itself. Made by [`serve!`](crate::serve!).
#[derive(Clone, Debug)]
pub struct Program {
    version: String,
    about: String,
}

impl Program {
    /// A program of that version and description, where they are known.
    pub fn new(version: Option<&str>, about: Option<&str>) -> Self {
        let mut program = Program::unknown();
        if let Some(version) = version {
            version.clone_into(&mut program.version);
        }
        match about {
            Some(about) if !about.is_empty() => program.about(about),
            _ => program,
        }
    }

    fn unknown() -> Self {
        let version = concat!("(version unknown), on adapter ", env!("CARGO_PKG_VERSION")).to_owned();
        Program { version, about: "Serves its application over HTTP, by a server picked by name".into() }
    }

    /// With another description.
    #[must_use]
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = about.into();
        self
    }

    /// As the function [`serve`](fn@crate::serve).
    pub fn serve(self, application: impl Application) -> ExitCode {
        #[derive(clap::Parser)]
        struct Plain {
            #[command(flatten)]
            args: Args,
        }
        let application = DynApplication::new(application);
        let _last = LastReference::of(&application);
        let name = program_name(std::env::args_os().next().as_deref().map(Path::new));
        let command = <Plain as clap::CommandFactory>::command().name(name).version(self.version).about(self.about);
        let parsed = cli::parse_with(command, std::env::args_os());
        match parsed.and_then(|plain: Plain| run(application, &plain.args)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(exit) => exit.report(),
        }
    }
}

/// The file this process was started from, without its folder.
fn program_name(called: Option<&Path>) -> String {
    let name = called.and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "the program".into())
}

/// Serves `application` as `args` say. Blocks until the server has stopped.
///
/// # Errors
/// [`Exit`]: why it could not be served, or did not end well.
pub fn run(application: impl Application, args: &Args) -> Result<(), Exit> {
    let application = DynApplication::new(application);
    let _last = LastReference::of(&application);
    Launcher::new(args).and_then(|launcher| launcher.run(application))
}

/// A server that is chosen and configured, but not started yet.
#[must_use = "nothing is served until `run` is called"]
pub struct Launcher {
    server: &'static dyn Server,
    /// Those it was picked from.
    among: Vec<&'static dyn Server>,
    /// Whether the program may pick another one.
    auto: bool,
    config: ServerConfig,
    access_log: Format,
    /// For whom a certificate was made for this run, and its fingerprint.
    fingerprint: Option<String>,
}

impl Launcher {
    /// Picks and configures the server `args` name. Sets up logging to stderr, unless the program has a `tracing`
    /// subscriber already.
    ///
    /// # Errors
    /// [`Exit`]: wrong use, such as certificates that can't be used, or the list of servers if that was asked for.
    pub fn new(args: &Args) -> Result<Self, Exit> {
        Launcher::among(&registry::servers(), args)
    }

    /// As [`new`](Self::new), with one of `servers`, such as some of the program's own beside
    /// [those of this build](crate::servers); `auto` is the first.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn among(servers: &[&'static dyn Server], args: &Args) -> Result<Self, Exit> {
        if args.list_servers {
            return Err(Exit::done(registry::table_of(servers)));
        }
        let mut launcher = Launcher::of(registry::pick(servers, &args.server)?, args)?;
        launcher.among = servers.to_vec();
        launcher.auto = args.server == registry::AUTO;
        launcher.with_what_tls_needs()
    }

    /// As [`new`](Self::new), with a server that is in no registry; `args.server` is not looked at.
    ///
    /// # Errors
    /// As [`new`](Self::new); the list of servers is that one.
    pub fn with_server(server: &'static dyn Server, args: &Args) -> Result<Self, Exit> {
        if args.list_servers {
            return Err(Exit::done(registry::table_of(&[server])));
        }
        Launcher::of(server, args)?.with_what_tls_needs()
    }

    fn of(server: &'static dyn Server, args: &Args) -> Result<Self, Exit> {
        // First, for a certificate may be warned of.
        init_logging(&args.log, args.access_log)?;
        let (config, fingerprint) = args.unchecked()?;
        let mut known = config.clone();
        if known.tls.is_none() {
            // A program may bring TLS for the addresses that are marked for it, until the server looks at them.
            known.binds.clear();
        }
        known.validate()?;
        Ok(Launcher { server, among: vec![server], auto: false, config, access_log: args.access_log, fingerprint })
    }

    /// Else a server that knows nothing of TLS would serve in the clear.
    fn with_what_tls_needs(self) -> Result<Self, Exit> {
        if self.config.tls.is_some() { self.require("tls") } else { Ok(self) }
    }

    /// Refuses a server that lacks what the application can't do without, by the names of `--list-servers`, such as
    /// `http2` for gRPC. Where the server is `auto`, the first one that has it is taken.
    ///
    /// ```no_run
    /// # #[derive(clap::Parser)]
    /// # struct Cli {
    /// #     #[command(flatten)]
    /// #     serving: adapter_web::Args,
    /// # }
    /// # async fn service(_: adapter_web::Request, _: adapter_web::Environ) -> Result<adapter_web::Response, adapter_web::Error> {
    /// #     Ok(adapter_web::Response::default())
    /// # }
    /// use adapter_web::Launcher;
    ///
    /// fn main() -> std::process::ExitCode {
    ///     adapter_web::cli::main(|cli: Cli| Launcher::new(&cli.serving)?.require("http2")?.run(service))
    /// }
    /// ```
    ///
    /// # Errors
    /// Wrong use: the server does not have it. Names those that do.
    pub fn require(mut self, capability: &str) -> Result<Self, Exit> {
        let has = |server: &&'static dyn Server| server.info().capabilities.get(capability) == Some(true);
        // So that a further requirement finds those only that have this, too.
        self.among.retain(has);
        if has(&self.server) {
            return Ok(self);
        }
        match self.among.first() {
            Some(first) if self.auto => self.server = *first,
            _ => {
                let name = self.server.info().name;
                let names: Vec<_> = self.among.iter().map(|server| server.info().name).collect();
                let which = if names.is_empty() { "none".into() } else { names.join(", ") };
                let problem =
                    format!("this program needs {capability}, which {name} does not have (who has it: {which})");
                return Err(Exit::usage(format_args!("--server: {problem}")));
            }
        }
        Ok(self)
    }

    /// The configuration, for what flags can't say, such as [`ServerConfig::values`], or TLS by certificates that are in no file.
    pub fn config(&mut self) -> &mut ServerConfig {
        &mut self.config
    }

    /// Starts the server, prints where it listens, and blocks until it has stopped.
    ///
    /// Sockets inherited through `LISTEN_FDS` replace the addresses of the configuration, unless those name them (`fd:`).
    ///
    /// # Errors
    /// [`Exit`] with status 1 if it could not start or did not stop well, 2 if the server refuses a setting.
    pub fn run(self, application: impl Application) -> Result<(), Exit> {
        // Again, for the program may have changed the configuration.
        let launcher = self.with_what_tls_needs()?;
        // What was made for this run is not read again: SIGHUP ends it, as the end of a terminal should.
        #[cfg(unix)]
        let reloads = launcher.config.tls.clone().filter(|_| launcher.fingerprint.is_none());
        // Before the start, so that a signal during a long startup hook is not lost.
        #[cfg(unix)]
        let signals = Signals::watch(reloads).map_err(ServeError::Io)?;
        #[cfg(not(unix))]
        let signals = Signals;
        #[cfg(unix)]
        stderr::guard_panics();
        // [LIF-09] also where nothing is started
        let application = DynApplication::new(application);
        let last = LastReference::of(&application);
        let ended = launcher.serve(application, &signals);
        drop(last);
        stderr::flush(|| signals.is_forced());
        ended
    }

    fn serve(mut self, application: DynApplication, signals: &Signals) -> Result<(), Exit> {
        if let Some(inherited) = inherited::take(&self.config.binds)? {
            self.config.binds = inherited;
        }
        let writer = match self.access_log {
            Format::Common | Format::Combined => Some(access_log::Writer::stdout().map_err(ServeError::Io)?),
            Format::Off | Format::Events => None,
        };
        if self.access_log != Format::Off && self.config.on_refused.is_none() {
            self.config.on_refused = Some(AccessLog::refusals(self.access_log, writer.as_ref()));
        }
        let application = match self.access_log {
            Format::Off => application,
            format => DynApplication::new(AccessLog::new(application, format, writer.as_ref())),
        };
        #[cfg(unix)]
        if let Some(line) = descriptors::make_room(&mut self.config) {
            stderr::say(line);
        }
        let prefix = self.config.mount_prefix.clone();
        let info = self.server.info();
        let binds = self.config.binds_or_default();
        let handle = self.server.start(application, self.config)?;
        // Before anybody is told that it listens, so that whoever was told can stop it.
        signals.attach(handle.trigger());
        if let Some(fingerprint) = self.fingerprint {
            stderr::say(format!("adapter: made a certificate {fingerprint}\n"));
        }
        let secure = secure(&binds, handle.local_addrs());
        for (address, secure) in handle.local_addrs().iter().zip(secure) {
            let url = describe(address, handle.local_addrs(), &prefix, secure);
            stderr::say(format!("adapter: {} {} listening on {url}\n", info.name, info.version));
        }
        let ended = handle.wait();
        if let Some(writer) = writer {
            writer.close_unless(|| signals.is_forced());
        }
        ended.map_err(Exit::from)
    }
}

/// Where there are no signals.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn attach(&self, _trigger: adapter_core::ShutdownTrigger) {}

    fn is_forced(&self) -> bool {
        false
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

/// For each of `addresses`, which are where `binds` were bound, in order, whether it has TLS.
fn secure(binds: &[Bind], addresses: &[ListenAddr]) -> Vec<bool> {
    let mut secure = Vec::with_capacity(addresses.len());
    for bind in binds {
        let tls = bind.options().tls;
        match bind.place() {
            // As many of its addresses as this machine has, one at least.
            Bind::Host { addrs, .. } => {
                let rest = addresses.iter().skip(secure.len()).filter_map(ListenAddr::tcp);
                let of_host =
                    rest.take(addrs.len()).take_while(|bound| addrs.iter().any(|addr| addr.ip() == bound.ip()));
                let count = of_host.count();
                secure.resize(secure.len() + count.max(1), tls);
            }
            _ => secure.push(tls),
        }
    }
    secure.resize(addresses.len(), false);
    secure
}

/// What to open in a browser, or the path of the socket: `address`, which is one of `all`, and has TLS where it is `secure`.
fn describe(address: &ListenAddr, all: &[ListenAddr], prefix: &str, secure: bool) -> String {
    let scheme = if secure { "https" } else { "http" };
    match address {
        ListenAddr::Tcp(bound) if bound.ip().is_unspecified() => {
            let port = bound.port();
            // [::] takes IPv4 too, where no address of IPv4 has the port to itself.
            let beside = all.iter().filter_map(ListenAddr::tcp).any(|other| other.is_ipv4() && other.port() == port);
            let (host, which) = match (bound.is_ipv4(), beside) {
                (true, _) => ("127.0.0.1", "every interface, IPv4"),
                (false, true) => ("[::1]", "every interface, IPv6"),
                (false, false) => ("localhost", "every interface"),
            };
            format!("{scheme}://{host}:{port}{prefix} ({which}: {bound})")
        }
        ListenAddr::Tcp(bound) => format!("{scheme}://{bound}{prefix}"),
        other => format!("{other}{}", if secure { ",tls" } else { "" }),
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
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr::Lines);
    // Colours, which another crate may have turned on, are for people.
    let _ = if io::stderr().is_terminal() { subscriber.try_init() } else { subscriber.with_ansi(false).try_init() };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_as_urls() {
        let tcp = |text: &str| ListenAddr::Tcp(text.parse().expect("an address"));
        assert_eq!(describe(&tcp("127.0.0.1:80"), &[], "", false), "http://127.0.0.1:80");
        assert_eq!(describe(&tcp("[::1]:80"), &[], "/shop", false), "http://[::1]:80/shop");
        let every = tcp("[::]:80");
        assert_eq!(
            describe(&every, std::slice::from_ref(&every), "", false),
            "http://localhost:80 (every interface: [::]:80)"
        );
        let both = [tcp("0.0.0.0:80"), every];
        let told = both.each_ref().map(|address| describe(address, &both, "/x", false));
        assert_eq!(told[0], "http://127.0.0.1:80/x (every interface, IPv4: 0.0.0.0:80)");
        assert_eq!(told[1], "http://[::1]:80/x (every interface, IPv6: [::]:80)");
        let unix = ListenAddr::Unix("/run/x".into());
        assert_eq!(describe(&unix, &[], "/shop", false), "unix:/run/x");
        assert_eq!(describe(&unix, &[], "/shop", true), "unix:/run/x,tls");
        assert_eq!(describe(&tcp("[::1]:443"), &[], "/shop", true), "https://[::1]:443/shop");
        assert_eq!(describe(&both[0], &both, "", true), "https://127.0.0.1:80 (every interface, IPv4: 0.0.0.0:80)");
    }

    #[test]
    fn addresses_are_secure_as_they_were_bound() {
        let told = |binds: &[&str], addresses: &[&str]| {
            let binds: Vec<Bind> = binds.iter().map(|text| text.parse().expect("a bind")).collect();
            let addresses: Vec<_> = addresses
                .iter()
                .map(|text| text.parse().map_or(ListenAddr::Unix(text.into()), ListenAddr::Tcp))
                .collect();
            secure(&binds, &addresses)
        };
        let addresses = ["127.0.0.1:80", "[::1]:80", "127.0.0.1:443"];
        assert_eq!(told(&["localhost:80,tls", "127.0.0.1:443"], &addresses), [true, true, false]);
        assert_eq!(told(&["localhost:80", "127.0.0.1:443,tls"], &addresses), [false, false, true]);
        // Where there is no IPv6.
        assert_eq!(told(&["localhost:80", ":81,tls"], &["127.0.0.1:80", "0.0.0.0:81"]), [false, true]);
        assert_eq!(told(&["unix:/x,tls", "localhost:1"], &["/x", "[::1]:1"]), [true, false]);
        assert_eq!(told(&["localhost:1"], &[]), [false; 0]);
    }

    /// Has what its name says.
    struct Able(&'static str);

    impl Server for Able {
        fn info(&self) -> adapter_core::ServerInfo {
            let mut capabilities = adapter_core::Capabilities::none();
            capabilities.http2 = self.0.contains("http2");
            capabilities.trailers = self.0.contains("trailers");
            adapter_core::ServerInfo::new(self.0, "1").with_capabilities(capabilities)
        }

        fn start(&self, _: DynApplication, _: ServerConfig) -> Result<adapter_core::ServerHandle, ServeError> {
            Err(ServeError::config("able", "serves nothing"))
        }
    }

    #[test]
    fn what_an_application_requires_is_found_or_told() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let args = |server: &str| <Cli as clap::Parser>::parse_from(["x", "--server", server]).args;
        let servers: [&'static dyn Server; 3] = [&Able("plain"), &Able("http2"), &Able("http2-too")];
        let require = |server: &str, what: &str| {
            let launcher = Launcher::among(&servers, &args(server)).and_then(|launcher| launcher.require(what));
            launcher.map(|launcher| launcher.server.info().name.into_owned())
        };
        assert_eq!(require("auto", "http2").as_deref(), Ok("http2"));
        assert_eq!(require("http2-too", "http2").as_deref(), Ok("http2-too"));
        let refused = require("plain", "http2").unwrap_err();
        let text = "--server: this program needs http2, which plain does not have (who has it: http2, http2-too)";
        assert_eq!((refused.status(), refused.text()), (2, text));
        assert!(require("auto", "tls").unwrap_err().text().ends_with("(who has it: none)"));
        #[cfg(feature = "tls")]
        {
            // Rather none than one that serves in the clear.
            let secure = <Cli as clap::Parser>::parse_from(["x", "--tls-self-signed"]).args;
            let refused = Launcher::among(&servers, &secure).unwrap_err();
            assert_eq!(refused.status(), 2);
            assert!(refused.text().ends_with("needs tls, which plain does not have (who has it: none)"), "{refused}");
            assert_eq!(Launcher::with_server(servers[0], &secure).unwrap_err().status(), 2);
            // Also where it is the program's own.
            let marked = <Cli as clap::Parser>::parse_from(["x", "--bind", ":1,tls"]).args;
            let mut launcher = Launcher::among(&servers, &marked).unwrap();
            launcher.config().tls = secure.config().unwrap().tls;
            let application = |_: adapter_core::Request, _: adapter_core::Environ| async {
                Err(adapter_core::Error::new("unserved"))
            };
            assert!(launcher.run(application).unwrap_err().text().contains("needs tls"));
        }
        let alone = Launcher::with_server(servers[0], &args("auto")).and_then(|launcher| launcher.require("http2"));
        assert_eq!(alone.unwrap_err().status(), 2);
    }

    #[test]
    fn one_requirement_does_not_undo_another() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let args = |server: &str| <Cli as clap::Parser>::parse_from(["x", "--server", server]).args;
        let servers: [&'static dyn Server; 3] = [&Able("trailers"), &Able("http2"), &Able("http2-trailers")];
        let both = |server: &str| {
            let launcher = Launcher::among(&servers, &args(server))?.require("http2")?.require("trailers")?;
            Ok::<_, Exit>(launcher.server.info().name.into_owned())
        };
        assert_eq!(both("auto").as_deref(), Ok("http2-trailers"));
        let refused = both("http2").unwrap_err();
        assert!(refused.text().ends_with("(who has it: http2-trailers)"), "{refused}");
    }

    #[test]
    fn programs_are_called_by_their_file() {
        assert_eq!(program_name(Some(Path::new("/usr/bin/shop"))), "shop");
        assert_eq!(program_name(Some(Path::new(""))), "the program");
        assert_eq!(program_name(None), "the program");
    }
}
