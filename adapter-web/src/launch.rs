//! From a command line to a server that has stopped.
//!
//! Runs on the main thread, which picks the server, starts it, and then only waits; signals are watched by a thread
//! of their own. Nothing here is on the path of a request.

use std::path::PathBuf;
#[cfg(unix)]
use std::sync::Arc;
use std::time::Duration;

#[cfg(unix)]
use adapter_core::ServerInfo;
#[cfg(unix)]
use adapter_core::observe::Counters;
#[cfg(unix)]
use adapter_core::server::Believed;
use adapter_core::server::LastReference;
use adapter_core::{Application, Bind, DynApplication, ServeError, Server, ServerConfig};
use futures_lite::future::{block_on, or};

use crate::access_log::{self, AccessLog, Format};
#[cfg(unix)]
use crate::cli::Again;
use crate::cli::{Args, Exit};
#[cfg(not(unix))]
use crate::console::{Operator, Stop};
#[cfg(unix)]
use crate::control::{Control, LogFile, Trust};
#[cfg(unix)]
use crate::descriptors;
#[cfg(unix)]
use crate::metrics::{About, Site};
#[cfg(unix)]
use crate::operator::{Operator, start_patience};
#[cfg(unix)]
use crate::signals::{Signals, Stop};
#[cfg(unix)]
use crate::successor::{self, Listening, Predecessor};
#[cfg(unix)]
use crate::systemd::Manager;
#[cfg(unix)]
use crate::workers::{self, Plan};
use crate::{inherited, logging, registry, stderr, urls};

/// Serves `application` as `args` say. Blocks until the server has stopped.
///
/// # Errors
/// [`Exit`]: why it could not be served, or did not end well.
pub fn run(application: impl Application, args: &Args) -> Result<(), Exit> {
    let application = DynApplication::new(application);
    let _last = LastReference::of(&application);
    Launcher::new(args).and_then(|launcher| launcher.run(application))
}

/// Which server it is, and how that was chosen.
#[derive(Clone)]
struct Choice {
    server: &'static dyn Server,
    /// Those it may be. Of those it was picked from, the ones that have what is required.
    among: Vec<&'static dyn Server>,
    /// Whether the program may pick another one.
    auto: bool,
}

impl Choice {
    /// The one of `servers` that `args` name.
    fn among(servers: &[&'static dyn Server], args: &Args) -> Result<Self, Exit> {
        let server = registry::pick(servers, &args.server)?;
        Ok(Choice { server, among: servers.to_vec(), auto: args.server == registry::AUTO })
    }

    fn only(server: &'static dyn Server) -> Self {
        Choice { server, among: vec![server], auto: false }
    }

    fn require(&mut self, capability: &str) -> Result<(), Exit> {
        let has = |server: &&'static dyn Server| server.info().capabilities.get(capability) == Some(true);
        // So that a further requirement finds those only that have this, too.
        self.among.retain(has);
        if has(&self.server) {
            return Ok(());
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
        Ok(())
    }
}

/// A server that is chosen and configured, but not started yet.
#[must_use = "nothing is served until `run` is called"]
pub struct Launcher {
    choice: Choice,
    /// What it was chosen from; `None` where the program has said which it is.
    #[cfg_attr(not(unix), allow(dead_code))]
    servers: Option<Vec<&'static dyn Server>>,
    /// What the program can't do without.
    #[cfg_attr(not(unix), allow(dead_code))]
    required: Vec<String>,
    config: ServerConfig,
    access_log: Format,
    access_log_file: Option<PathBuf>,
    /// From the signal to the draining.
    #[cfg_attr(not(unix), allow(dead_code))]
    drain_delay: Duration,
    /// Where figures are told.
    metrics_bind: Option<Bind>,
    /// How many processes serve.
    workers: usize,
    /// How long a worker may hang.
    #[cfg_attr(not(unix), allow(dead_code))]
    timeout_worker: Option<Duration>,
    /// For whom a certificate was made for this run, and its fingerprint.
    fingerprint: Option<String>,
    /// What it was made of.
    #[cfg_attr(not(unix), allow(dead_code))]
    args: Args,
}

impl Launcher {
    /// Picks and configures the server `args` name. Sets up logging to stderr, unless the program has a `tracing`
    /// subscriber already.
    ///
    /// # Errors
    /// [`Exit`]: wrong use, such as certificates that can't be used, or the list of servers if that was asked for.
    pub fn new(args: &Args) -> Result<Self, Exit> {
        Launcher::among(&registry::all(), args)
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
        let mut launcher = Launcher::of(Choice::among(servers, args)?, args)?;
        launcher.servers = Some(servers.to_vec());
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
        Launcher::of(Choice::only(server), args)?.with_what_tls_needs()
    }

    fn of(choice: Choice, args: &Args) -> Result<Self, Exit> {
        // First, for a certificate may be warned of.
        logging::start(args, args.access_log_format()?)?;
        Launcher::planned(choice, args)
    }

    /// As `args` have it. Starts nothing.
    fn planned(choice: Choice, args: &Args) -> Result<Self, Exit> {
        let access_log = args.access_log_format()?;
        args.log_filter()?;
        let (config, fingerprint) = args.checked()?;
        Ok(Launcher {
            choice,
            servers: None,
            required: Vec::new(),
            config,
            access_log,
            access_log_file: args.access_log_file.clone(),
            drain_delay: args.drain_delay.0,
            metrics_bind: args.metrics_bind.clone(),
            workers: args.workers,
            timeout_worker: args.timeout_worker.0.map(|period| period.0),
            fingerprint,
            args: args.clone(),
        })
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
        self.choice.require(capability)?;
        self.required.push(capability.to_owned());
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
    /// [`Exit`] with status 1 if it could not start or did not stop well, 2 if the server refuses a setting, 128 and its number if a
    /// signal stopped it while it started.
    pub fn run(self, application: impl Application) -> Result<(), Exit> {
        // Again, for the program may have changed the configuration.
        let mut launcher = self.with_what_tls_needs()?;
        launcher.check_workers()?;
        #[cfg(unix)]
        let beat = successor::beat();
        #[cfg(unix)]
        if launcher.workers > 1 && beat.is_none() {
            let application = DynApplication::new(application);
            let _last = LastReference::of(&application);
            return launcher.watch_workers();
        }
        #[cfg(not(unix))]
        if launcher.metrics_bind.is_some() {
            return Err(Exit::usage("--metrics-bind: not on this system"));
        }
        let writer = launcher.open_access_log()?;
        let trigger = launcher.config.trigger.get_or_insert_default().clone();
        // Before the start, so that a signal during a long startup hook is not lost.
        #[cfg(unix)]
        let manager = Manager::of_this_process();
        #[cfg(unix)]
        if manager.watchdog().is_some() || beat.is_some() {
            launcher.config.pulse.get_or_insert_default();
        }
        #[cfg(unix)]
        let (signals, upgrade) = {
            // What was made for this run is not read again.
            let reloads = launcher.config.tls.clone().filter(|_| launcher.fingerprint.is_none());
            let log = launcher.access_log_file.clone().zip(writer.as_ref());
            let log = log.map(|(path, writer)| LogFile { path, lines: writer.queue() });
            let trust = launcher.trust_again();
            let control = Control::start(reloads, trust, log, manager.clone()).map_err(ServeError::Io)?;
            let upgrade = control.upgrade();
            let stop = Stop::new(trigger, launcher.drain_delay, manager.clone());
            (Signals::watch(stop, control).map_err(ServeError::Io)?, upgrade)
        };
        #[cfg(unix)]
        let stop = signals.stop().clone();
        #[cfg(unix)]
        if beat.is_some() {
            stop.hush();
        }
        #[cfg(not(unix))]
        let stop = Stop::watch(trigger, launcher.drain_delay).map_err(ServeError::Io)?;
        #[cfg(unix)]
        let mut operator = Operator::new(manager, upgrade, beat);
        #[cfg(not(unix))]
        let mut operator = Operator;
        #[cfg(unix)]
        stderr::guard_panics();
        // [LIF-09] also where nothing is started
        let application = DynApplication::new(application);
        let last = LastReference::of(&application);
        let ended = launcher.serve(application, writer, &stop, &mut operator).map_err(|exit| operator.told(exit));
        drop(operator);
        drop(last);
        stderr::flush(|| stop.is_forced());
        ended
    }

    /// What SIGHUP does to whom the server believes, if a file has a say in that.
    #[cfg(unix)]
    fn trust_again(&mut self) -> Option<Trust> {
        let again = Again::of(&self.args, &self.config)?;
        let believed = self.config.believed.clone().unwrap_or_else(|| Believed::new(&self.config));
        self.config.believed = Some(believed.clone());
        let check = Box::new(self.checks());
        Some(Trust { believed, again, check })
    }

    /// What the next start refuses of flags, as far as that shows in them alone.
    #[cfg(unix)]
    fn checks(&self) -> impl Fn(&Args) -> Result<(), Exit> + Send + 'static {
        let (servers, required, chosen) = (self.servers.clone(), self.required.clone(), self.choice.server);
        // What the program brings itself it will bring again.
        let is_own = self.args.tls_cert.is_empty() && !self.args.tls_self_signed;
        let own = self.config.tls.clone().filter(|_| is_own);
        // These are in place of the addresses.
        let is_activated = std::env::var_os("LISTEN_FDS").is_some();
        move |args| {
            let mut choice = match &servers {
                Some(servers) => Choice::among(servers, args)?,
                None => Choice::only(chosen),
            };
            required.iter().try_for_each(|capability| choice.require(capability))?;
            let mut next = Launcher::planned(choice, args)?;
            if next.config.tls.is_none() {
                next.config.tls.clone_from(&own);
            }
            let mut next = next.with_what_tls_needs()?;
            next.check_workers()?;
            if is_activated {
                next.config.binds.clear();
            }
            Ok(next.choice.server.check(&next.config)?)
        }
    }

    /// Refuses what several processes can't have.
    fn check_workers(&self) -> Result<(), Exit> {
        if self.workers <= 1 {
            return Ok(());
        }
        if cfg!(not(unix)) {
            return Err(Exit::usage("--workers: processes share no listeners on this system"));
        }
        if self.fingerprint.is_some() {
            let why = "each would have a certificate of its own by --tls-self-signed; use --tls-cert";
            return Err(Exit::usage(format_args!("--workers: {why}")));
        }
        if self.metrics_bind.is_some() {
            let why = "each would have figures of its own at one address; use --workers 1 with more --threads";
            return Err(Exit::usage(format_args!("--metrics-bind: not with --workers: {why}")));
        }
        if !registry::is_ours(self.choice.server) {
            let name = self.choice.server.info().name;
            return Err(Exit::usage(format_args!("--workers: {name} binds its addresses by itself")));
        }
        Ok(())
    }

    /// Says where nobody can speak the PROXY protocol, though somebody was to.
    fn warn_of_unannounced(&self, binds: &[Bind]) {
        if !self.config.proxy_protocol_from.is_empty() && !binds.iter().any(|bind| bind.options().proxy) {
            let line = "adapter: --proxy-protocol-from is of no use: no --bind has \",proxy\" behind its address\n";
            stderr::say(line.into());
        }
    }

    fn open_access_log(&self) -> Result<Option<access_log::Writer>, Exit> {
        if !self.access_log.has_lines() {
            return Ok(None);
        }
        let writer = match &self.access_log_file {
            Some(path) => access_log::Writer::file(path)
                .map_err(|error| Exit::failed(format_args!("--access-log-file: {}: {error}", path.display())))?,
            None => access_log::Writer::stdout().map_err(ServeError::Io)?,
        };
        Ok(Some(writer))
    }

    /// Binds, and has workers serve.
    #[cfg(unix)]
    fn watch_workers(mut self) -> Result<(), Exit> {
        let info = self.choice.server.info();
        let manager = Manager::of_this_process();
        let mut before = Predecessor::of_this_process()?;
        let inherited = if before.is_some() { None } else { inherited::take(&self.config.binds)? };
        let are_activated = inherited.is_some();
        let binds = inherited.unwrap_or_else(|| self.config.binds_or_default());
        let (binds, listening) = Listening::bind(&binds, are_activated, before.as_mut())?;
        self.warn_of_unannounced(&binds);
        let lines = urls::lines(&info, &binds, &listening.addresses()?, &self.config.mount_prefix);
        // Or they would be open as long as this process is.
        drop((binds, std::mem::take(&mut self.config.binds)));
        let start = self.config.timeouts.hooks.map(start_patience);
        let ending = self.config.timeouts.graceful_shutdown.saturating_add(self.drain_delay);
        let plan = Plan {
            count: self.workers,
            silence: self.timeout_worker.into_iter().chain(manager.watchdog()).min(),
            start,
            leave: start.map(|start| start.saturating_add(ending)),
            lines,
        };
        let ended = workers::run(plan, Arc::new(listening), manager, before);
        stderr::flush(|| false);
        ended
    }

    fn serve(
        mut self,
        application: DynApplication,
        writer: Option<access_log::Writer>,
        stop: &Stop,
        operator: &mut Operator,
    ) -> Result<(), Exit> {
        // What is handed over is as that process had it.
        let inherited =
            if operator.relieves(stop).map_err(ServeError::Io)? { None } else { inherited::take(&self.config.binds)? };
        let are_activated = inherited.is_some();
        if let Some(inherited) = inherited {
            self.config.binds = inherited;
        }
        if self.access_log != Format::Off {
            self.config = self.config.observe(AccessLog::refusals(self.access_log, writer.as_ref()));
        }
        let application = match self.access_log {
            Format::Off => application,
            format => DynApplication::new(AccessLog::new(application, format, writer.as_ref())),
        };
        #[cfg(unix)]
        if let Some(bind) = self.metrics_bind.take() {
            self.config = self.config.observe(open_metrics(&bind, &self.choice.server.info(), stop, operator)?);
        }
        #[cfg(unix)]
        if let Some(line) = descriptors::make_room(&mut self.config) {
            stderr::say(line);
        }
        let prefix = self.config.mount_prefix.clone();
        let info = self.choice.server.info();
        // Others may know nothing of sockets that are bound already.
        if registry::is_ours(self.choice.server) {
            self.config.binds = operator.bind(stop, self.config.binds_or_default(), are_activated)?;
        }
        let binds = self.config.binds_or_default();
        if !operator.is_worker() {
            self.warn_of_unannounced(&binds);
        }
        let (pulse, hooks) = (self.config.pulse.clone(), self.config.timeouts.hooks);
        let mut handle = match self.choice.server.start(application, self.config) {
            Ok(handle) => handle,
            Err(error) => {
                #[cfg(unix)]
                if let (ServeError::Interrupted, Some(signal)) = (&error, stop.interrupted()) {
                    return Err(Exit::signalled(signal));
                }
                return Err(error.into());
            }
        };
        // Before anybody is told that it listens, so that whoever was told can stop it, and upgrade it.
        stop.started(&handle);
        operator.can_be_upgraded(stop, hooks);
        if let Some(fingerprint) = self.fingerprint {
            stderr::say(format!("adapter: made a certificate {fingerprint}\n"));
        }
        if !operator.is_worker() {
            urls::lines(&info, &binds, handle.local_addrs(), &prefix).into_iter().for_each(stderr::say);
        }
        if let Err(error) = operator.serving(stop, pulse) {
            operator.close();
            let _ = handle.stop();
            return Err(ServeError::Io(error).into());
        }
        // Whoever connects from the end of the accepting on is to be refused, and not to wait in a queue that somebody holds.
        let draining = handle.trigger().draining().fired();
        let draining = async {
            draining.await;
            None
        };
        let ended = block_on(or(draining, async { Some(handle.stopped().await) }));
        operator.close();
        let ended = ended.unwrap_or_else(|| handle.wait());
        if let Some(writer) = writer {
            writer.close_unless(|| stop.is_forced());
        }
        ended.map_err(Exit::from)
    }
}

impl std::fmt::Debug for Launcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launcher")
            .field("server", &self.choice.server.info().name)
            .field("config", &self.config)
            .field("access_log", &self.access_log)
            .finish()
    }
}

/// Has counts told at `bind`; gives who is to count.
#[cfg(unix)]
fn open_metrics(bind: &Bind, info: &ServerInfo, stop: &Stop, operator: &mut Operator) -> Result<Arc<Counters>, Exit> {
    let (counters, stop) = (Arc::new(Counters::new()), stop.clone());
    let readiness = Box::new(move || stop.readiness());
    let site = Site { counters: counters.clone(), about: About::new(info), readiness };
    for address in operator.open_metrics(bind, site)? {
        stderr::say(format!("adapter: metrics on http://{address}/metrics\n"));
    }
    Ok(counters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Plain;

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
        let args = |server: &str| <Plain as clap::Parser>::parse_from(["x", "--server", server]).args;
        let servers: [&'static dyn Server; 3] = [&Able("plain"), &Able("http2"), &Able("http2-too")];
        let require = |server: &str, what: &str| {
            let launcher = Launcher::among(&servers, &args(server)).and_then(|launcher| launcher.require(what));
            launcher.map(|launcher| launcher.choice.server.info().name.into_owned())
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
            let secure = <Plain as clap::Parser>::parse_from(["x", "--tls-self-signed"]).args;
            let refused = Launcher::among(&servers, &secure).unwrap_err();
            assert_eq!(refused.status(), 2);
            assert!(refused.text().ends_with("needs tls, which plain does not have (who has it: none)"), "{refused}");
            assert_eq!(Launcher::with_server(servers[0], &secure).unwrap_err().status(), 2);
            // Also where it is the program's own.
            let marked = <Plain as clap::Parser>::parse_from(["x", "--bind", ":1,tls"]).args;
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
        let args = |server: &str| <Plain as clap::Parser>::parse_from(["x", "--server", server]).args;
        let servers: [&'static dyn Server; 3] = [&Able("trailers"), &Able("http2"), &Able("http2-trailers")];
        let both = |server: &str| {
            let launcher = Launcher::among(&servers, &args(server))?.require("http2")?.require("trailers")?;
            Ok::<_, Exit>(launcher.choice.server.info().name.into_owned())
        };
        assert_eq!(both("auto").as_deref(), Ok("http2-trailers"));
        let refused = both("http2").unwrap_err();
        assert!(refused.text().ends_with("(who has it: http2-trailers)"), "{refused}");
    }
}
