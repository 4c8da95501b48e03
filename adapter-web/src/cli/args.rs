//! The flags, and the [`ServerConfig`] they make.
//!
//! Names follow the configuration mechanically (`timeouts.keep_alive` is `--timeout-keep-alive`), so that an error of
//! the configuration can be told in the words of the command line. Defaults come from the configuration, not from here.

use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use adapter_core::server::{ForwardedAlso, ForwardedFields, ParseBindError, TrustedProxy};
use adapter_core::{Bind, Limits, ServeError, ServerConfig, Timeouts};
use clap::builder::{BoolishValueParser, PathBufValueParser, PossibleValuesParser, TypedValueParser};

use super::again::Said;
use super::binds::Binds;
use super::tls;
use super::values::{OrOff, Period, Size};
use crate::access_log::Format;

/// The flags every program shares. Each is also read from the environment: `--timeout-write` from
/// `ADAPTER_TIMEOUT_WRITE`. Flatten it into a parser of your own with `#[command(flatten)]`, and parse by
/// [`cli::main`](super::main) or [`cli::parse`](super::parse), to which a variable that is empty is not set.
#[derive(Clone, Debug, clap::Args)]
// What a program is about it says itself: what is said here, or in its place, would be told of a parser that says nothing.
#[command(next_help_heading = "Serving", about = None, long_about = None)]
#[non_exhaustive]
pub struct Args {
    /// First, for parsing takes the others out of what it looks at.
    #[command(flatten)]
    pub(super) said: Said,

    /// Server to use, see --list-servers; "auto" takes the first
    #[arg(long, env = "ADAPTER_SERVER", value_name = "NAME", default_value = "auto")]
    pub server: String,

    /// Address to listen on: HOST:PORT (all addresses of the host), :PORT (every interface), unix:PATH, or fd:3 or fd:NAME (inherited
    /// by LISTEN_FDS); with options behind it, such as ",tls"; may be repeated [default: :PORT where the variable PORT is
    /// set, as in clouds, or 127.0.0.1:8080]
    ///
    /// Options are for this address only, separated by commas: tls; proxy (the PROXY protocol, versions 1 and 2, in front of
    /// everything, from the proxies of --proxy-protocol-from); backlog=N (connections that wait to be accepted; default 4096); for TCP
    /// keepalive=TIME or off (how long a client is silent until its kernel is asked if it is there; default 60s) and user-timeout=TIME
    /// (how long what was sent may stay unacknowledged; Linux); for unix:PATH mode=0660 and group=NAME. Without any fd:, inherited
    /// sockets are in place of all addresses
    #[arg(long = "bind", env = "ADAPTER_BIND", value_name = "ADDR")]
    pub binds: Vec<Binds>,

    /// Threads that run the application [default: the server's, such as one per core]
    #[arg(long, env = "ADAPTER_THREADS", value_name = "N")]
    pub threads: Option<usize>,

    /// Processes that serve, each with threads of its own (--threads); with 2 or more this one only watches them, and starts others
    /// in place of those that end or hang. SIGTTIN and SIGTTOU start one more and end one
    #[arg(long, env = "ADAPTER_WORKERS", value_name = "N", default_value_t = 1, value_parser = processes,
        hide = cfg!(not(unix)))]
    pub workers: usize,

    /// Threads at most for blocking applications, on servers with event loops
    #[arg(long, env = "ADAPTER_BLOCKING_THREADS", value_name = "N", default_value_t = config().blocking_threads)]
    pub blocking_threads: usize,

    /// Blocking work that may wait for a thread; beyond it the answer is 503
    #[arg(long, env = "ADAPTER_BLOCKING_QUEUE", value_name = "N", default_value_t = config().blocking_queue)]
    pub blocking_queue: usize,

    /// Close every connection after one response
    #[arg(long, env = "ADAPTER_NO_KEEP_ALIVE", value_parser = BoolishValueParser::new())]
    pub no_keep_alive: bool,

    /// Prefix of the path under which the application is mounted, like /shop
    #[arg(long, env = "ADAPTER_MOUNT_PREFIX", value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub mount_prefix: String,

    /// Peer whose forwarded fields are believed: an address, a network (10.0.0.0/8), "unix" for Unix-domain sockets, or "*" for
    /// whoever connects by TCP; may be repeated
    #[arg(long = "trusted-proxy", env = "ADAPTER_TRUSTED_PROXY", value_name = "WHO", value_delimiter = ',',
        value_parser = trimmed::<TrustedProxy>)]
    pub trusted_proxies: Vec<TrustedProxy>,

    /// Proxy that may speak on addresses with ",proxy", as --trusted-proxy; others are refused there; may be repeated
    /// [default: the trusted proxies]
    #[arg(long, env = "ADAPTER_PROXY_PROTOCOL_FROM", value_name = "WHO", value_delimiter = ',',
        value_parser = trimmed::<TrustedProxy>)]
    pub proxy_protocol_from: Vec<TrustedProxy>,

    /// Proxies that every request comes through, each of which adds to the forwarded fields, where their addresses are not known;
    /// with fewer elements nothing is believed; instead of --trusted-proxy
    #[arg(long, env = "ADAPTER_TRUSTED_HOPS", value_name = "N")]
    pub trusted_hops: Option<u32>,

    /// Fields the trusted proxies write: x-forwarded, forwarded, x-real-ip, header:NAME or off; others are a client's own and
    /// never believed
    #[arg(long, env = "ADAPTER_FORWARDED", value_name = "FIELDS", default_value_t = config().forwarded)]
    pub forwarded: ForwardedFields,

    /// What else they write: X-Forwarded-Host, -Port, -Prefix, and -Proto where --forwarded names another field
    #[arg(long, env = "ADAPTER_FORWARDED_ALSO", value_name = "host|port|prefix|proto", value_delimiter = ',',
        value_parser = trimmed::<ForwardedAlso>)]
    pub forwarded_also: Vec<ForwardedAlso>,

    /// Setting only this server knows; may be repeated (in the environment separated by ";")
    #[arg(
        long = "option",
        env = "ADAPTER_OPTION",
        value_name = "KEY=VALUE",
        value_delimiter = ';',
        value_parser = key_value
    )]
    pub options: Vec<(String, String)>,

    /// Certificate chain for TLS, in PEM; may be repeated, each with its --tls-key: clients get the one for the name they
    /// ask for, or the first. Without ",tls" behind any address, TLS is for all. SIGHUP reads the files again
    #[arg(long, env = "ADAPTER_TLS_CERT", value_name = "FILE", value_delimiter = ',', help_heading = "TLS",
        hide = cfg!(not(feature = "tls")), value_parser = path_of_list())]
    pub tls_cert: Vec<PathBuf>,

    /// Private key of the certificate, in PEM, not encrypted; in the order of --tls-cert
    #[arg(long, env = "ADAPTER_TLS_KEY", value_name = "FILE", value_delimiter = ',', help_heading = "TLS",
        hide = cfg!(not(feature = "tls")), value_parser = path_of_list())]
    pub tls_key: Vec<PathBuf>,

    /// TLS by a certificate for localhost that is made now, for development; its fingerprint is printed
    #[arg(long, env = "ADAPTER_TLS_SELF_SIGNED", value_parser = BoolishValueParser::new(), help_heading = "TLS",
        hide = cfg!(not(feature = "tls")))]
    pub tls_self_signed: bool,

    /// Authorities that sign the certificates of clients, in PEM
    #[arg(long, env = "ADAPTER_TLS_CLIENT_CA", value_name = "FILE", help_heading = "TLS",
        hide = cfg!(not(feature = "tls")))]
    pub tls_client_ca: Option<PathBuf>,

    /// Whether clients show certificates [default: required with --tls-client-ca, else off]
    #[arg(long, env = "ADAPTER_TLS_CLIENT_AUTH", value_name = "WHETHER", help_heading = "TLS",
        hide = cfg!(not(feature = "tls")), value_parser = PossibleValuesParser::new(["off", "optional", "required"]))]
    pub tls_client_auth: Option<String>,

    /// The oldest version of TLS that is spoken [default: 1.2]
    #[arg(long, env = "ADAPTER_TLS_MIN_VERSION", value_name = "VERSION", help_heading = "TLS",
        hide = cfg!(not(feature = "tls")), value_parser = PossibleValuesParser::new(["1.2", "1.3"]))]
    pub tls_min_version: Option<String>,

    /// Access log on stdout, or only as tracing events [default: off, with --access-log-file common]
    #[arg(
        long,
        env = "ADAPTER_ACCESS_LOG",
        value_name = "FORMAT",
        value_enum,
        num_args = 0..=1,
        default_value = "off",
        hide_default_value = true,
        default_missing_value = "common"
    )]
    pub access_log: Format,

    /// File the access log is appended to instead of stdout; SIGUSR1 opens it again, behind a rename
    #[arg(long, env = "ADAPTER_ACCESS_LOG_FILE", value_name = "FILE")]
    pub access_log_file: Option<PathBuf>,

    /// Address for /metrics (Prometheus), /healthz and /readyz, by a listener and a thread of their own, which answer while the server is
    /// busy, and while it drains: HOST:PORT or :PORT. In the clear and for everybody who can connect. Not with --workers
    #[arg(long, env = "ADAPTER_METRICS_BIND", value_name = "ADDR", value_parser = tcp, hide = cfg!(not(unix)))]
    pub metrics_bind: Option<Bind>,

    /// What is logged on stderr: off, error, warn, info, debug, trace, or tracing directives [default: what RUST_LOG says, or info]
    #[arg(long, env = "ADAPTER_LOG", value_name = "LEVEL")]
    pub log: Option<String>,

    /// File with settings, in TOML: flags without their hyphens in front (timeout-write = "5s"), lists where they may be repeated. The
    /// environment and the command line come first. SIGHUP reads the trusted proxies again
    #[arg(long, env = "ADAPTER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the settings as they hold, in the form of --config, and exit
    #[arg(long, env = "ADAPTER_PRINT_CONFIG", value_parser = BoolishValueParser::new())]
    pub print_config: bool,

    /// List the servers of this build and exit
    #[arg(long, env = "ADAPTER_LIST_SERVERS", value_parser = BoolishValueParser::new())]
    pub list_servers: bool,

    /// Ask the program that has this address for --metrics-bind whether it serves, and exit: status 0, or 1 and why not. For containers, which
    /// may have nothing else to ask with
    #[arg(long, value_name = "ADDR", value_parser = tcp)]
    pub healthcheck: Option<Bind>,

    /// Bytes of a request head, at least 8k; beyond it 431
    #[arg(long, env = "ADAPTER_LIMIT_HEAD_BYTES", value_name = "SIZE", help_heading = "Limits",
        default_value_t = Size(limits().head_bytes as u64))]
    pub limit_head_bytes: Size,

    /// Header lines of a request; beyond it 431
    #[arg(long, env = "ADAPTER_LIMIT_HEADER_COUNT", value_name = "N", help_heading = "Limits",
        default_value_t = limits().header_count)]
    pub limit_header_count: usize,

    /// Bytes of a request target; beyond it 414
    #[arg(long, env = "ADAPTER_LIMIT_TARGET_BYTES", value_name = "SIZE", help_heading = "Limits",
        default_value_t = Size(limits().target_bytes as u64))]
    pub limit_target_bytes: Size,

    /// Bytes of a request body, or off; beyond it 413
    #[arg(long, env = "ADAPTER_LIMIT_BODY_BYTES", value_name = "SIZE", help_heading = "Limits",
        default_value_t = OrOff(limits().body_bytes.map(Size)))]
    pub limit_body_bytes: OrOff<Size>,

    /// Connections open at once; the next one waits
    #[arg(long, env = "ADAPTER_LIMIT_CONNECTIONS", value_name = "N", help_heading = "Limits",
        default_value_t = limits().connections)]
    pub limit_connections: usize,

    /// Requests served on one connection before it is closed, or off
    #[arg(long, env = "ADAPTER_LIMIT_REQUESTS_PER_CONNECTION", value_name = "N", help_heading = "Limits",
        default_value_t = OrOff(limits().requests_per_connection))]
    pub limit_requests_per_connection: OrOff<u64>,

    /// Octets a second, on average and with 5 seconds to begin, that a client sends at least of a body that holds a thread, or off
    #[arg(long, env = "ADAPTER_MIN_RATE", value_name = "N", help_heading = "Limits",
        default_value_t = OrOff(limits().min_rate))]
    pub min_rate: OrOff<u32>,

    /// TLS handshakes that go on at once; the next one waits
    #[arg(long, env = "ADAPTER_LIMIT_HANDSHAKES", value_name = "N", help_heading = "Limits",
        default_value_t = limits().handshakes, hide = cfg!(not(feature = "tls")))]
    pub limit_handshakes: usize,

    /// For a request head to arrive, with the header of the PROXY protocol in front of it, or off
    #[arg(long, env = "ADAPTER_TIMEOUT_HEADER_READ", value_name = "TIME", help_heading = "Timeouts (500ms, 2s, 1m)",
        default_value_t = OrOff(timeouts().header_read.map(Period)))]
    pub timeout_header_read: OrOff<Period>,

    /// From the accept to the end of the TLS handshake, or off
    #[arg(long, env = "ADAPTER_TIMEOUT_TLS_HANDSHAKE", value_name = "TIME",
        help_heading = "Timeouts (500ms, 2s, 1m)", hide = cfg!(not(feature = "tls")),
        default_value_t = OrOff(timeouts().tls_handshake.map(Period)))]
    pub timeout_tls_handshake: OrOff<Period>,

    /// For a connection without a request, or off
    #[arg(long, env = "ADAPTER_TIMEOUT_KEEP_ALIVE", value_name = "TIME", help_heading = "Timeouts (500ms, 2s, 1m)",
        default_value_t = OrOff(timeouts().keep_alive.map(Period)))]
    pub timeout_keep_alive: OrOff<Period>,

    /// Between two pieces of a request body, or off
    #[arg(long, env = "ADAPTER_TIMEOUT_BODY_READ", value_name = "TIME", help_heading = "Timeouts (500ms, 2s, 1m)",
        default_value_t = OrOff(timeouts().body_read.map(Period)))]
    pub timeout_body_read: OrOff<Period>,

    /// Between two pieces of a response the client takes, or off
    #[arg(long, env = "ADAPTER_TIMEOUT_WRITE", value_name = "TIME", help_heading = "Timeouts (500ms, 2s, 1m)",
        default_value_t = OrOff(timeouts().write.map(Period)))]
    pub timeout_write: OrOff<Period>,

    /// From the call of the application to its response, then 503, or off
    #[arg(long, env = "ADAPTER_TIMEOUT_HANDLER", value_name = "TIME", help_heading = "Timeouts (500ms, 2s, 1m)",
        default_value_t = OrOff(timeouts().handler.map(Period)))]
    pub timeout_handler: OrOff<Period>,

    /// From the start of a shutdown (SIGTERM, SIGINT) until what still runs is dropped
    #[arg(long, env = "ADAPTER_TIMEOUT_GRACEFUL_SHUTDOWN", value_name = "TIME",
        help_heading = "Timeouts (500ms, 2s, 1m)", default_value_t = Period(timeouts().graceful_shutdown))]
    pub timeout_graceful_shutdown: Period,

    /// From SIGTERM or SIGINT until the shutdown starts: everything is served, while load balancers learn of it
    #[arg(long, env = "ADAPTER_DRAIN_DELAY", value_name = "TIME", help_heading = "Timeouts (500ms, 2s, 1m)",
        default_value_t = Period(Duration::ZERO))]
    pub drain_delay: Period,

    /// For an event loop of a worker (--workers) to answer; a worker that hangs for longer is killed, and another one started; or off
    #[arg(long, env = "ADAPTER_TIMEOUT_WORKER", value_name = "TIME", help_heading = "Timeouts (500ms, 2s, 1m)",
        default_value_t = OrOff(Some(Period(Duration::from_secs(60)))), hide = cfg!(not(unix)))]
    pub timeout_worker: OrOff<Period>,

    /// For the application's startup and shutdown hooks, or off
    #[arg(long, env = "ADAPTER_TIMEOUT_HOOKS", value_name = "TIME", help_heading = "Timeouts (500ms, 2s, 1m)",
        default_value_t = OrOff(timeouts().hooks.map(Period)))]
    pub timeout_hooks: OrOff<Period>,
}

/// Worker processes at most: more is a slip of the keys.
pub(crate) const MOST_WORKERS: usize = 1000;

fn config() -> ServerConfig {
    ServerConfig::default()
}

fn limits() -> Limits {
    Limits::default()
}

fn timeouts() -> Timeouts {
    Timeouts::default()
}

/// An element of a list, in which blanks stand behind the separators.
fn trimmed<T: FromStr>(text: &str) -> Result<T, T::Err> {
    text.trim().parse()
}

fn path_of_list() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| path.to_str().map(|text| PathBuf::from(text.trim())).unwrap_or(path))
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    match text.trim().split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE"),
    }
}

/// As many as are watched.
fn processes(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(count @ 1..=MOST_WORKERS) => Ok(count),
        _ => Err("expected a number from 1 to 1000"),
    }
}

/// An address without options.
fn tcp(text: &str) -> Result<Bind, String> {
    let bind: Bind = text.parse().map_err(|error: ParseBindError| error.to_string())?;
    match bind {
        Bind::Tcp(_) | Bind::Host { .. } | Bind::EveryInterface(_) => Ok(bind),
        _ => Err("expected HOST:PORT or :PORT".into()),
    }
}

/// What clouds say by the variable `PORT`: a port of every interface. One that is empty is not set.
pub(super) fn bind_of_port(port: Option<OsString>) -> Result<Option<Bind>, ServeError> {
    let Some(port) = port.filter(|port| !port.is_empty()) else { return Ok(None) };
    match port.to_str().and_then(|port| port.parse().ok()) {
        Some(port) => Ok(Some(Bind::EveryInterface(port))),
        None => Err(ServeError::config("PORT", format!("{port:?} is no port (a number up to 65535)"))),
    }
}

impl Args {
    /// The configuration these flags describe, validated. Reads the files of `--tls-cert` and the like, and blocks as that does;
    /// `--tls-self-signed` makes another certificate each time.
    ///
    /// # Errors
    /// [`ServeError::Config`] naming the setting that is unusable.
    pub fn config(&self) -> Result<ServerConfig, ServeError> {
        let (config, _) = self.unchecked()?;
        config.validate()?;
        Ok(config)
    }

    /// The configuration with what a program may add to it, and for whom a certificate was made, with its fingerprint, if one was.
    pub(crate) fn checked(&self) -> Result<(ServerConfig, Option<String>), ServeError> {
        let (config, fingerprint) = self.unchecked()?;
        let mut known = config.clone();
        if known.tls.is_none() {
            // A program may bring TLS for the addresses that are marked for it, until the server looks at them.
            known.binds.clear();
        }
        known.validate()?;
        if self.timeout_worker.0.is_some_and(|period| period.0.is_zero()) {
            return Err(ServeError::config("--timeout-worker", "must not be zero; off is no limit"));
        }
        Ok((config, fingerprint))
    }

    /// Has `config` believe whom these flags name.
    pub(super) fn trust_into(&self, config: &mut ServerConfig) {
        config.trusted_proxies.clone_from(&self.trusted_proxies);
        config.trusted_hops = self.trusted_hops;
        config.forwarded.clone_from(&self.forwarded);
        config.forwarded_also.clone_from(&self.forwarded_also);
        config.proxy_protocol_from.clone_from(&self.proxy_protocol_from);
    }

    /// The configuration before it is validated, and for whom a certificate was made, with its fingerprint, if one was.
    fn unchecked(&self) -> Result<(ServerConfig, Option<String>), ServeError> {
        let bytes = |setting: &str, size: Size| {
            usize::try_from(size.0).map_err(|_| ServeError::config(setting, "more than this machine can address"))
        };
        let period = |period: OrOff<Period>| period.0.map(|period| period.0);
        let mut config = ServerConfig::default();
        config.binds = self.binds.iter().flat_map(|binds| binds.0.iter().cloned()).collect();
        if config.binds.is_empty() {
            config.binds.extend(bind_of_port(std::env::var_os("PORT"))?);
        }
        config.threads = self.threads;
        config.blocking_threads = self.blocking_threads;
        config.blocking_queue = self.blocking_queue;
        config.keep_alive = !self.no_keep_alive;
        config.mount_prefix.clone_from(&self.mount_prefix);
        self.trust_into(&mut config);
        config.limits.head_bytes = bytes("limits.head_bytes", self.limit_head_bytes)?;
        config.limits.header_count = self.limit_header_count;
        config.limits.target_bytes = bytes("limits.target_bytes", self.limit_target_bytes)?;
        config.limits.body_bytes = self.limit_body_bytes.0.map(|size| size.0);
        config.limits.connections = self.limit_connections;
        config.limits.requests_per_connection = self.limit_requests_per_connection.0;
        config.limits.handshakes = self.limit_handshakes;
        config.limits.min_rate = self.min_rate.0;
        config.timeouts.header_read = period(self.timeout_header_read);
        config.timeouts.tls_handshake = period(self.timeout_tls_handshake);
        config.timeouts.keep_alive = period(self.timeout_keep_alive);
        config.timeouts.body_read = period(self.timeout_body_read);
        config.timeouts.write = period(self.timeout_write);
        config.timeouts.handler = period(self.timeout_handler);
        config.timeouts.graceful_shutdown = self.timeout_graceful_shutdown.0;
        config.timeouts.hooks = period(self.timeout_hooks);
        for (key, value) in &self.options {
            match config.options.entry(key.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(value.clone());
                }
                // The last one winning in silence would be a setting ignored.
                Entry::Occupied(_) => return Err(ServeError::config(key, "the option is given more than once")),
            }
        }
        let (tls, fingerprint) = match tls::from_flags(self)? {
            Some(from_flags) => (Some(from_flags.tls), from_flags.fingerprint),
            None => (None, None),
        };
        config.tls = tls;
        Ok((config, fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[test]
    fn a_program_says_itself_what_it_is_about() {
        #[derive(Parser)]
        struct Silent {
            #[command(flatten)]
            _args: Args,
        }
        /// Serves tea.
        #[derive(Parser)]
        struct Told {
            #[command(flatten)]
            _args: Args,
        }
        let about = |command: clap::Command| command.get_about().map(ToString::to_string);
        assert_eq!(about(Silent::command()), None);
        assert_eq!(about(Told::command()).as_deref(), Some("Serves tea"));
        assert!(Silent::command().get_long_about().is_none());
    }

    #[test]
    fn a_port_of_the_environment_is_every_interface() {
        let bound = |text: &str| bind_of_port(Some(text.into())).map(|bind| bind.map(|bind| bind.to_string()));
        assert_eq!(bound("8081").unwrap().as_deref(), Some(":8081"));
        assert_eq!(bound("").unwrap(), None);
        assert!(bind_of_port(None).unwrap().is_none());
        let says = "PORT: \"tcp://10.0.0.1:80\" is no port (a number up to 65535)";
        assert_eq!(bound("tcp://10.0.0.1:80").unwrap_err().to_string(), says);
        assert!(bound("65536").is_err());
    }
}
