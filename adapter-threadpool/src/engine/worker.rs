//! A worker thread: turn by turn what the scheduler says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::client::{Client, Step};
use super::poller::{BATCH, Events, Source, events, told};
use super::runtime::enter_worker;
use super::schedule::{Done, Job, Permit, Turn};
use super::timers::Due;
use super::{Engine, accept};

/// What a worker keeps between turns.
struct Desk {
    events: Events,
    due: Vec<Due>,
    ready: Vec<Job>,
    tell: Vec<Arc<dyn Client>>,
}

/// The life of a worker.
pub(crate) fn run(engine: &Arc<Engine>) {
    enter_worker();
    let mut desk = Desk { events: events(), due: Vec::new(), ready: Vec::with_capacity(BATCH), tell: Vec::new() };
    let mut done = Done::Born;
    loop {
        done = match engine.next_turn(done, &mut desk.ready) {
            Turn::Work { job, permit } => {
                work(engine, job, permit != Permit::None);
                Done::Work(permit)
            }
            Turn::Lead { block } => {
                lead(engine, &mut desk, block);
                Done::Lead
            }
            Turn::Leave => return,
        };
    }
}

fn work(engine: &Arc<Engine>, job: Job, permit: bool) {
    match job {
        Job::Connection(conn) => {
            // Application code is contained where it is called; this is for mistakes of our own.
            match catch_unwind(AssertUnwindSafe(|| conn.run(permit))) {
                Ok(Step::Parked) => {}
                Ok(Step::Again) => engine.push(Job::Connection(conn)),
                Ok(Step::NeedsPermit { is_new }) => {
                    if let Err(Job::Connection(conn)) = engine.scheduler.wait_for_permit(Job::Connection(conn), is_new)
                    {
                        conn.refuse();
                    }
                }
                Err(_) => {
                    tracing::error!(target: "adapter", "the server panicked while it served a connection");
                    conn.abort();
                }
            }
        }
        Job::Task(task) => task.run(engine),
        Job::Blocking(job) => job.run(),
    }
}

/// Waits for events, and makes ready what they are about.
fn lead(engine: &Arc<Engine>, desk: &mut Desk, block: bool) {
    let timeout = if block {
        engine.timers.leader_sleeps().map(|at| Duration::from_nanos(at.saturating_sub(engine.now())))
    } else {
        Some(Duration::ZERO)
    };
    desk.events.clear();
    engine.poller.wait(&mut desk.events, timeout);
    let now = engine.now();
    engine.timers.leader_awake(now, &mut desk.due);

    let ready = &mut desk.ready;
    let mut listeners = 0_u64;
    let (mut corked, mut left) = (false, false);
    let tokens = desk.events.iter().map(told).filter_map(|(source, flags)| match source {
        Source::Connection(token) => Some((token, flags)),
        Source::Listener(index) => {
            listeners |= 1 << index.min(63);
            None
        }
        Source::Interrupt => None,
    });
    engine.connections.visit(tokens, |conn, flags| {
        let reported = conn.on_event(flags);
        if reported.tell {
            desk.tell.push(conn.clone());
        }
        corked |= reported.corked;
        left |= reported.left;
        if reported.queue {
            ready.push(Job::Connection(conn.clone()));
        }
    });
    for conn in desk.tell.drain(..) {
        // Wakes whom the application has wait for it, which may push to the queue.
        let _ = adapter_core::contain::catch("waker", || conn.tell());
    }
    for due in desk.due.drain(..) {
        match due {
            // May push to the queue.
            Due::Sleeper(waker) => {
                let _ = adapter_core::contain::catch("waker", || waker.wake());
            }
            Due::Connection(token) => engine.connections.visit(std::iter::once((token, 0)), |conn, _| {
                let reported = conn.on_timer();
                corked |= reported.corked;
                if reported.late {
                    desk.tell.push(conn.clone());
                }
                if reported.queue {
                    ready.push(Job::Connection(conn.clone()));
                }
            }),
            Due::Acceptor => accept::on_timer(engine),
        }
    }
    for conn in desk.tell.drain(..) {
        // Tells the log and the observers.
        let _ = adapter_core::contain::catch("observer", || conn.answer_late());
    }
    if left {
        engine.scheduler.let_out();
    }
    if corked {
        engine.scheduler.watch_on();
    }
    if listeners != 0 {
        accept::accept(engine, listeners);
    }
}
