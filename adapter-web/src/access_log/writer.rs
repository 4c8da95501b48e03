//! The thread that writes log lines, so that nobody else waits for stdout.
//!
//! Server threads hand lines over with [`Queue::send`], which never blocks; the thread `adapter-access-log` writes them
//! and logs how many it had to drop. See [`output`](crate::output).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open::Open;
use crate::output::{Output, Plain, Queue, Sink, Trouble};

/// The writing thread.
#[derive(Debug)]
#[must_use = "close it to have every line written"]
pub struct Writer {
    output: Output,
    open: Arc<Open>,
}

/// The way to it, and who may not come to take it.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) queue: Queue,
    pub(super) open: Arc<Open>,
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
        Writer::start(Plain(sink))
    }

    /// Appends to the file at `path`, which is made if there is none. It stays open when it is renamed or deleted, until
    /// [`reopen`](Self::reopen).
    ///
    /// # Errors
    /// The file can't be opened, or no thread could be started.
    pub fn file(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        Writer::start(Appended { file: append(&path)?, path })
    }

    fn start(sink: impl Sink) -> io::Result<Self> {
        let output = Output::start("adapter-access-log", sink, |trouble| {
            match trouble {
                Trouble::Dropped(lines) => {
                    tracing::warn!(target: "adapter", lines, "access log lines were dropped: whoever takes them is too slow");
                }
                Trouble::Broken(error) => {
                    tracing::error!(target: "adapter", %error, "the access log can't be written");
                }
            }
            None
        })?;
        Ok(Writer { output, open: Arc::default() })
    }

    /// Opens the file again by its name, behind the lines that are queued: whoever rotates logs renames it first, and neither
    /// loses nor doubles a line. Does nothing on other sinks. Blocks until it is done.
    ///
    /// # Errors
    /// It can't be opened: the file from before is written on.
    pub fn reopen(&self) -> io::Result<()> {
        self.output.queue().reopen()
    }

    /// Writes what is queued and ends the thread; lines sent later are dropped. Blocks until then, or until the sink
    /// has taken nothing for a second, or five seconds at most; how many lines are lost is logged.
    pub fn close(self) {
        self.close_unless(|| false);
    }

    /// The same, given up as soon as `hurry`.
    pub(crate) fn close_unless(self, hurry: impl Fn() -> bool) {
        let lines = self.output.close(hurry);
        if lines > 0 {
            tracing::warn!(target: "adapter", lines, "access log lines are lost: nobody reads them");
        }
    }

    #[cfg(all(unix, feature = "cli"))]
    pub(crate) fn queue(&self) -> Queue {
        self.output.queue()
    }

    pub(super) fn lines(&self) -> Lines {
        Lines { queue: self.output.queue(), open: self.open.clone() }
    }
}

/// A file, and its name.
#[derive(Debug)]
struct Appended {
    path: PathBuf,
    file: File,
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Write for Appended {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for Appended {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        Ok(())
    }
}
