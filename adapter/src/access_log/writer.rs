//! The thread that writes log lines, so that nobody else waits for stdout.
//!
//! Server threads hand lines over with [`Lines::send`], which never blocks: a full queue drops the line and counts
//! it. The thread `adapter-access-log` writes what is queued, flushes when the queue is empty, and logs the count of
//! dropped lines. It ends when [`Writer::close`] says so, having written all that was queued before.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

/// Lines that may wait: a burst of a few hundredths of a second, at most some megabytes.
const QUEUE: usize = 16_384;

enum Message {
    Line(String),
    Close,
}

/// The writing thread.
#[derive(Debug)]
#[must_use = "close it to have every line written"]
pub struct Writer {
    lines: Lines,
    thread: JoinHandle<()>,
}

/// The way to the writer; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    /// Writes to stdout.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn stdout() -> io::Result<Self> {
        Writer::to(io::stdout())
    }

    /// Writes to `sink`.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        Writer::with_capacity(sink, QUEUE)
    }

    fn with_capacity(sink: impl Write + Send + 'static, capacity: usize) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let thread =
            thread::Builder::new().name("adapter-access-log".into()).spawn(move || write(sink, &receiver, &counted))?;
        Ok(Writer { lines: Lines { sender, dropped }, thread })
    }

    /// Writes what is queued and ends the thread; blocks until then. Lines sent later are dropped.
    pub fn close(self) {
        // An error means that the thread has ended already.
        let _ = self.lines.sender.send(Message::Close);
        let _ = self.thread.join();
    }

    pub(super) fn lines(&self) -> Lines {
        self.lines.clone()
    }
}

impl Lines {
    /// Queues `line`, which ends in a newline. Never blocks.
    pub(super) fn send(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(sink: impl Write, receiver: &Receiver<Message>, dropped: &AtomicU64) {
    let mut sink = BufWriter::new(sink);
    let mut broken = false;
    while let Ok(first) = receiver.recv() {
        let mut next = Some(first);
        let mut closing = false;
        let mut written = Ok(());
        while let Some(message) = next {
            match message {
                Message::Close => {
                    closing = true;
                    break;
                }
                Message::Line(line) => written = written.and_then(|()| sink.write_all(line.as_bytes())),
            }
            next = receiver.try_recv().ok();
        }
        // stdout is closed or its disk is full: the server goes on without a log, and says so once.
        if let Err(error) = written.and_then(|()| sink.flush())
            && !std::mem::replace(&mut broken, true)
        {
            tracing::error!(target: "adapter", %error, "the access log can't be written");
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(target: "adapter", lines = lost, "access log lines were dropped: stdout is too slow");
        }
        if closing {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
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

    #[test]
    fn every_line_is_written_before_close_returns() {
        let sink = Shared::default();
        let writer = Writer::to(sink.clone()).expect("a thread");
        let lines = writer.lines();
        for n in 0..1000 {
            lines.send(format!("{n}\n"));
        }
        writer.close();
        lines.send("too late\n".into());
        let text = String::from_utf8(sink.0.lock().expect("not poisoned").clone()).expect("text");
        assert_eq!(text.lines().count(), 1000);
        assert!(text.ends_with("\n999\n"));
    }

    /// A sink that waits to be let go on, and says when it waits.
    struct Slow {
        writing: mpsc::Sender<()>,
        go_on: mpsc::Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let _ = self.writing.send(());
            let _ = self.go_on.recv();
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_blocks() {
        let (writing, is_writing) = mpsc::channel();
        let (go, go_on) = mpsc::channel();
        let writer = Writer::with_capacity(Slow { writing, go_on }, 2).expect("a thread");
        let lines = writer.lines();
        lines.send("first\n".into());
        is_writing.recv().expect("the thread writes");
        for n in 0..5 {
            lines.send(format!("{n}\n"));
        }
        assert_eq!(lines.dropped.load(Ordering::Relaxed), 3);
        drop(go);
        writer.close();
    }
}
