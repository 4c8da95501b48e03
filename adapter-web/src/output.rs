//! Lines written by a thread of their own, so that nobody else waits for whoever reads stdout or stderr.
//!
//! Whoever has a line hands it over with [`Queue::send`], which never blocks: where too many lines or octets wait, the
//! line is dropped and counted. The thread writes what is queued, flushes when the queue is empty, and says how many
//! were dropped. [`Output::close`] waits until all is written, but not for a reader who takes nothing: a process must be
//! able to end whoever reads it.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that may wait: a burst of a few hundredths of a second.
const LINES: usize = 16_384;
/// Octets that may wait: a target fills a line with 64 KiB, and nobody shall fill the memory with those.
const OCTETS: usize = 8 << 20;

/// Octets that are written at once: whole lines, and no more than goes into a pipe in one piece (`PIPE_BUF`), so that lines of several
/// processes stay whole. A longer line is written alone.
const TOGETHER: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// How long [`Output::close`] waits for a reader who takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits at all, for one who takes little.
const LIMIT: Duration = Duration::from_secs(5);

enum Message {
    Line(String),
    /// There is something to do but lines.
    Wake,
    Close,
}

/// Where lines go.
pub(crate) trait Sink: Write + Send + 'static {
    /// Begins anew, such as with a file of the same name. An error leaves everything as it was.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for io::Stderr {}

/// Anything that is written to, and never begins anew.
pub(crate) struct Plain<W>(pub(crate) W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + Send + 'static> Sink for Plain<W> {}

/// What is told to whom about lines that were lost or can't be written.
pub(crate) enum Trouble<'a> {
    /// So many lines were dropped before the ones that are written now.
    Dropped(u64),
    /// The sink fails; said once.
    Broken(&'a io::Error),
}

#[derive(Debug, Default)]
struct State {
    /// Octets that wait.
    octets: AtomicUsize,
    /// Lines that wait, or are being written.
    waiting: AtomicU64,
    dropped: AtomicU64,
    /// Octets the sink took.
    taken: AtomicU64,
    closing: AtomicBool,
    /// Who wants the sink to begin anew, and to be told how that went.
    reopen: Mutex<Vec<Sender<io::Result<()>>>>,
    /// Set under that lock: the thread looks there no more.
    is_over: AtomicBool,
}

/// The writing thread.
#[derive(Debug)]
pub(crate) struct Output {
    queue: Queue,
    /// Never sent to; disconnected when the thread has ended.
    ended: Receiver<()>,
}

/// The way to the thread; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    sender: SyncSender<Message>,
    state: Arc<State>,
}

impl Output {
    /// Starts the thread `name`, which writes to `sink` and tells of trouble by `tell`, in a line for the sink if that
    /// returns one.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(
        name: &str,
        sink: impl Sink,
        tell: impl Fn(Trouble<'_>) -> Option<String> + Send + 'static,
    ) -> io::Result<Self> {
        Output::with_capacity(name, LINES, sink, tell)
    }

    pub(crate) fn with_capacity(
        name: &str,
        lines: usize,
        sink: impl Sink,
        tell: impl Fn(Trouble<'_>) -> Option<String> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(lines);
        let (end, ended) = channel();
        let state = Arc::new(State::default());
        let shared = state.clone();
        thread::Builder::new().name(name.into()).spawn(move || write(sink, &receiver, &shared, tell, end))?;
        Ok(Output { queue: Queue { sender, state }, ended })
    }

    pub(crate) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Waits until what is queued is written, and ends the thread; lines sent later are dropped. Gives up on a reader
    /// who takes nothing for a second, and as soon as `hurry` says so; gives the number of lines that are lost then.
    pub(crate) fn close(self, hurry: impl Fn() -> bool) -> u64 {
        let state = &self.queue.state;
        state.closing.store(true, Ordering::SeqCst);
        // Where the queue is full the thread looks at `closing` when it has emptied it.
        let _ = self.queue.sender.try_send(Message::Close);
        let began = Instant::now();
        let (mut taken, mut since) = (state.taken.load(Ordering::SeqCst), began);
        loop {
            match self.ended.recv_timeout(Duration::from_millis(20)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return 0,
            }
            let now = state.taken.load(Ordering::SeqCst);
            if now != taken {
                (taken, since) = (now, Instant::now());
            }
            if hurry() || since.elapsed() >= PATIENCE || began.elapsed() >= LIMIT {
                return state.waiting.load(Ordering::SeqCst) + state.dropped.load(Ordering::SeqCst);
            }
        }
    }
}

impl Queue {
    /// Queues `line`, which ends in a newline. Never blocks.
    pub(crate) fn send(&self, line: String) {
        let (state, length) = (&self.state, line.len());
        let waiting = state.octets.fetch_add(length, Ordering::Relaxed);
        state.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting.saturating_add(length) > OCTETS || self.sender.try_send(Message::Line(line)).is_err() {
            state.octets.fetch_sub(length, Ordering::Relaxed);
            state.waiting.fetch_sub(1, Ordering::Relaxed);
            state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the sink begin anew behind the lines that are written by then; later ones may still go where it was. Blocks until
    /// that is done, as long as whoever reads the lines before takes for it.
    ///
    /// # Errors
    /// The sink's own: it goes on as before. Or nothing is written any more.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let (told, outcome) = channel();
        {
            let mut reopen = self.state.reopen.lock().unwrap_or_else(PoisonError::into_inner);
            if self.state.is_over.load(Ordering::SeqCst) {
                drop(told);
            } else {
                reopen.push(told);
            }
        }
        // Where the queue is full the thread is awake, and looks when it has emptied it.
        let _ = self.sender.try_send(Message::Wake);
        outcome.recv().unwrap_or_else(|_| Err(io::Error::other("nothing is written any more")))
    }

    #[cfg(test)]
    pub(crate) fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }
}

/// A sink that counts what it took.
struct Counted<'a, W> {
    sink: W,
    taken: &'a AtomicU64,
}

impl<W: Sink> Write for Counted<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = self.sink.write(data)?;
        self.taken.fetch_add(taken as u64, Ordering::Relaxed);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

fn write(
    sink: impl Sink,
    receiver: &Receiver<Message>,
    state: &State,
    tell: impl Fn(Trouble<'_>) -> Option<String>,
    _end: Sender<()>,
) {
    /// Nobody waits for what nobody does.
    struct Over<'a>(&'a State);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            let mut reopen = self.0.reopen.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.is_over.store(true, Ordering::SeqCst);
            reopen.clear();
        }
    }
    let _over = Over(state);
    let mut sink = BufWriter::with_capacity(TOGETHER, Counted { sink, taken: &state.taken });
    let mut broken = false;
    loop {
        // Closing, what is queued is still written, and nothing waited for.
        let first = match state.closing.load(Ordering::SeqCst) {
            true => receiver.try_recv().ok(),
            false => receiver.recv().ok(),
        };
        let mut next = first;
        if next.is_none() {
            return;
        }
        let (mut closing, mut lines) = (false, 0);
        let mut written = Ok(());
        while let Some(message) = next {
            match message {
                Message::Close => {
                    closing = true;
                    break;
                }
                Message::Wake => {}
                Message::Line(line) => {
                    lines += 1;
                    written = written.and_then(|()| sink.write_all(line.as_bytes()));
                    state.octets.fetch_sub(line.len(), Ordering::Relaxed);
                }
            }
            next = receiver.try_recv().ok();
        }
        let dropped = state.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0
            && let Some(line) = tell(Trouble::Dropped(dropped))
        {
            written = written.and_then(|()| sink.write_all(line.as_bytes()));
        }
        // The reader is gone or the disk is full: the server goes on without, and says so once.
        if let Err(error) = written.and_then(|()| sink.flush())
            && !std::mem::replace(&mut broken, true)
        {
            tell(Trouble::Broken(&error));
        }
        state.waiting.fetch_sub(lines, Ordering::Relaxed);
        for told in std::mem::take(&mut *state.reopen.lock().unwrap_or_else(PoisonError::into_inner)) {
            let outcome = sink.get_mut().sink.reopen();
            broken &= outcome.is_err();
            // Nobody may wait any more.
            let _ = told.send(outcome);
        }
        if closing {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(data)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Shared {
        fn reopen(&mut self) -> io::Result<()> {
            self.write(b"--\n").map(drop)
        }
    }

    fn said(trouble: Trouble<'_>) -> Option<String> {
        match trouble {
            Trouble::Dropped(lines) => Some(format!("{lines} were dropped\n")),
            Trouble::Broken(_) => None,
        }
    }

    #[test]
    fn every_line_is_written_before_close_returns() {
        let sink = Shared::default();
        let output = Output::start("test", sink.clone(), said).expect("a thread");
        let lines = output.queue();
        for n in 0..1000 {
            lines.send(format!("{n}\n"));
        }
        assert_eq!(output.close(|| false), 0);
        lines.send("too late\n".into());
        let text = String::from_utf8(sink.0.lock().expect("not poisoned").clone()).expect("text");
        assert_eq!(text.lines().count(), 1000);
        assert!(text.ends_with("\n999\n"));
    }

    #[test]
    fn a_sink_begins_anew_between_lines() {
        let sink = Shared::default();
        let output = Output::start("test", sink.clone(), said).expect("a thread");
        let lines = output.queue();
        lines.send("before\n".into());
        lines.reopen().expect("it begins anew");
        lines.send("behind\n".into());
        assert_eq!(output.close(|| false), 0);
        assert!(lines.reopen().is_err(), "nobody writes any more");
        assert_eq!(*sink.0.lock().expect("not poisoned"), b"before\n--\nbehind\n");
    }

    /// A sink that waits to be let go on, and says when it waits.
    struct Slow {
        writing: mpsc::Sender<()>,
        go_on: mpsc::Receiver<()>,
        to: Shared,
    }

    impl Write for Slow {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let _ = self.writing.send(());
            let _ = self.go_on.recv();
            self.to.write(data)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Slow {}

    fn stuck(lines: usize) -> (Output, Shared, mpsc::Sender<()>) {
        let (writing, is_writing) = mpsc::channel();
        let (go, go_on) = mpsc::channel();
        let to = Shared::default();
        let output = Output::with_capacity("test", lines, Slow { writing, go_on, to: to.clone() }, said);
        let output = output.expect("a thread");
        output.queue().send("first\n".into());
        is_writing.recv().expect("the thread writes");
        (output, to, go)
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_blocks() {
        let (output, to, go) = stuck(2);
        let lines = output.queue();
        for n in 0..5 {
            lines.send(format!("{n}\n"));
        }
        assert_eq!(lines.dropped(), 3);
        drop(go);
        assert_eq!(output.close(|| false), 0);
        let text = String::from_utf8(to.0.lock().expect("not poisoned").clone()).expect("text");
        assert_eq!(text, "first\n0\n1\n3 were dropped\n");
    }

    #[test]
    fn long_lines_do_not_fill_the_memory() {
        let (output, _, go) = stuck(1000);
        let lines = output.queue();
        for _ in 0..100 {
            lines.send("x".repeat(OCTETS / 10));
        }
        assert_eq!(lines.dropped(), 90);
        drop(go);
        assert_eq!(output.close(|| false), 0);
    }

    #[test]
    fn nobody_who_reads_nothing_holds_up_the_end() {
        let (output, _, _go) = stuck(2);
        for n in 0..5 {
            output.queue().send(format!("{n}\n"));
        }
        assert_eq!(output.close(|| false), 1 + 2 + 3, "being written, waiting, dropped");
        let (output, _, _go) = stuck(2);
        assert_eq!(output.close(|| true), 1);
    }
}
