//! The pool under the orders of its threads: `.ci/models`, MODELS.md. A thread that is idle may run out of patience at any time.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;

use adapter_core::signal::Signal;
use adapter_core::sync::explore;

use super::*;

/// Nobody waits as long in a model, but where the limit runs out.
const PATIENCE: Duration = Duration::from_secs(3600);

impl BlockingPool {
    /// Ends it, however often the checker lets the patience run out; no thread is left.
    fn end(&self) {
        while !self.stop(PATIENCE) {}
        assert_eq!(self.0.lock().threads, 0, "threads are left");
    }
}

/// One thread does all there is, in order, whether it is idle, busy or about to end when work comes. \[RTM-03\]
#[test]
fn all_work_is_done_in_order() {
    explore(2_000, || {
        let pool = BlockingPool::new(1, 8);
        let (done, order) = mpsc::channel();
        for round in 0..2 {
            let signals = [2 * round, 2 * round + 1].map(|n| {
                let (signal, done) = (Signal::new(), done.clone());
                let fires = signal.clone();
                let job = BlockingJob::new(move || {
                    done.send(n).expect("somebody takes it");
                    fires.fire();
                });
                assert!(pool.run(job).is_ok(), "there is room");
                signal
            });
            for signal in signals {
                signal.wait();
            }
        }
        pool.end();
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    });
}

/// Work that waits for other work has it done on another thread; there are never more threads than allowed. \[CON-02\]
#[test]
fn each_has_a_thread_up_to_the_bound() {
    explore(2_000, || {
        let pool = BlockingPool::new(2, 8);
        let (inside, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let push = {
            let (pool, inside, most) = (pool.clone(), inside.clone(), most.clone());
            move |work: Box<dyn FnOnce() + Send>| {
                let (inside, most) = (inside.clone(), most.clone());
                let job = BlockingJob::new(move || {
                    most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                    work();
                    inside.fetch_sub(1, SeqCst);
                });
                assert!(pool.run(job).is_ok(), "there is room");
            }
        };
        let others = push.clone();
        let others = thread::spawn(move || {
            for _ in 0..2 {
                others(Box::new(thread::yield_now));
            }
        });
        let signals = [Signal::new(), Signal::new()];
        let [first, second] = signals.clone();
        let opens = first.clone();
        push(Box::new(move || {
            first.wait();
            second.fire();
        }));
        push(Box::new(move || {
            opens.fire();
        }));
        for signal in signals {
            signal.wait();
        }
        others.join().expect("it does not panic");
        pool.end();
        assert!(most.load(SeqCst) <= 2, "too many are inside");
    });
}

/// The end takes no work, drops what waits and leaves no thread: all work was done or dropped, once. \[RTM-05\]
#[test]
fn the_end_leaves_nothing() {
    explore(2_000, || {
        let pool = BlockingPool::new(2, 1);
        let (held, done) = (Arc::new(()), Arc::<AtomicUsize>::default());
        let pushes = [(); 2].map(|()| {
            let (pool, held, done) = (pool.clone(), held.clone(), done.clone());
            thread::spawn(move || {
                let taken = [(); 2].map(|()| {
                    let (held, done) = (held.clone(), done.clone());
                    let job = BlockingJob::new(move || {
                        done.fetch_add(1, SeqCst);
                        drop(held);
                    });
                    usize::from(pool.run(job).is_ok())
                });
                taken.iter().sum::<usize>()
            })
        });
        pool.end();
        assert!(pool.run(BlockingJob::new(|| panic!("it has ended"))).is_err());
        let at_end = done.load(SeqCst);
        let taken: usize = pushes.map(|thread| thread.join().expect("it does not panic")).iter().sum();
        assert!(at_end <= taken, "done twice");
        assert_eq!(done.load(SeqCst), at_end, "done behind the end");
        assert_eq!(Arc::strong_count(&held), 1, "work is left");
    });
}
