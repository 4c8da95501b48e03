//! What needs a process of its own: the log, and file descriptors that run out. ERR-06, and what is to be logged

#[cfg(unix)]
use std::fs::File;
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
#[cfg(unix)]
use socket2::{Domain, Socket, Type};

use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::lifecycle::{self, Lifecycle, Running};
use crate::log::{self, Entry};
use crate::wire::patience;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "process",
    title: "Log and descriptors",
    cases: &[
        Case::owned(
            Level::Must,
            "accepting_goes_on",
            "after there were no file descriptors left",
            &["ERR-06"],
            no_descriptors,
        )
        .alone()
        .needs("http1")
        .needs("descriptor-limit"),
        Case::owned(Level::Should, "removal_of_fields_is_logged", "once per response", &["RSP-05c"], removal).alone(),
        Case::owned(Level::Should, "clamped_body_is_logged", "once", &["FRM-03d"], clamped).alone(),
        Case::owned(Level::Should, "short_body_is_logged", "once", &["FRM-04b"], short).alone(),
        Case::owned(Level::Should, "error_is_logged", "once, with its causes", &["ERR-01c"], error).alone(),
        Case::owned(Level::Should, "failed_body_is_logged", "once", &["ERR-04c"], failed).alone(),
        Case::owned(Level::Should, "dead_client_is_not_logged", "above debug level", &["ERR-07b"], dead).alone(),
    ],
};

#[cfg(not(unix))]
fn no_descriptors(_: &mut Lifecycle<'_>) -> Result<(), Failure> {
    Err("this system has no limit of descriptors that a process can set".into())
}

#[cfg(unix)]
fn no_descriptors(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    const FEW: u64 = 512;
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    // Kept open: a descriptor that is freed late would do to accept with.
    let _before = cx.answered(&cx.get("body before"), 200)?;
    // Made before there are none left. A thread that waits in accept() has taken the descriptor for it already, so the
    // first ones may be served; the last must wait.
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(Socket::new(Domain::IPV4, Type::STREAM, None).map_err(|error| error.to_string())?);
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    let few = Rlimit { current: Some(FEW), maximum };
    setrlimit(Resource::Nofile, few).map_err(|error| format!("cannot limit file descriptors: {error}"))?;
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    ensure!(!files.is_empty(), "no file could be opened below the limit");
    let mut connections = Vec::new();
    for socket in sockets {
        let mut connection = cx.connect_with(socket)?;
        connection.send(cx.get("body after").bytes())?;
        connections.push(connection);
    }
    if let Some(last) = connections.last_mut() {
        last.stays_silent(Duration::from_millis(300), "though there is no descriptor to accept with")?;
    }
    drop(files);
    for mut connection in connections {
        ensure_eq!(connection.response("GET")?.text(), "after", "the response once there are descriptors again");
    }
    cx.answered(&cx.get("body later"), 200)?;
    running.stop()
}

/// What the server logs of what `exchange` does, from its first entry to the end of the server.
fn logged(
    life: &mut Lifecycle<'_>,
    exchange: impl Fn(&Running) -> Result<(), Failure>,
    expected: usize,
) -> Result<Vec<Entry>, Failure> {
    let running = life.start(lifecycle::config())?;
    running.context.answered(&running.context.get("body fine"), 200)?;
    let before = log::entries().len();
    exchange(&running)?;
    // Logging may be the last thing a server does about a response.
    let started = Instant::now();
    while log::entries().len() < before + expected && started.elapsed() < patience() {
        std::thread::yield_now();
    }
    running.stop()?;
    Ok(log::entries().split_off(before))
}

/// `script` must be logged once.
fn once(life: &mut Lifecycle<'_>, script: &str, status: u16) -> Result<Entry, Failure> {
    one(life, script, |running| {
        let cx = &running.context;
        let (_, response) = cx.exchange(&cx.get(script))?;
        ensure_eq!(response.status(), status, "the status ({script})");
        Ok(())
    })
}

/// The same of a response that is broken off: who stands in front of a gateway may show nothing of it.
fn once_broken(life: &mut Lifecycle<'_>, script: &str) -> Result<Entry, Failure> {
    one(life, script, |running| {
        let cx = &running.context;
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).close().bytes())?;
        let shown = connection.response("GET");
        ensure!(shown.map_or(true, |shown| shown.truncated), "a response that broke off looks complete ({script})");
        Ok(())
    })
}

fn one(
    life: &mut Lifecycle<'_>,
    script: &str,
    exchange: impl Fn(&Running) -> Result<(), Failure>,
) -> Result<Entry, Failure> {
    let mut entries = logged(life, exchange, 1)?;
    ensure!(entries.len() == 1, "{} entries in the log, not one ({script}): {entries:#?}", entries.len());
    entries.pop().ok_or_else(|| "no entry".into())
}

fn removal(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    for script in [
        "header keep-alive timeout=5; body hello",
        "header connection x-one,x-two; header x-one 1; header te x; header proxy-connection a; stream text:hello",
    ] {
        once(life, script, 200)?;
    }
    Ok(())
}

fn clamped(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    for body in ["body hello", "stream text:hel text:lo text:more", "iter text:hel text:lo text:more"] {
        once(life, &format!("header content-length 4; {body}"), 200)?;
    }
    once(life, "bare; header content-length 4; body hello", 200).map(drop)
}

fn short(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    for body in ["body hello", "stream text:hel text:lo", "iter text:hello"] {
        once_broken(life, &format!("header content-length 9; {body}"))?;
    }
    once_broken(life, "bare; header content-length 9; body hello").map(drop)
}

fn error(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    for face in ["", "blocking; "] {
        let entry = once(life, &format!("{face}error-chain outermost between innermost"), 500)?;
        for cause in ["outermost", "between", "innermost"] {
            ensure!(entry.text.contains(cause), "the cause {cause} is not in the log: {}", entry.text);
        }
        ensure!(entry.level <= tracing::Level::ERROR, "logged as {}", entry.level);
        if cfg!(panic = "unwind") {
            once(life, &format!("{face}panic boom"), 500)?;
        }
    }
    Ok(())
}

fn failed(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    for body in ["stream", "iter", "channel 1 task"] {
        for how in ["error", "panic"] {
            // A feeder that panics is a task of its own, and its body an orphan.
            if how == "panic" && (body.starts_with("channel") || !cfg!(panic = "unwind")) {
                continue;
            }
            once_broken(life, &format!("{body} text:hello {how}"))?;
        }
    }
    Ok(())
}

fn dead(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let entries = logged(
        life,
        |running| {
            for script in [
                "gate never",
                "stream text:x gate:never",
                "stream text:x forever:size:65536",
                "iter text:x forever:size:65536",
                "size 50000000",
                "channel 1 thread text:x forever:size:65536",
                "file 20000000 0 - -",
                "chunk; read; pending",
                "chunk; read?",
                "chunk; echo",
            ] {
                let cx = &running.context;
                let mut connection = cx.connect()?;
                connection.small_window();
                connection
                    .send(cx.request("POST", "/").script(script).field("content-length", "10").tail("12345").bytes())?;
                let is_read = script.starts_with("chunk");
                if is_read {
                    running.wait_for("chunk")?;
                } else if !script.starts_with("gate") {
                    connection.head()?;
                }
                connection.reset();
            }
            // And clients that connect and leave.
            for _ in 0..10 {
                running.context.connect()?.reset();
            }
            Ok(())
        },
        0,
    )?;
    ensure!(entries.is_empty(), "clients that leave are in the log: {entries:#?}");
    Ok(())
}
