//! Blocking work that waits for a thread, and the line it waits in.
//!
//! Work whose client has gone must not wait on: it would take a place in the line, and the thread it gets at last, from
//! somebody who is there. So who waits for the result may hold a [`Withdrawal`]; dropped, it takes work out of the line that
//! has not begun. \[RTM-03\], \[DIS-05\], RFC 9113 §10.5 (CVE-2023-44487)

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::carried::Carried;
use crate::contain;
use crate::tracker::Guard;

type Work = Box<dyn FnOnce() + Send>;

/// A piece of blocking work, as [`Driver::run_blocking`](super::Driver::run_blocking) receives it. Dropped, it is not done.
pub struct BlockingJob {
    kind: Kind,
    place: Place,
    /// Dropped when it has ended or will not be done: whoever waits for the end of a server's work is told.
    #[allow(dead_code, reason = "for its drop")]
    counted: Option<Guard>,
    /// Tells how it goes.
    watched: Option<Queued>,
}

/// Is told how blocking work goes: each is queued, and then started and ended, or dropped. It must not panic.
pub(crate) trait JobWatch: Send + Sync {
    fn queued(&self);
    fn started(&self, waited: Duration);
    fn ended(&self, run: Duration);
    fn dropped(&self);
}

/// Work that waits for a thread, where somebody wants to know. For servers with threads of their own; dropped, it will not be done.
pub struct Queued {
    /// `None` once it has begun.
    watch: Option<Arc<dyn JobWatch>>,
    since: Instant,
}

impl Queued {
    pub(super) fn new(watch: &Arc<dyn JobWatch>) -> Self {
        watch.queued();
        Queued { watch: Some(watch.clone()), since: Instant::now() }
    }

    /// It has a thread, and runs until what is returned is dropped.
    pub fn start(mut self) -> Running {
        let began = Instant::now();
        let watch = self.watch.take();
        if let Some(watch) = &watch {
            watch.started(began.saturating_duration_since(self.since));
        }
        Running { watch, began }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.dropped();
        }
    }
}

impl std::fmt::Debug for Queued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queued").field("since", &self.since).finish_non_exhaustive()
    }
}

/// Work that has a thread.
#[must_use = "dropping it says that the work has ended"]
pub struct Running {
    watch: Option<Arc<dyn JobWatch>>,
    began: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.ended(self.began.elapsed());
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("began", &self.began).finish_non_exhaustive()
    }
}

/// Where it belongs in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the end, if there is a place.
    New,
    /// At the end: it is more of what was taken already.
    Continuing,
    /// Before all others: it lets go of what was taken already.
    Closing,
}

enum Kind {
    Firm(Option<Work>),
    Withdrawable(Arc<Slot>),
    Reserved(Arc<Reserved>),
}

/// Work that is begun or withdrawn, whichever is first.
struct Slot {
    work: Mutex<Option<Work>>,
    /// Counts what is withdrawn of the line it waits in.
    withdrawn: OnceLock<Arc<AtomicUsize>>,
}

impl Slot {
    fn take(&self) -> Option<Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn new(work: impl FnOnce() + Send + 'static) -> Self {
        Slot { work: Mutex::new(Some(carrying(work))), withdrawn: OnceLock::new() }
    }

    /// Has nobody want it any more.
    fn withdraw(&self) {
        if let Some(work) = self.take() {
            if let Some(withdrawn) = self.withdrawn.get() {
                withdrawn.fetch_add(1, Ordering::Relaxed);
            }
            contain::discard("drop of a blocking job", work);
        }
    }
}

/// Work that has its place before there is something to do.
struct Reserved {
    slot: Slot,
    stage: Mutex<Stage>,
}

enum Stage {
    /// What it is to work on has not come.
    Expected,
    /// Nor had it when its turn came: it waits beside the line.
    Aside(BlockingJob),
    /// It can be done, or never will be.
    Settled,
}

impl Reserved {
    fn settle(&self) -> Option<BlockingJob> {
        match std::mem::replace(&mut *self.stage.lock().unwrap_or_else(PoisonError::into_inner), Stage::Settled) {
            Stage::Aside(job) => Some(job),
            Stage::Expected | Stage::Settled => None,
        }
    }
}

impl BlockingJob {
    /// `work`, which must not panic.
    pub fn new(work: impl FnOnce() + Send + 'static) -> Self {
        Self::at(Place::New, work)
    }

    /// The same for more of what a job has begun, which is not to be refused: see [`is_accepted`](Self::is_accepted).
    pub(crate) fn continuing(work: impl FnOnce() + Send + 'static) -> Self {
        Self::at(Place::Continuing, work)
    }

    /// The same for the clean-up behind what a job has begun, which is not to wait for a place either.
    pub(crate) fn closing(work: impl FnOnce() + Send + 'static) -> Self {
        Self::at(Place::Closing, work)
    }

    fn at(place: Place, work: impl FnOnce() + Send + 'static) -> Self {
        BlockingJob { kind: Kind::Firm(Some(carrying(work))), place, counted: None, watched: None }
    }

    /// The same, until the [`Withdrawal`] is dropped.
    pub(crate) fn withdrawable(work: impl FnOnce() + Send + 'static) -> (Self, Withdrawal) {
        let slot = Arc::new(Slot::new(work));
        let kind = Kind::Withdrawable(slot.clone());
        (BlockingJob { kind, place: Place::New, counted: None, watched: None }, Withdrawal(slot))
    }

    /// The same with a place in the line from now on, though there is nothing to do before [`Reservation::settle`]. Its turn may come before:
    /// then it leaves the thread to others, and is the first when it is settled. It is one job to whoever counts.
    pub(super) fn reserved(work: impl FnOnce() + Send + 'static) -> (Self, Reservation) {
        let reserved = Arc::new(Reserved { slot: Slot::new(work), stage: Mutex::new(Stage::Expected) });
        let kind = Kind::Reserved(reserved.clone());
        (BlockingJob { kind, place: Place::New, counted: None, watched: None }, Reservation(reserved))
    }

    /// The same, counted by `guard`.
    pub(super) fn counted(mut self, guard: Guard) -> Self {
        self.counted = Some(guard);
        self
    }

    /// The same, of which `watch` is told. From now on it waits.
    pub(super) fn watched(mut self, watch: &Arc<dyn JobWatch>) -> Self {
        self.watched = Some(Queued::new(watch));
        self
    }

    /// The same for `work`, which does this job and more: it takes its place in the line.
    #[must_use]
    pub(crate) fn wrapped(self, wrap: impl FnOnce(Self) + Send + 'static) -> Self {
        Self::at(self.place, move || wrap(self))
    }

    /// Whether it goes on with, or ends, what an earlier job has begun. The bound of a line is not for such a job, as
    /// refusing it would break a response off: there is one at most for each response under way. \[CON-11\]
    pub fn is_accepted(&self) -> bool {
        self.place != Place::New
    }

    /// Whether it belongs before all that wait: it drops what a client that has gone has left. \[BOD-10\]
    pub fn goes_first(&self) -> bool {
        self.place == Place::Closing
    }

    /// Does it, on a thread that may block; nothing if it was withdrawn. Never panics.
    pub fn run(mut self) {
        if let Kind::Reserved(reserved) = &self.kind {
            let reserved = reserved.clone();
            let mut stage = reserved.stage.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(*stage, Stage::Expected) {
                *stage = Stage::Aside(self);
                return;
            }
        }
        let Some(work) = self.take() else { return };
        let running = self.watched.take().map(Queued::start);
        // Work contains the panics of applications; one of ours must not end the thread.
        let _ = contain::catch("blocking job", work);
        drop(running);
    }

    fn take(&mut self) -> Option<Work> {
        match &mut self.kind {
            Kind::Firm(work) => work.take(),
            Kind::Withdrawable(slot) => slot.take(),
            Kind::Reserved(reserved) => reserved.slot.take(),
        }
    }

    fn slot(&self) -> Option<&Slot> {
        match &self.kind {
            Kind::Firm(_) => None,
            Kind::Withdrawable(slot) => Some(slot),
            Kind::Reserved(reserved) => Some(&reserved.slot),
        }
    }

    /// Whether nobody wants it any more, so that [`run`](Self::run) does nothing.
    pub fn is_withdrawn(&self) -> bool {
        self.slot().is_some_and(|slot| slot.work.lock().unwrap_or_else(PoisonError::into_inner).is_none())
    }
}

/// `work`, where the tokio runtime is current that is so here.
fn carrying(work: impl FnOnce() + Send + 'static) -> Work {
    let carried = Carried::here();
    Box::new(move || carried.within(work))
}

impl Drop for BlockingJob {
    /// Who waits for it learns that it is not done.
    fn drop(&mut self) {
        if let Some(work) = self.take() {
            contain::discard("drop of a blocking job", work);
        }
    }
}

impl std::fmt::Debug for BlockingJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockingJob").field("withdrawn", &self.is_withdrawn()).finish()
    }
}

/// Held by who waits for a job's result: dropped, it drops a job that has not begun.
pub(crate) struct Withdrawal(Arc<Slot>);

impl Drop for Withdrawal {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

/// Held by who has reserved a place: dropped, it drops a job that has not begun.
pub(crate) struct Reservation(Arc<Reserved>);

impl Reservation {
    /// There is something to do from now on. Gives the job, where its turn has been: it belongs before all that wait.
    pub(super) fn settle(self) -> Option<BlockingJob> {
        let mut job = self.0.settle()?;
        job.place = Place::Closing;
        Some(job)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Settled before, it is done.
        let mut stage = self.0.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*stage, Stage::Settled) {
            let aside = std::mem::replace(&mut *stage, Stage::Settled);
            drop(stage);
            self.0.slot.withdraw();
            drop(aside);
        }
    }
}

/// A bounded line of jobs, in order, in which those that were withdrawn take no place. For servers; no lock, no thread.
///
/// ```
/// use adapter_core::runtime::{BlockingJob, JobQueue};
///
/// let mut queue = JobQueue::new(1);
/// assert!(queue.push(BlockingJob::new(|| ())).is_ok());
/// assert!(queue.push(BlockingJob::new(|| ())).is_err(), "it is full");
/// queue.pop().unwrap().run();
/// assert!(queue.is_empty());
/// ```
#[derive(Debug)]
pub struct JobQueue {
    jobs: VecDeque<BlockingJob>,
    limit: usize,
    /// About how many of `jobs` were withdrawn: never more than there are.
    withdrawn: Arc<AtomicUsize>,
}

impl JobQueue {
    /// For at most `limit` jobs.
    pub fn new(limit: usize) -> Self {
        JobQueue { jobs: VecDeque::new(), limit, withdrawn: Arc::default() }
    }

    /// Puts `job` at the end, or where [it belongs](BlockingJob::goes_first).
    ///
    /// # Errors
    /// The job, if the queue is full and the job [new](BlockingJob::is_accepted).
    pub fn push(&mut self, job: BlockingJob) -> Result<(), BlockingJob> {
        if !job.is_accepted() && self.is_full() {
            return Err(job);
        }
        self.push_over(job);
        Ok(())
    }

    /// The same whatever the limit, where a thread is about to take it.
    pub fn push_over(&mut self, job: BlockingJob) {
        if let Some(slot) = job.slot() {
            let _ = slot.withdrawn.set(self.withdrawn.clone());
        }
        if job.goes_first() {
            self.jobs.push_front(job);
        } else {
            self.jobs.push_back(job);
        }
    }

    /// Whether there is no place, now that those that were withdrawn have left theirs.
    pub fn is_full(&mut self) -> bool {
        if self.jobs.len() >= self.limit && self.withdrawn.load(Ordering::Relaxed) > 0 {
            self.withdrawn.store(0, Ordering::Relaxed);
            self.jobs.retain(|job| !job.is_withdrawn());
        }
        self.jobs.len() >= self.limit
    }

    /// The first job; one that was withdrawn is nothing to do.
    pub fn pop(&mut self) -> Option<BlockingJob> {
        self.jobs.pop_front()
    }

    /// The job that was put last.
    pub fn pop_last(&mut self) -> Option<BlockingJob> {
        self.jobs.pop_back()
    }

    /// How many there are, withdrawn ones too.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn what_is_reserved_has_its_place_and_waits_beside_the_line() {
        let mut queue = JobQueue::new(1);
        let done = Arc::new(AtomicUsize::new(0));
        let reserved = || {
            let done = done.clone();
            BlockingJob::reserved(move || _ = done.fetch_add(1, Ordering::SeqCst))
        };
        let (job, reservation) = reserved();
        assert!(queue.push(job).is_ok() && queue.push(BlockingJob::new(|| ())).is_err(), "it has the place");
        queue.pop().unwrap().run();
        assert_eq!(done.load(Ordering::SeqCst), 0, "there is nothing to do yet");
        assert!(queue.push(BlockingJob::new(|| ())).is_ok());
        let job = reservation.settle().expect("its turn has been");
        assert!(job.goes_first() && queue.push(job).is_ok());
        queue.pop().unwrap().run();
        assert_eq!(done.load(Ordering::SeqCst), 1);
        queue.pop().unwrap().run();
        // Settled before its turn, it is done then.
        let (job, reservation) = reserved();
        assert!(reservation.settle().is_none());
        job.run();
        assert_eq!(done.load(Ordering::SeqCst), 2);
        // Nobody wants it any more, in the line and beside it.
        let (job, reservation) = reserved();
        assert!(queue.push(job).is_ok());
        drop(reservation);
        assert!(!queue.is_full(), "it has left its place");
        let (job, reservation) = reserved();
        job.run();
        drop(reservation);
        assert_eq!((done.load(Ordering::SeqCst), Arc::strong_count(&done)), (2, 1), "what it holds is dropped");
    }

    #[test]
    fn what_is_withdrawn_leaves_its_place_and_is_not_done() {
        let mut queue = JobQueue::new(2);
        let done = Arc::new(AtomicBool::new(false));
        let held = Arc::new(());
        let (first, withdrawal) = BlockingJob::withdrawable({
            let (done, held) = (done.clone(), held.clone());
            move || {
                done.store(true, Ordering::Relaxed);
                drop(held);
            }
        });
        assert!(queue.push(first).is_ok() && queue.push(BlockingJob::new(|| ())).is_ok() && queue.is_full());
        drop(withdrawal);
        assert_eq!(Arc::strong_count(&held), 1, "what it held is dropped at once");
        assert!(queue.push(BlockingJob::new(|| ())).is_ok(), "its place is free");
        assert!(queue.is_full());
        while let Some(job) = queue.pop() {
            job.run();
        }
        assert!(!done.load(Ordering::Relaxed));
    }

    #[test]
    fn what_was_accepted_is_beyond_the_limit_and_what_lets_go_is_first() {
        let (told, order) = std::sync::mpsc::channel();
        let tell = |what| {
            let told = told.clone();
            move || told.send(what).unwrap()
        };
        let mut queue = JobQueue::new(1);
        assert!(queue.push(BlockingJob::new(tell("new"))).is_ok());
        assert!(queue.push(BlockingJob::new(tell("refused"))).is_err());
        assert!(queue.push(BlockingJob::continuing(tell("more"))).is_ok());
        assert!(queue.push(BlockingJob::closing(tell("end")).wrapped(BlockingJob::run)).is_ok());
        while let Some(job) = queue.pop() {
            job.run();
        }
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["end", "new", "more"]);
    }

    #[test]
    fn what_has_begun_goes_on() {
        let (job, withdrawal) = BlockingJob::withdrawable(|| ());
        assert!(!job.is_withdrawn());
        job.run();
        drop(withdrawal);
        let (job, withdrawal) = BlockingJob::withdrawable(|| panic!("not to be done"));
        drop(withdrawal);
        assert!(job.is_withdrawn());
        job.run();
    }
}
