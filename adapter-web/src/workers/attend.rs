//! A worker's side: it says that it lives, and ends when its parent wants that, or has ended.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::server::Pulse;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a parent says to a worker that is not needed any more. It is no signal, so that signals are an operator's.
pub(super) const RETIRE: u8 = b'd';

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
/// pulse that counts. Calls `retire` when the parent says so.
///
/// # Errors
/// No thread can be had.
pub(crate) fn beat(
    mut stream: UnixStream,
    period: Duration,
    pulse: Pulse,
    stops: impl Fn() -> bool + Send + 'static,
    retire: impl Fn() + Send + 'static,
) -> io::Result<()> {
    // A parent that reads nothing holds up nobody but this thread.
    stream.set_write_timeout(Some(period))?;
    // It ends with the process, or its parent.
    thread::Builder::new().name("adapter-worker".into()).spawn(move || {
        loop {
            if listen(&mut stream, period, &retire).is_err() {
                return;
            }
            let is_gone = |error: &io::Error| !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            if (stops() || pulse.is_felt(period)) && stream.write_all(b"p").is_err_and(|error| is_gone(&error)) {
                return;
            }
        }
    })?;
    Ok(())
}

/// For `period`.
///
/// # Errors
/// The parent is gone.
fn listen(stream: &mut UnixStream, period: Duration, retire: &impl Fn()) -> io::Result<()> {
    let began = Instant::now();
    while let Some(left) = period.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&*stream, PollFlags::IN)], left.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut said = [0];
        match stream.read(&mut said) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) if said == [RETIRE] => retire(),
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_worker_hears_its_parent_between_its_beats() {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        let (sender, retired) = sync_channel(1);
        let told = move || sender.send(()).expect("somebody waits");
        beat(theirs, Duration::from_millis(1), Pulse::new(), || true, told).expect("a thread");
        let mut octet = [0];
        ours.read_exact(&mut octet).expect("it lives");
        ours.write_all(&[b'?', RETIRE]).expect("it listens");
        retired.recv_timeout(Duration::from_secs(30)).expect("it was told");
        ours.read_exact(&mut octet).expect("it lives on");
        drop(ours);
        assert!(retired.recv_timeout(Duration::from_secs(30)).is_err(), "the thread has ended");
    }
}
