//! What the application may ask of whatever serves it. RTM-01 to RTM-06

use std::time::Duration;

use adapter_core::ServerConfig;

use crate::application::{Hooks, LIFESPAN, Records};
use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::{Context, Seen};
use crate::lifecycle::{self, Lifecycle, Running};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "runtime",
    title: "Runtime services",
    cases: &[
        Case::must("time_works", "sleep, timeout and interval, in handlers, bodies and tasks", &["RTM-01"], time),
        Case::must("many_timers_work", "hundreds of sleeps at once end in time", &["RTM-01"], many_timers),
        Case::must("spawned_work_runs", "a future runs on after its handle was dropped", &["RTM-02a"], spawn),
        Case::must("spawned_panic_is_reported", "to who waits, and nothing else ends", &["RTM-02b"], spawn_panic)
            .needs("panic-unwind"),
        Case::must("blocking_work_runs", "where it stops nothing else", &["RTM-03", "CON-02"], blocking),
        Case::owned(
            Level::Must,
            "blocking_work_is_bounded",
            "threads and queue have bounds, and what is beyond is refused",
            &["RTM-03"],
            bounded,
        ),
        Case::must("dropping_cancels", "a sleep or timeout that is dropped", &["RTM-04"], cancel),
        Case::must("spawned_work_outlives_its_request", "after the response is complete", &["RTM-05a"], outlives),
        Case::owned(
            Level::Must,
            "spawned_work_ends_with_the_server",
            "at the deadline, before the shutdown hook",
            &["RTM-05b", "SHU-09"],
            ends,
        ),
        Case::owned(
            Level::Must,
            "shutdown_waits_for_spawned_work",
            "and for what it spawns, before the shutdown hook",
            &["RTM-05c"],
            awaited,
        ),
        Case::owned(
            Level::Must,
            "shutdown_waits_for_blocking_work",
            "that runs and that waits for a thread",
            &["RTM-05c"],
            awaited_blocking,
        ),
        Case::owned(
            Level::Must,
            "shutdown_waits_for_a_departed_clients_call",
            "that blocks, and so goes on without its client",
            &["DIS-05d"],
            awaited_call,
        ),
        Case::owned(
            Level::Must,
            "forced_shutdown_drops_spawned_work",
            "a second trigger ends at once",
            &["RTM-05b", "SHU-07"],
            forced,
        ),
        Case::owned(
            Level::Must,
            "daemons_hold_up_no_shutdown",
            "and are dropped before its hook",
            &["RTM-06"],
            daemons,
        ),
    ],
};

fn number(seen: &Seen, event: &str) -> u64 {
    seen.details(event).last().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn time(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get("sleep 30; timeout 20 never; interval 10 3; spawn-sleep 20; stream sleep:10 text:x"), 200)?;
    let seen = cx.wait_for("spawned-slept")?;
    ensure!(number(&seen, "slept") >= 30, "a sleep of 30 ms took {} ms", number(&seen, "slept"));
    ensure!(seen.has("timeout elapsed"), "a timeout that ran out did not say so");
    ensure_eq!(seen.count("tick"), 3, "ticks of an interval");
    ensure!(number(&seen, "tick") >= 30, "three ticks of 10 ms took {} ms", number(&seen, "tick"));
    cx.again();
    cx.open("now")?;
    cx.answered(&cx.get("timeout 10000 now; body x"), 200)?;
    ensure!(cx.seen()?.has("timeout ready"), "a future that was ready in time");
    cx.answered(&cx.get("sleep 0; body x"), 200).map(drop)
}

fn many_timers(cx: &mut Context) -> Result<(), Failure> {
    let mut connections = Vec::new();
    for index in 0..200 {
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("sleep {}; body done", 200 - index)).bytes())?;
        connections.push(connection);
    }
    for connection in &mut connections {
        ensure_eq!(connection.response("GET")?.text(), "done", "the response after a sleep");
    }
    Ok(())
}

fn spawn(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get("spawn go; body x"), 200)?;
    cx.wait_for("at go")?;
    ensure!(!cx.seen()?.has("spawned-cancelled"), "the future was dropped with its handle");
    cx.open("go")?;
    cx.wait_for("spawned-done").map(drop)
}

fn spawn_panic(cx: &mut Context) -> Result<(), Failure> {
    for _ in 0..10 {
        cx.again();
        cx.answered(&cx.get("spawn-panic; body x"), 200)?;
        ensure!(cx.seen()?.has("task panicked"), "the panic of a task was not reported");
    }
    cx.answered(&cx.get("spawn-sleep 1; body served"), 200)?;
    cx.wait_for("spawned-slept").map(drop)
}

fn blocking(cx: &mut Context) -> Result<(), Failure> {
    let mut connections = Vec::new();
    for _ in 0..8 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("run-blocking go; body done").bytes())?;
        connections.push(connection);
    }
    cx.wait_for_times("at go", 8)?;
    cx.answered(&cx.get("sleep 5; body served"), 200)?;
    cx.open("go")?;
    for connection in &mut connections {
        ensure_eq!(connection.response("GET")?.text(), "done", "the response after blocking work");
    }
    ensure_eq!(cx.seen()?.count("blocking-done"), 8, "blocking work that ran");
    Ok(())
}

fn bounded(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.blocking_threads = 2;
    config.blocking_queue = 3;
    config.threads = Some(4);
    let running = life.start(config)?;
    let cx = &running.context;
    let mut connection = cx.connect()?;
    connection.send(cx.get("run-blocking-many 20 go; body done").bytes())?;
    running.wait_for("jobs-given")?;
    // The jobs that run wait at the gate; what is beyond threads and queue was refused when it was given.
    cx.pause(100)?;
    let began = running.seen().count("job-began");
    ensure!(began <= 4, "{began} jobs run at once on 2 threads");
    running.open("go");
    ensure_eq!(connection.response("GET")?.text(), "done", "the response");
    let seen = running.seen();
    let refused = number(&seen, "jobs-refused");
    ensure!(refused >= 11, "only {refused} of 20 jobs were refused with 2 threads and a queue of 3");
    ensure!(refused < 20, "every job was refused");
    // And then it goes on.
    cx.answered(&cx.get("run-blocking go; body x"), 200)?;
    ensure!(running.seen().has("blocking-done"), "blocking work after the rush");
    running.stop()
}

fn cancel(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get("drop-sleep 20; timeout 20 never; sleep 60; body x"), 200)?;
    let seen = cx.seen()?;
    ensure!(seen.has("sleep-dropped") && seen.has("slept"), "the handler went on after a dropped sleep");
    let (dropped, elapsed) = (seen.position("inner-dropped"), seen.position("timeout elapsed"));
    ensure!(dropped.is_some() && dropped < elapsed, "the future within a timeout was not dropped: {}", seen.summary());
    Ok(())
}

fn outlives(cx: &mut Context) -> Result<(), Failure> {
    let (mut connection, _) = cx.answered(&cx.get("spawn go; spawn-sleep 50; body x").close(), 200)?;
    connection.closed()?;
    cx.wait_for("spawned-slept")?;
    cx.open("go")?;
    cx.wait_for("spawned-done").map(drop)
}

/// Starts a server whose shutdown hook waits, and does `script` there.
fn with_work(life: &mut Lifecycle<'_>, config: ServerConfig, script: &str) -> Result<Running, Failure> {
    let hooks = Hooks { shutdown_gate: Some("hook"), ..Hooks::default() };
    let running = life.start_with(Records::default(), hooks, config);
    let running = running.map_err(|error| format!("the server did not start: {error}"))?;
    let cx = &running.context;
    cx.answered(&cx.get(script).close(), 200)?;
    Ok(running)
}

/// Waits for the shutdown hook, and gives what was seen by then. Then the server may end.
fn at_the_hook(running: Running) -> Result<Seen, Failure> {
    lifecycle::wait_for(&running.records, LIFESPAN, "shutdown")?;
    let seen = running.seen();
    running.records.open(LIFESPAN, "hook");
    running.wait()?.map_err(|error| Failure(error.to_string()))?;
    Ok(seen)
}

fn graceful(limit: Duration) -> ServerConfig {
    let mut config = lifecycle::config();
    config.timeouts.graceful_shutdown = limit;
    config
}

/// Longer than any case waits.
const LONG: Duration = Duration::from_secs(300);

fn ends(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = with_work(life, graceful(Duration::from_millis(300)), "spawn never; spawn-sleep 60000; body x")?;
    running.wait_for("at never")?;
    running.trigger();
    let seen = at_the_hook(running)?;
    ensure!(seen.has("spawned-cancelled"), "a spawned future was there at the shutdown hook: {}", seen.summary());
    Ok(())
}

fn awaited(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = with_work(life, graceful(LONG), "spawn go; spawn-spawn go 300; body x")?;
    lifecycle::wait_for_times(&running.records, running.context.token(), "at go", 2)?;
    running.trigger();
    // Nothing else is open: only who waits for it sees the end of what begins now.
    running.open("go");
    let seen = at_the_hook(running)?;
    ensure!(seen.has("spawned-done"), "a spawned future had not ended at the shutdown hook: {}", seen.summary());
    ensure!(seen.has("spawned-slept"), "a future that one spawned had not ended there: {}", seen.summary());
    Ok(())
}

fn awaited_blocking(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = graceful(LONG);
    config.blocking_threads = 1;
    let running = with_work(life, config, "detach-blocking go 300; detach-blocking go 300; body x")?;
    running.wait_for("at go")?;
    running.trigger();
    running.open("go");
    let seen = at_the_hook(running)?;
    ensure_eq!(seen.count("blocking-done"), 2, "blocking work that had ended at the shutdown hook");
    Ok(())
}

fn awaited_call(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = with_work(life, graceful(LONG), "body x")?;
    let cx = &running.context;
    let mut connection = cx.connect()?;
    connection.send(cx.get("blocking; until-disconnected; gate go; sleep 800; body x").bytes())?;
    running.wait_for("blocking")?;
    drop(connection);
    running.wait_for("at go")?;
    running.trigger();
    running.open("go");
    let seen = at_the_hook(running)?;
    ensure_eq!(seen.count("handler-returned"), 2, "handlers that had returned at the shutdown hook");
    Ok(())
}

fn forced(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = with_work(life, graceful(LONG), "spawn never; body x")?;
    running.wait_for("at never")?;
    running.trigger();
    running.trigger();
    let seen = at_the_hook(running)?;
    ensure!(seen.has("spawned-cancelled"), "a spawned future was there at the shutdown hook: {}", seen.summary());
    Ok(())
}

fn daemons(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = with_work(life, graceful(LONG), "spawn-daemon never; body x")?;
    running.wait_for("at never")?;
    running.trigger();
    let seen = at_the_hook(running)?;
    ensure!(seen.has("spawned-cancelled"), "a daemon was there at the shutdown hook: {}", seen.summary());
    Ok(())
}
