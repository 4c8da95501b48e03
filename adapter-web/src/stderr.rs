//! What the facade says on stderr: by a thread of its own, so that a pipe nobody reads stops neither serving nor stopping.
//!
//! The thread `adapter-stderr` is started with the first line, is the only one of its kind in the process, and stays
//! until [`flush`].

use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::output::{Output, Trouble};

static OUTPUT: Mutex<Option<Output>> = Mutex::new(None);

fn output() -> MutexGuard<'static, Option<Output>> {
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says `line`, which ends in a newline. Never waits for the reader.
pub(crate) fn say(line: String) {
    let queue = {
        let mut output = output();
        if output.is_none() {
            let tell = |trouble: Trouble<'_>| match trouble {
                Trouble::Dropped(lines) => Some(format!("adapter: {lines} lines were dropped: stderr is too slow\n")),
                // Nobody to tell.
                Trouble::Broken(_) => None,
            };
            *output = Output::start("adapter-stderr", io::stderr(), tell).ok();
        }
        output.as_ref().map(Output::queue)
    };
    match queue {
        Some(queue) => queue.send(line),
        // No thread can be had: rather wait than say nothing.
        None => {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

/// Waits until all that was said is written, or until nobody reads it; or until `hurry`.
pub(crate) fn flush(hurry: impl Fn() -> bool) {
    let taken = output().take();
    if let Some(output) = taken {
        output.close(hurry);
    }
}

/// Says the last `line` before the process ends, after all that was said before. Waits a moment for the reader.
pub(crate) fn say_last(line: String) {
    flush(|| false);
    let (end, ended) = channel::<()>();
    let spawned = thread::Builder::new().name("adapter-stderr".into()).spawn(move || {
        // A closed stderr must not turn the end of the program into a panic.
        let _ = io::stderr().write_all(line.as_bytes());
        drop(end);
    });
    if spawned.is_ok() {
        // Disconnected when it is said, or else too late.
        let _ = ended.recv_timeout(Duration::from_secs(1));
    }
}

/// Lets the hook for panics, which writes to stderr on the thread that panics, have its say only while that would not
/// wait; else the panic is said here. Whatever hook the program has set before stays in use.
#[cfg(unix)]
pub(crate) fn guard_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if takes_more() {
                hook(panic);
            } else {
                let thread = thread::current();
                say(format!("thread '{}' {panic}\n", thread.name().unwrap_or("<unnamed>")));
            }
        }));
    });
}

/// Whether stderr has room for a panic with its backtrace: it is writable and, if it is a pipe, everything in it has been
/// read; one that is writable may have room for no more than a page. What can't be asked has.
#[cfg(unix)]
fn takes_more() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stderr = io::stderr();
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    let writable = !matches!(poll(&mut asked, Some(&Timespec::default())), Ok(0));
    writable && rustix::io::ioctl_fionread(&stderr).unwrap_or(0) == 0
}

/// For `tracing`: each event is one line.
pub(crate) struct Lines;

/// One event.
pub(crate) struct Line(Vec<u8>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

impl Write for Line {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            say(String::from_utf8_lossy(&self.0).into_owned());
        }
    }
}
