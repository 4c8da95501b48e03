//! The program anew, in place of this process: SIGUSR2. The new process says that it serves, and only from then on this one is the
//! old one. What is handed over, and how, is [`successor`](crate::successor)'s.
//!
//! Runs on a thread of its own, `adapter-upgrade`; one at a time.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::successor::{Listening, PATIENCE, Program, Role, is_gone};

/// Why nothing becomes of it.
const STOPS: &str = "this process is to stop";
/// How often it is looked whether this process is to end meanwhile.
const STEP: Duration = Duration::from_millis(250);

/// Starts `program` with `listening` and waits until it serves, for `patience` at most, and unless `stops`; gives the number of its process. `tell` is
/// called before it goes on.
///
/// # Errors
/// Why this process goes on, in a few words.
pub(crate) fn start(
    program: &Program,
    listening: &Listening,
    patience: Duration,
    stops: impl Fn() -> bool,
    tell: impl FnOnce(u32),
) -> Result<u32, String> {
    if std::process::id() == 1 {
        return Err("this is process 1, with whose end the container ends".into());
    }
    let (mut child, mut stream) = program.spawn(listening, Role::Successor).map_err(|error| error.to_string())?;
    let sent = stream.set_read_timeout(Some(STEP)).map_err(|error| error.to_string());
    match sent.and_then(|()| until_ready(&mut stream, patience, stops)) {
        Ok(()) => {
            tell(child.id());
            listening.leave();
            // One that is gone by now would not have been noticed a moment later either.
            let _ = stream.write_all(b"g");
            Ok(child.id())
        }
        Err(why) => {
            // By that it learns that nobody waits for it any more.
            drop(stream);
            // Who is to stop waits a moment for it, and no more.
            let patience = if why == STOPS { Duration::from_secs(1) } else { PATIENCE };
            Err(end(&mut child, patience, why))
        }
    }
}

fn until_ready(stream: &mut UnixStream, patience: Duration, stops: impl Fn() -> bool) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match stream.read(&mut [0]) {
            Ok(1..) => return if stops() { Err(STOPS.into()) } else { Ok(()) },
            Ok(0) => return Err(String::new()),
            Err(error) if is_gone(&error) => return Err(String::new()),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.to_string()),
        }
        if stops() {
            return Err(STOPS.into());
        }
        if began.elapsed() >= patience {
            return Err(format!("it is not ready after {} s", patience.as_secs()));
        }
    }
}

/// Ends what was started, which may have workers, and says why. It has a moment to end by itself, which it may be about to where nothing
/// is known but that it has let go of the pair.
fn end(child: &mut Child, patience: Duration, why: String) -> String {
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(process) = process.filter(|_| !why.is_empty()) {
        let _ = kill_process(process, Signal::TERM);
    }
    let began = Instant::now();
    while began.elapsed() < patience {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Ok(Some(status)) if why.is_empty() => return format!("it ended before it served ({status})"),
            Ok(Some(_)) => return why,
            Err(_) => break,
        }
    }
    let _ = child.kill();
    // Killed, it ends.
    let _ = child.wait();
    if why.is_empty() { "it does not say that it serves".into() } else { why }
}
