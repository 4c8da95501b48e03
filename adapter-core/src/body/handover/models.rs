//! The queue under the orders of its threads: `.ci/models`, MODELS.md.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use http_body::Body as _;

use super::*;
use crate::runtime::{BoxFuture, Driver};
use crate::sync::{block_on, explore, thread};

/// Bytes of a frame: two and a half fill the queue.
const SIZE: usize = 2 * AHEAD / 5;
/// Frames of a body.
const FRAMES: u8 = 5;

/// Runs jobs as they come, each on a thread of its own; or refuses them.
struct Threads {
    refuses: bool,
}

impl Driver for Threads {
    fn sleep_until(&self, _deadline: Instant) -> BoxFuture<()> {
        Box::pin(pending())
    }

    fn spawn(&self, _future: BoxFuture<()>) {}

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        if self.refuses {
            return Err(job);
        }
        thread::spawn(|| job.run());
        Ok(())
    }
}

/// Gives the frames from `next` on, as the feeder of an iterator does. Counted as long as it is there.
struct Frames {
    next: u8,
    there: Arc<AtomicUsize>,
}

impl Frames {
    fn new(there: &Arc<AtomicUsize>) -> Self {
        there.fetch_add(1, SeqCst);
        Frames { next: 0, there: there.clone() }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.there.fetch_sub(1, SeqCst);
    }
}

impl Feeder for Frames {
    fn go_on(mut self, mut giver: Giver<Self>) {
        loop {
            let given = match giver.wait_until_wanted() {
                Some(false) => return giver.end(),
                None => Given::Full(Ok(Frame::data(Bytes::new()))),
                Some(true) if self.next == FRAMES => return giver.end(),
                Some(true) => giver.give(Ok(Frame::data(Bytes::from(vec![self.next; SIZE])))),
            };
            match given {
                Given::Taken => self.next += 1,
                Given::Unwanted => return giver.end(),
                Given::Full(_) => match giver.park(self) {
                    Some((again, feeder)) => (giver, self) = (again, feeder),
                    None => return,
                },
            }
        }
    }

    fn let_go(self) {}
}

fn begin(refuses: bool) -> (Arc<AtomicUsize>, Taker<Frames>, thread::JoinHandle<()>) {
    let there = Arc::default();
    let (giver, taker) = handover(None, &Runtime::new(Threads { refuses }));
    let frames = Frames::new(&there);
    let feeds = thread::Builder::new().spawn(move || frames.go_on(giver)).expect("nothing fails");
    (there, taker, feeds)
}

fn next(taker: &mut Taker<Frames>) -> Option<Message> {
    block_on(poll_fn(|cx| Pin::new(&mut *taker).poll_frame(cx)))
}

/// Waits until nothing of the feeder is left: whoever holds it ends.
fn until_gone(there: &AtomicUsize) {
    while there.load(SeqCst) > 0 {
        thread::yield_now();
    }
}

/// All of it arrives, in order, whether the thread waits, or is parked and called.
#[test]
fn what_is_given_is_taken_in_order() {
    explore(2_000, || {
        let (there, mut taker, feeds) = begin(false);
        let mut count = 0;
        while let Some(frame) = next(&mut taker) {
            let data = frame.expect("nothing fails").into_data().expect("it is data");
            assert_eq!((data.len(), data.first()), (SIZE, Some(&count)));
            count += 1;
        }
        assert_eq!(count, FRAMES);
        feeds.join().expect("it does not panic");
        until_gone(&there);
    });
}

/// Who takes no more has the feeder let go, wherever it is. \[BOD-10\]
#[test]
fn what_feeds_is_let_go_where_nobody_takes() {
    explore(2_000, || {
        let (there, mut taker, feeds) = begin(false);
        assert!(next(&mut taker).is_some());
        drop(taker);
        feeds.join().expect("it does not panic");
        until_gone(&there);
    });
}

/// A server that takes no job any more breaks the body off: who waits for it learns that. \[BOD-14\]
#[test]
fn a_job_that_is_refused_breaks_the_body_off() {
    explore(2_000, || {
        let (there, mut taker, feeds) = begin(true);
        let mut count = 0;
        let whole = loop {
            match next(&mut taker) {
                Some(Ok(_)) => count += 1,
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        assert_eq!(whole, count == FRAMES, "half was taken for the whole");
        drop(taker);
        feeds.join().expect("it does not panic");
        until_gone(&there);
    });
}
