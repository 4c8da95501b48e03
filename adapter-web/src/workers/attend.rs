//! A worker's side: it says that it lives, and ends when its parent has.

use std::io::{self, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use adapter_core::server::Pulse;
use rustix::event::{PollFd, PollFlags, poll};

/// Calls `ended` once the other end of `stream` is closed, on a thread of its own, `adapter-parent`. Reads nothing.
///
/// # Errors
/// No thread can be had.
pub(crate) fn watch(stream: UnixStream, ended: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // It ends with the process.
    thread::Builder::new().name("adapter-parent".into()).spawn(move || {
        // The end comes unasked.
        let mut asked = [PollFd::new(&stream, PollFlags::empty())];
        while poll(&mut asked, None) == Err(rustix::io::Errno::INTR) {}
        ended();
    })?;
    Ok(())
}

/// Says over `stream`, each `period`, that `pulse` is felt, on a thread of its own, `adapter-worker`. A server that `stops` has no
/// pulse that counts.
///
/// # Errors
/// No thread can be had.
pub(crate) fn beat(
    mut stream: UnixStream,
    period: Duration,
    pulse: Pulse,
    stops: impl Fn() -> bool + Send + 'static,
) -> io::Result<()> {
    // A parent that reads nothing holds up nobody but this thread.
    stream.set_write_timeout(Some(period))?;
    // It ends with the process, or its parent.
    thread::Builder::new().name("adapter-worker".into()).spawn(move || {
        loop {
            thread::sleep(period);
            let is_gone = |error: &io::Error| !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            if (stops() || pulse.is_felt(period)) && stream.write_all(b"p").is_err_and(|error| is_gone(&error)) {
                return;
            }
        }
    })?;
    Ok(())
}
