//! The queue with jobs that are run by hand.

use std::future::poll_fn;
use std::sync::mpsc;
use std::thread;

use futures_lite::future::{block_on, pending, poll_once};
use http_body::Body as _;

use super::*;
use crate::runtime::{BoxFuture, Driver};

type Line = Arc<Mutex<VecDeque<BlockingJob>>>;

/// Keeps jobs in a line, or refuses them.
#[derive(Clone, Default)]
struct ByHand {
    line: Line,
    refuses: bool,
}

impl ByHand {
    fn queue<F: Feeder>(&self) -> (Giver<F>, Taker<F>) {
        handover(None, &Runtime::new(self.clone()))
    }

    /// The job that is next, which is one that no bound is for.
    fn take(&self) -> BlockingJob {
        let job = self.line.lock().unwrap().pop_front().expect("a job in line");
        assert!(job.is_accepted());
        job
    }

    fn waiting(&self) -> usize {
        self.line.lock().unwrap().len()
    }
}

impl Driver for ByHand {
    fn sleep_until(&self, _deadline: Instant) -> BoxFuture<()> {
        Box::pin(pending())
    }

    fn spawn(&self, _future: BoxFuture<()>) {}

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        let mut line = self.line.lock().unwrap();
        match job {
            job if self.refuses => return Err(job),
            job if job.goes_first() => line.push_front(job),
            job => line.push_back(job),
        }
        Ok(())
    }
}

/// Runs jobs as they come, each on a thread of its own.
struct AtOnce;

impl Driver for AtOnce {
    fn sleep_until(&self, _deadline: Instant) -> BoxFuture<()> {
        Box::pin(pending())
    }

    fn spawn(&self, _future: BoxFuture<()>) {}

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        thread::spawn(|| job.run());
        Ok(())
    }
}

/// Gives `next` and what follows up to `end`, each `size` bytes long; tells that it is gone, and who let it go.
struct Counting {
    next: u32,
    end: u32,
    size: usize,
    gone: mpsc::Sender<&'static str>,
}

impl Counting {
    fn new(end: u32, size: usize) -> (Self, mpsc::Receiver<&'static str>) {
        let (gone, is_gone) = mpsc::channel();
        (Counting { next: 0, end, size, gone }, is_gone)
    }

    fn run(mut self, mut giver: Giver<Self>) {
        while self.next < self.end {
            let mut data = vec![0; self.size];
            data[..4].copy_from_slice(&self.next.to_be_bytes());
            match giver.give(Ok(Frame::data(data.into()))) {
                Given::Taken => self.next += 1,
                Given::Unwanted => return,
                Given::Full(_) => match giver.park(self) {
                    Some(back) => (giver, self) = back,
                    None => return,
                },
            }
        }
        drop(self);
        giver.end();
    }
}

impl Feeder for Counting {
    fn go_on(self, giver: Giver<Self>) {
        self.run(giver);
    }

    fn let_go(self) {
        let _ = self.gone.send("let go");
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = self.gone.send("dropped");
    }
}

fn next<F: Feeder>(taker: &mut Taker<F>) -> Option<Message> {
    block_on(poll_fn(|cx| Pin::new(&mut *taker).poll_frame(cx)))
}

/// The next frame's length, if there is a frame.
fn next_ready<F: Feeder>(taker: &mut Taker<F>) -> Option<usize> {
    let polled = block_on(poll_once(poll_fn(|cx| Pin::new(&mut *taker).poll_frame(cx))));
    polled.map(|next| size(&next.expect("no end")))
}

#[test]
fn keeps_order_across_threads_and_ends() {
    let (giver, mut taker) = handover(None, &Runtime::new(AtOnce));
    let (feeder, _gone) = Counting::new(20_000, 64);
    let thread = thread::spawn(move || feeder.run(giver));
    let mut seen = Vec::new();
    while let Some(message) = next(&mut taker) {
        seen.extend_from_slice(&message.unwrap().into_data().unwrap());
    }
    thread.join().unwrap();
    let numbers = seen.chunks(64).map(|piece| u32::from_be_bytes(piece[..4].try_into().unwrap()));
    assert!(numbers.eq(0..20_000));
}

#[test]
fn a_giver_that_is_dropped_breaks_the_body_off_after_what_it_gave() {
    let (mut giver, mut taker) = handover::<Counting>(Some(9), &Runtime::new(AtOnce));
    assert!(matches!(giver.give(Ok(Frame::data(Bytes::from_static(b"abc")))), Given::Taken));
    drop(giver);
    assert_eq!(next(&mut taker).unwrap().unwrap().into_data().unwrap(), "abc");
    assert_eq!(taker.size_hint().exact(), Some(6));
    assert!(next(&mut taker).unwrap().is_err());
    assert!(next(&mut taker).is_none());
}

#[test]
fn who_keeps_up_needs_no_job() {
    let server = ByHand::default();
    let (mut giver, mut taker) = server.queue::<Counting>();
    for _ in 0..3 {
        assert!(matches!(giver.give(Ok(Frame::data(Bytes::from_static(b"abc")))), Given::Taken));
        assert_eq!((next_ready(&mut taker), server.waiting()), (Some(3), 0));
    }
}

#[test]
fn a_queue_that_stays_full_gives_the_thread_back_until_half_of_it_is_taken() {
    let server = ByHand::default();
    let (giver, mut taker) = server.queue();
    let (feeder, gone) = Counting::new(10, 16 * 1024);
    feeder.run(giver);
    assert!(gone.try_recv().is_err(), "it is not dropped");
    assert_eq!((next_ready(&mut taker), server.waiting()), (Some(16 * 1024), 0));
    assert_eq!((next_ready(&mut taker), server.waiting()), (Some(16 * 1024), 1));
    assert_eq!((next_ready(&mut taker), server.waiting()), (Some(16 * 1024), 1), "it is in line already");
    server.take().run();
    let mut taken = 3;
    while gone.try_recv().is_err() {
        assert!(next_ready(&mut taker).is_some());
        taken += 1;
        if server.waiting() > 0 {
            server.take().run();
        }
    }
    while next(&mut taker).is_some() {
        taken += 1;
    }
    assert_eq!((taken, server.waiting()), (10, 0));
}

#[test]
fn what_is_parked_is_let_go_by_a_job_of_its_own() {
    let server = ByHand::default();
    let (giver, taker) = server.queue();
    let (feeder, gone) = Counting::new(10, 16 * 1024);
    feeder.run(giver);
    drop(taker);
    assert!(gone.try_recv().is_err(), "a drop may block");
    server.take().run();
    assert_eq!(gone.recv(), Ok("let go"));
    assert_eq!(server.waiting(), 0);
}

#[test]
fn what_waits_in_line_is_let_go_before_its_turn() {
    let server = ByHand::default();
    let (giver, mut taker) = server.queue();
    let (feeder, gone) = Counting::new(10, 16 * 1024);
    feeder.run(giver);
    while server.waiting() == 0 {
        assert!(next_ready(&mut taker).is_some());
    }
    drop(taker);
    let job = server.take();
    assert!(job.goes_first());
    job.run();
    assert_eq!(gone.recv(), Ok("let go"));
    server.take().run();
    assert_eq!(gone.iter().collect::<Vec<_>>(), ["dropped"]);
}

#[test]
fn what_gets_no_thread_breaks_the_body_off() {
    let server = ByHand { refuses: true, ..ByHand::default() };
    let (giver, mut taker) = server.queue();
    let (feeder, gone) = Counting::new(10, 16 * 1024);
    feeder.run(giver);
    let taken = std::iter::from_fn(|| next(&mut taker)).map(|message| message.is_ok());
    assert_eq!(taken.collect::<Vec<_>>(), [true, true, true, true, false]);
    assert_eq!(gone.recv(), Ok("dropped"));
}

#[test]
fn a_body_that_is_not_wanted_yet_holds_no_thread() {
    let server = ByHand::default();
    let (mut giver, mut taker) = server.queue();
    let (feeder, gone) = Counting::new(1, 4);
    assert_eq!(giver.wait_until_wanted(), None);
    assert!(giver.park(feeder).is_none());
    assert_eq!(next_ready(&mut taker), None);
    server.take().run();
    assert_eq!(next_ready(&mut taker), Some(4));
    assert_eq!(gone.recv(), Ok("dropped"));

    let (mut giver, taker) = server.queue::<Counting>();
    drop(taker);
    assert_eq!(giver.wait_until_wanted(), Some(false));
}

#[test]
fn there_is_no_parking_where_there_is_something_to_do() {
    let server = ByHand::default();
    let (giver, mut taker) = server.queue();
    let (feeder, _gone) = Counting::new(1, 4);
    assert_eq!(next_ready(&mut taker), None);
    let (giver, feeder) = giver.park(feeder).expect("there is room");
    drop(taker);
    assert!(giver.park(feeder).is_some(), "nobody wants it");
}
