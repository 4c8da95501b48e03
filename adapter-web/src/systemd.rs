//! What a service manager is told over `NOTIFY_SOCKET`, as of sd_notify(3): `Type=notify-reload` and `WatchdogSec=` of systemd.
//!
//! One datagram a message, sent by whichever thread has something to say; nobody waits longer than a second, and what can't be
//! sent is not sent. The watchdog is fed from a thread of its own (`adapter-watchdog`), as long as the server's event loops
//! answer: see [`Pulse`].

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use adapter_core::server::Pulse;

/// The way to the service manager, or to nobody. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manager(Option<Arc<UnixDatagram>>);

impl Manager {
    /// The one that started this process, as `NOTIFY_SOCKET` says. One that can't be reached is logged.
    pub(crate) fn of_this_process() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Manager(None);
        };
        match connect(&name) {
            Ok(socket) => Manager(Some(Arc::new(socket))),
            Err(error) => {
                tracing::warn!(target: "adapter", %error, "NOTIFY_SOCKET can't be reached; nobody is told what the server does");
                Manager(None)
            }
        }
    }

    fn say(&self, message: &str) {
        if let Some(socket) = &self.0 {
            // It may be gone or slow; the server goes on. With a timeout any signal ends this (signal(7)).
            while socket.send(message.as_bytes()).is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
        }
    }

    /// It serves; `status` is one line.
    pub(crate) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// It reads its files again; [`ready`](Self::ready) follows.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"));
    }

    /// Another process serves in its place.
    pub(crate) fn main_is(&self, process: u32) {
        self.say(&format!("MAINPID={process}"));
    }

    /// It ends.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    /// All is well: the watchdog is fed.
    pub(crate) fn feed(&self) {
        self.say("WATCHDOG=1");
    }

    /// Feeds the watchdog from now on, if there is one, twice as often as it asks for, while `pulse` is felt.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn feed_watchdog(&self, pulse: Pulse) -> io::Result<()> {
        let Some(period) = self.watchdog() else { return Ok(()) };
        let manager = self.clone();
        // It ends with the process.
        thread::Builder::new().name("adapter-watchdog".into()).spawn(move || {
            loop {
                if pulse.is_felt(period) {
                    manager.feed();
                    thread::sleep(period);
                } else {
                    tracing::warn!(target: "adapter", "an event loop does not answer; the watchdog is not fed");
                    thread::sleep(period / 4);
                }
            }
        })?;
        Ok(())
    }

    /// Half the time after which the watchdog would bite; `None` if there is none for this process.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?;
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        if number("WATCHDOG_PID").is_some_and(|id| id != u64::from(std::process::id())) {
            return None;
        }
        number("WATCHDOG_USEC").filter(|micros| *micros > 0).map(|micros| Duration::from_micros(micros) / 2)
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        [b'@', rest @ ..] => {
            #[cfg(target_os = "android")]
            use std::os::android::net::SocketAddrExt as _;
            #[cfg(target_os = "linux")]
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(rest)?
        }
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}
