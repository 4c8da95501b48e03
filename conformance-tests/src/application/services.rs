//! Steps that use what a server offers beside request and response: time, tasks, threads, signals, hints.

use std::time::{Duration, Instant};

use adapter_core::{Environ, Error, ShutdownTrigger, TaskError};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::records::{Dropped, Log};
use super::script::Step;

/// A slot for the trigger of the server, deployed with it so that a handler can use it (SHU-10).
pub(crate) type TriggerSlot = std::sync::Arc<std::sync::OnceLock<ShutdownTrigger>>;

/// Does `step` if it is one of these; `false` if it is not.
pub(super) async fn step(step: &Step, log: &Log, environ: &Environ) -> Result<bool, Error> {
    let runtime = environ.runtime();
    let milliseconds = Duration::from_millis(step.number(0));
    match step.name.as_str() {
        "gate" => log.gate(&step.text(0)).await,
        "record" => log.record(step.text(0)),
        "sleep" => {
            let started = Instant::now();
            runtime.sleep(milliseconds).await;
            log.record(format!("slept {}", started.elapsed().as_millis()));
        }
        "busy" => {
            log.record("busy");
            // Deliberately without a yield: what runs beside it runs on another thread.
            std::thread::sleep(milliseconds);
            log.record("idle");
        }
        "timeout" => {
            let (inner, gate) = (log.clone(), step.text(1));
            let future = async move {
                let _guard = Dropped::new(&inner, "inner-dropped");
                inner.gate(&gate).await;
            };
            let outcome = runtime.timeout(milliseconds, future).await;
            log.record(if outcome.is_ok() { "timeout ready" } else { "timeout elapsed" });
        }
        "interval" => {
            let started = Instant::now();
            let mut interval = runtime.interval(milliseconds);
            for _ in 0..step.number(1) {
                interval.tick().await;
                log.record(format!("tick {}", started.elapsed().as_millis()));
            }
        }
        "drop-sleep" => {
            // Polled once, so that the timer is armed, and dropped.
            let sleep = runtime.sleep(milliseconds);
            let _ = futures_lite::future::poll_once(sleep).await;
            log.record("sleep-dropped");
        }
        "spawn" | "spawn-daemon" => {
            let (log, gate) = (log.clone(), step.text(0));
            let future = async move {
                let mut guard = Dropped::new(&log, "spawned-cancelled");
                log.gate(&gate).await;
                guard.becomes("spawned-done");
            };
            drop(if step.name == "spawn" { runtime.spawn(future) } else { runtime.spawn_daemon(future) });
        }
        "spawn-sleep" => {
            let (log, sleep) = (log.clone(), runtime.sleep(milliseconds));
            let future = async move {
                sleep.await;
                log.record("spawned-slept");
            };
            runtime.spawn(future).detach();
        }
        "spawn-spawn" => {
            let (log, inner, gate) = (log.clone(), runtime.clone(), step.text(0));
            let milliseconds = Duration::from_millis(step.number(1));
            let future = async move {
                log.gate(&gate).await;
                let sleep = inner.sleep(milliseconds);
                let second = async move {
                    sleep.await;
                    log.record("spawned-slept");
                };
                inner.spawn(second).detach();
            };
            runtime.spawn(future).detach();
        }
        "spawn-panic" => {
            let task = runtime.spawn(async { super::panic("in a task") });
            let outcome: Result<(), TaskError> = task.await;
            log.record(match outcome {
                Err(TaskError::Panicked(_)) => "task panicked",
                _ => "task survived",
            });
        }
        "run-blocking" => {
            let (inner, gate) = (log.clone(), step.text(0));
            let outcome = runtime.run_blocking(move || inner.gate_blocking(&gate)).await;
            log.record(if outcome.is_ok() { "blocking-done" } else { "blocking-refused" });
        }
        "detach-blocking" => {
            let (log, gate) = (log.clone(), step.text(0));
            let milliseconds = Duration::from_millis(step.number(1));
            let work = move || {
                log.gate_blocking(&gate);
                std::thread::sleep(milliseconds);
                log.record("blocking-done");
            };
            runtime.run_blocking(work).detach();
        }
        "run-blocking-many" => run_blocking_many(step, log, environ).await,
        "disconnected" => {
            environ.disconnected().await;
            log.record("disconnected");
        }
        "disconnected?" => log.record(format!("flag {}", environ.is_disconnected())),
        "watch" => watch(log, environ),
        "watch-shutdown" => {
            let (log, fired) = (log.clone(), environ.shutting_down());
            let future = async move {
                fired.await;
                log.record("saw-shutdown");
            };
            runtime.spawn(future).detach();
        }
        "shutting-down" => {
            environ.shutting_down().await;
            log.record(format!("shutting-down {}", environ.is_shutting_down()));
        }
        "trigger" => {
            let slot = environ.deployed::<TriggerSlot>().and_then(|slot| slot.get());
            slot.ok_or("conformance: no trigger was deployed")?.trigger();
            log.record("triggered");
        }
        "woken-by-thread" => {
            let (sender, receiver) = adapter_core::Body::channel(1);
            let thread = std::thread::Builder::new().name("nobody's".into());
            thread.spawn(move || sender.send_blocking("wake"))?;
            let mut receiver = receiver;
            let woken = receiver.frame().await.is_some();
            log.record(format!("woken {woken}"));
        }
        "hints" => {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_bytes(&step.bytes(0))?, HeaderValue::from_bytes(&step.bytes(1))?);
            let outcome = environ.early_hints().map(|hints| hints.send(&headers));
            log.record(format!("hints {}", outcome.map_or("none".into(), |sent| format!("{sent:?}").replace(' ', ""))));
        }
        "spawn-hints" => {
            let (log, environ, gate) = (log.clone(), environ.clone(), step.text(0));
            let future = async move {
                log.gate(&gate).await;
                let mut headers = HeaderMap::new();
                headers.insert("x-late", HeaderValue::from_static("hint"));
                let outcome = environ.early_hints().map(|hints| hints.send(&headers).is_ok());
                log.record(format!("late-hints {outcome:?}"));
            };
            runtime.spawn(future).detach();
        }
        "report" => environ.report(step.text(0)),
        "threads" => log.record(format!("threads {}", threads())),
        "open-files" => log.record(format!("open-files {}", open_files(&step.text(0)))),
        _ => return Ok(false),
    }
    Ok(true)
}

/// `run-blocking-many COUNT GATE`: gives COUNT jobs that wait at GATE; once a job was refused, records how many were
/// and opens nothing: that is the client's.
async fn run_blocking_many(step: &Step, log: &Log, environ: &Environ) {
    let mut tasks = Vec::new();
    for _ in 0..step.number(0) {
        let (inner, gate) = (log.clone(), step.text(1));
        tasks.push(environ.runtime().run_blocking(move || {
            inner.record("job-began");
            inner.gate_blocking(&gate);
        }));
    }
    log.record("jobs-given");
    let mut refused = 0;
    for task in tasks {
        refused += u32::from(task.await == Err(TaskError::Refused));
    }
    log.record(format!("jobs-refused {refused}"));
}

/// Two tasks that wait for the disconnect, one of them twice. \[DIS-06\]
fn watch(log: &Log, environ: &Environ) {
    for _ in 0..2 {
        let (log, seen) = (log.clone(), environ.clone());
        let future = async move {
            seen.disconnected().await;
            seen.disconnected().await;
            log.record(format!("saw-disconnect {}", seen.is_disconnected()));
        };
        environ.runtime().spawn(future).detach();
    }
}

/// Threads of this process; 0 where `/proc` does not tell.
pub(super) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Open files of this process whose name contains `name`.
pub(super) fn open_files(name: &str) -> usize {
    let Ok(files) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let target = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
    files.filter_map(target).filter(|path| path.to_string_lossy().contains(name)).count()
}
