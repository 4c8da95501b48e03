//! From start to the first connection, and after the last. LIF-01 to LIF-09, SHU-11, REG-03

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use adapter_core::signal::Signal;
use adapter_core::{Application, Body, DynApplication, Environ, Error, Request, Response, ServeError, ServerInfo};

use crate::application::{Hooks, LIFESPAN, Records};
use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::{Context, Seen};
use crate::lifecycle::{self, Lifecycle, Running, wait_for};
use crate::wire::Endpoint;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "lifespan",
    title: "Start and hooks",
    cases: &[
        Case::owned(
            Level::Must,
            "startup_comes_first",
            "nothing is served before the startup hook is done",
            &["LIF-01"],
            startup_first,
        )
        .needs("http1"),
        Case::owned(
            Level::Must,
            "failing_startup_is_an_error",
            "start returns it, and nothing is served",
            &["LIF-02"],
            startup_fails,
        ),
        Case::owned(Level::Must, "panicking_startup_is_an_error", "as is a panic", &["LIF-02"], startup_panics)
            .needs("panic-unwind"),
        Case::owned(
            Level::Must,
            "no_hooks_are_needed",
            "an application without hooks is served",
            &["LIF-03"],
            no_hooks,
        ),
        Case::owned(
            Level::Must,
            "state_of_startup_is_visible",
            "requests see what startup made",
            &["LIF-04", "CON-10"],
            state,
        ),
        Case::owned(
            Level::Must,
            "address_is_known",
            "to the hook and to the caller, with the actual port",
            &["LIF-05"],
            address,
        ),
        Case::owned(Level::Must, "several_addresses_are_served", "each of them, in order", &["LIF-05"], addresses)
            .needs("http1"),
        Case::owned(
            Level::Must,
            "shutdown_hook_comes_last",
            "after the last connection has ended",
            &["LIF-06"],
            shutdown_last,
        ),
        Case::owned(Level::Must, "failing_shutdown_is_reported", "by wait", &["LIF-06"], shutdown_fails),
        Case::owned(
            Level::Should,
            "slow_startup_is_an_error",
            "after the time the operator set",
            &["LIF-07"],
            slow_startup,
        ),
        Case::owned(Level::Should, "slow_shutdown_is_an_error", "likewise", &["LIF-07"], slow_shutdown),
        Case::owned(Level::Must, "hooks_run_once", "however many threads there are", &["LIF-08"], hooks_once),
        Case::owned(Level::Must, "bind_failure_is_an_error", "and names the address", &["SHU-11"], bind_failure),
        Case::owned(
            Level::Must,
            "unusable_settings_are_errors",
            "named, before anything is bound",
            &["REG-03"],
            unusable,
        ),
        Case::owned(
            Level::Must,
            "drop_of_the_application_is_contained",
            "after the end, and where the start fails",
            &["LIF-09"],
            dropped,
        ),
    ],
};

fn started(life: &mut Lifecycle<'_>, hooks: Hooks) -> Result<Running, ServeError> {
    life.start_with(Records::default(), hooks, lifecycle::config())
}

fn startup_first(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    // The port is chosen here, because start does not return before the hook is done.
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    drop(listener);
    let records = Records::default();
    let mut config = lifecycle::config();
    config.binds = vec![adapter_core::Bind::Tcp(address)];
    let tls = config.tls.as_ref().and_then(|_| crate::secure::client());
    let server = life.server();
    let hooks = Hooks { startup_gate: Some("go"), ..Hooks::default() };
    std::thread::scope(|scope| {
        let shared = records.clone();
        let starting = scope.spawn(move || {
            let application = crate::application::Conformance::with_hooks(shared, hooks).mount();
            server.start(application, config)
        });
        let outcome = (|| -> Result<(), Failure> {
            wait_for(&records, LIFESPAN, "at go")?;
            // Early clients wait in the backlog, or are refused.
            let early = Context::new(Endpoint { tls, ..address.into() }, Default::default()).connect();
            if let Ok(mut early) = early {
                let request = "GET / HTTP/1.1\r\nhost: a\r\nx-conformance-token: early\r\n\r\n";
                early.send(request)?;
                early.stays_silent(Duration::from_millis(300), "before the startup hook was done")?;
                ensure!(records.events("early").is_empty(), "a call before the startup hook was done");
                records.open(LIFESPAN, "go");
                ensure_eq!(early.response("GET")?.status(), 200, "the status for an early client");
                let seen = Seen::new(records.events(LIFESPAN));
                ensure!(seen.has("started"), "a call before the startup hook was done");
            }
            Ok(())
        })();
        records.open(LIFESPAN, "go");
        let handle = starting.join().map_err(|_| Failure("start panicked".into()))?;
        let handle = handle.map_err(|error| Failure(format!("start failed: {error}")))?;
        handle.trigger().force();
        outcome
    })
}

/// `start` failed with a startup error, and nothing listens or was called.
fn did_not_start(outcome: Result<Running, ServeError>, records: &Records) -> Result<(), Failure> {
    match outcome {
        Ok(_) => return Err("start succeeded though the startup hook failed".into()),
        Err(ServeError::Startup(_)) => {}
        Err(other) => return Err(format!("start failed with {other:?} instead of a startup error").into()),
    }
    let seen = Seen::new(records.events(LIFESPAN));
    for bound in seen.details("startup-address") {
        let open =
            bound.parse().is_ok_and(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok());
        ensure!(!open, "{bound} still accepts connections after a failed start");
    }
    ensure!(!seen.has("shutdown"), "the shutdown hook ran though startup failed");
    Ok(())
}

fn startup_fails(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let records = Records::default();
    let hooks = Hooks { startup_fails: true, ..Hooks::default() };
    let outcome = life.start_with(records.clone(), hooks, lifecycle::config());
    did_not_start(outcome, &records)
}

fn startup_panics(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let records = Records::default();
    let hooks = Hooks { startup_panics: true, ..Hooks::default() };
    let outcome = life.start_with(records.clone(), hooks, lifecycle::config());
    did_not_start(outcome, &records)
}

fn no_hooks(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let plain = |_request: Request, _environ: Environ| async { Ok::<_, Error>(Response::new(Body::from("plain"))) };
    let running = life
        .start_application(adapter_core::DynApplication::new(plain), Records::default(), lifecycle::config())
        .map_err(|error| error.to_string())?;
    ensure_eq!(running.context.answered(&running.context.get(""), 200)?.1.text(), "plain", "the response");
    running.stop()
}

fn state(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, Hooks::default()).map_err(|error| error.to_string())?;
    for _ in 0..8 {
        running.context.answered(&running.context.get(""), 200)?;
    }
    let calls = running.seen().calls();
    ensure!(calls.iter().all(|call| call.env("started") == "made at startup"), "state of startup is not visible");
    running.stop()
}

fn address(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, Hooks::default()).map_err(|error| error.to_string())?;
    ensure!(running.addresses.iter().all(|address| address.port() != 0), "the caller was told port 0");
    let told = running.lifespan().details("startup-address");
    let known: Vec<String> = running.addresses.iter().map(ToString::to_string).collect();
    ensure_eq!(told, known, "the address told to the startup hook");
    running.context.answered(&running.context.get(""), 200)?;
    running.stop()
}

fn addresses(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let config = lifecycle::config().bind(adapter_core::Bind::Tcp(([127, 0, 0, 1], 0).into()));
    let running = life.start(config)?;
    ensure_eq!(running.addresses.len(), 2, "addresses the caller was told");
    for address in &running.addresses {
        let mut connection = running.context.connect_to(*address)?;
        connection.send(running.context.get("body x").close().bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "x", "the response at {address}");
    }
    let locals: Vec<String> = running.seen().calls().iter().map(|call| call.env("local").to_owned()).collect();
    let expected: Vec<String> = running.addresses.iter().map(ToString::to_string).collect();
    ensure_eq!(locals, expected, "the local addresses of the requests");
    running.stop()
}

fn shutdown_last(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, Hooks::default()).map_err(|error| error.to_string())?;
    let cx = &running.context;
    let mut connection = cx.connect()?;
    connection.send(cx.get("gate go; stream text:a gate:on text:b").bytes())?;
    running.wait_for("at go")?;
    running.trigger();
    ensure!(!running.lifespan().has("shutdown"), "the shutdown hook ran while a request was served");
    running.open("go");
    running.wait_for("at on")?;
    ensure!(!running.lifespan().has("shutdown"), "the shutdown hook ran while a body was sent");
    running.open("on");
    ensure_eq!(connection.response("GET")?.text(), "ab", "the response");
    let records = running.records.clone();
    running.wait()?.map_err(|error| Failure(format!("the server ended with an error: {error}")))?;
    ensure_eq!(Seen::new(records.events(LIFESPAN)).count("shutdown"), 1, "how often the shutdown hook ran");
    Ok(())
}

fn shutdown_fails(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let hooks = Hooks { shutdown_fails: true, ..Hooks::default() };
    let running = started(life, hooks).map_err(|error| error.to_string())?;
    running.context.answered(&running.context.get("").close(), 200)?;
    running.trigger();
    match running.wait()? {
        Err(ServeError::Shutdown(error)) if error.to_string().contains("shutdown fails") => Ok(()),
        other => Err(format!("wait returned {other:?} instead of the error of the shutdown hook").into()),
    }
}

fn slow_startup(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.timeouts.hooks = Some(Duration::from_millis(200));
    let hooks = Hooks { startup_gate: Some("never"), ..Hooks::default() };
    match life.start_with(Records::default(), hooks, config) {
        Err(ServeError::HookTimeout { hook: "startup" }) => Ok(()),
        Err(other) => Err(format!("start failed with {other:?}").into()),
        Ok(_) => Err("start succeeded though the startup hook did not return".into()),
    }
}

fn slow_shutdown(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.timeouts.hooks = Some(Duration::from_millis(200));
    let hooks = Hooks { shutdown_gate: Some("never"), ..Hooks::default() };
    let running = life.start_with(Records::default(), hooks, config).map_err(|error| error.to_string())?;
    running.trigger();
    match running.wait()? {
        Err(ServeError::HookTimeout { hook: "shutdown" }) => Ok(()),
        other => Err(format!("wait returned {other:?}").into()),
    }
}

fn hooks_once(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config().bind(adapter_core::Bind::Tcp(([127, 0, 0, 1], 0).into()));
    config.threads = Some(4);
    let running = life.start(config)?;
    for _ in 0..20 {
        running.context.answered(&running.context.get("").close(), 200)?;
    }
    let records = running.records.clone();
    running.trigger();
    running.trigger.trigger();
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    let seen = Seen::new(records.events(LIFESPAN));
    ensure_eq!(seen.count("startup"), 1, "how often startup ran");
    ensure_eq!(seen.count("shutdown"), 1, "how often shutdown ran");
    Ok(())
}

fn bind_failure(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let taken = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = taken.local_addr().map_err(|error| error.to_string())?;
    // Also as the second of two: the first must not stay bound.
    for binds in [vec![address], vec![([127, 0, 0, 1], 0).into(), address]] {
        let records = Records::default();
        let mut config = lifecycle::config();
        config.binds = binds.into_iter().map(adapter_core::Bind::Tcp).collect();
        match life.start_with(records.clone(), Hooks::default(), config) {
            Err(error @ ServeError::Bind { .. }) => {
                ensure!(
                    error.to_string().contains(&address.to_string()),
                    "the error does not name the address: {error}"
                );
            }
            Err(other) => return Err(format!("start failed with {other:?} instead of a bind error").into()),
            Ok(_) => return Err("start succeeded on an address in use".into()),
        }
        ensure!(!Seen::new(records.events(LIFESPAN)).has("startup"), "the startup hook ran without an address");
    }
    Ok(())
}

fn unusable(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut unknown = lifecycle::config();
    unknown.options.insert("no-such-option".into(), "1".into());
    let mut zero = lifecycle::config();
    zero.timeouts.header_read = Some(Duration::ZERO);
    let mut threads = lifecycle::config();
    threads.threads = Some(0);
    // No `http::HeaderMap` holds so many fields, no `http::Uri` is so long: what is not refused here panics later.
    let mut fields = lifecycle::config();
    fields.limits.header_count = 40_000;
    let mut target = lifecycle::config();
    target.limits.target_bytes = 1 << 20;
    let mut head = lifecycle::config();
    head.limits.head_bytes = usize::MAX;
    for (config, name) in [
        (unknown, "no-such-option"),
        (zero, "header_read"),
        (threads, "threads"),
        (fields, "header_count"),
        (target, "target_bytes"),
        (head, "head_bytes"),
    ] {
        let records = Records::default();
        match life.start_with(records.clone(), Hooks::default(), config) {
            Err(error @ ServeError::Config { .. }) => {
                ensure!(error.to_string().contains(name), "the error does not name {name}: {error}");
            }
            Err(other) => return Err(format!("start failed with {other:?} instead of naming {name}").into()),
            Ok(_) => return Err(format!("start ignored an unusable {name}").into()),
        }
        ensure!(records.events(LIFESPAN).is_empty(), "the startup hook ran though {name} is unusable");
    }
    Ok(())
}

/// Panics when it is dropped, having said so.
struct Fragile {
    dropped: Signal,
    starts: bool,
}

impl Application for Fragile {
    async fn call(&self, _: Request, _: Environ) -> Result<Response, Error> {
        Ok(Response::new(Body::from("fragile")))
    }

    async fn startup(&self, _: &ServerInfo) -> Result<(), Error> {
        if self.starts { Ok(()) } else { Err("conformance: startup fails".into()) }
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.dropped.fire();
        crate::application::panic("in the drop of the application")
    }
}

fn dropped(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (gone, records) = (Signal::new(), Records::default());
    let fragile = DynApplication::new(Fragile { dropped: gone.clone(), starts: true });
    let running = life.start_application(fragile, records.clone(), lifecycle::config());
    let running = running.map_err(|error| Failure(error.to_string()))?;
    running.context.answered(&running.context.get("").close(), 200)?;
    ensure!(!gone.is_fired(), "the application was dropped while it was served");
    running.stop()?;
    ensure!(gone.is_fired(), "the application outlived the server");
    let gone = Signal::new();
    let fragile = DynApplication::new(Fragile { dropped: gone.clone(), starts: false });
    let outcome = life.start_application(fragile, records, lifecycle::config());
    ensure!(outcome.is_err(), "the server started, although the hook failed");
    ensure!(gone.is_fired(), "the application outlived a start that failed");
    Ok(())
}
