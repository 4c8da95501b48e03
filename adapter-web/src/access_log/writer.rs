//! The thread that writes log lines, so that nobody else waits for stdout.
//!
//! Server threads hand lines over with [`Queue::send`], which never blocks; the thread `adapter-access-log` writes them
//! and logs how many it had to drop. See [`output`](crate::output).

use std::io::{self, Write};

use crate::output::{Output, Queue, Trouble};

/// The writing thread.
#[derive(Debug)]
#[must_use = "close it to have every line written"]
pub struct Writer {
    output: Output,
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
        let output = Output::start("adapter-access-log", sink, |trouble| {
            match trouble {
                Trouble::Dropped(lines) => {
                    tracing::warn!(target: "adapter", lines, "access log lines were dropped: stdout is too slow");
                }
                Trouble::Broken(error) => {
                    tracing::error!(target: "adapter", %error, "the access log can't be written");
                }
            }
            None
        })?;
        Ok(Writer { output })
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

    pub(super) fn lines(&self) -> Queue {
        self.output.queue()
    }
}
