//! What the user of a server holds: where it listens, how to stop it, how to wait for its end.
//!
//! Blocks in [`ServerHandle::wait`] and [`ServerHandle::stop`] only. \[LIF-05\], \[SHU-09\], \[SHU-10\]

use std::fmt;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::LastReference;
use crate::config::ListenAddr;
use crate::error::Error;
use crate::serve_error::ServeError;
use crate::shutdown::ShutdownTrigger;
use crate::signal::Signal;
use crate::tls::Tls;

type Wait = Box<dyn FnOnce() -> Result<(), ServeError> + Send>;

/// A server that serves.
///
/// Dropping the handle starts the graceful shutdown, as [`ShutdownTrigger::drain`], and waits for nothing: the server's own
/// threads see it through, to the deadline and the shutdown hook. So a test that fails, or a `?`, leaves no server behind.
/// One that is to go on regardless is [detached](Self::detach).
#[must_use = "the server is stopped when its handle is dropped; `wait` for it"]
pub struct ServerHandle {
    local_addrs: Vec<ListenAddr>,
    trigger: ShutdownTrigger,
    /// Fired when `wait` would not block any more, if there is somebody who does that.
    ended: Option<Signal>,
    /// What can be reloaded.
    tls: Option<Tls>,
    /// `None` once somebody has waited.
    wait: Option<Wait>,
}

impl ServerHandle {
    /// For server authors: `wait` blocks until every connection, thread, task and socket is gone (\[SHU-09\]).
    pub fn new(
        local_addrs: Vec<ListenAddr>,
        trigger: ShutdownTrigger,
        wait: impl FnOnce() -> Result<(), ServeError> + Send + 'static,
    ) -> Self {
        ServerHandle { local_addrs, trigger, ended: None, tls: None, wait: Some(Box::new(wait)) }
    }

    /// For server authors: the handle of a server that ends on a thread of its own. `end` blocks until everything of the server is
    /// gone but `last`, and says how it went; `last` is dropped behind it, once nobody else of the server holds the
    /// application or a second has passed. \[LIF-09\]
    ///
    /// # Errors
    /// No thread can be had.
    pub fn on_thread(
        local_addrs: Vec<ListenAddr>,
        trigger: ShutdownTrigger,
        last: LastReference,
        end: impl FnOnce() -> Result<(), ServeError> + Send + 'static,
    ) -> io::Result<Self> {
        let ended = Signal::new();
        let told = ended.fire_on_drop();
        let thread = thread::Builder::new().name("adapter-end".into()).spawn(move || {
            let _told = told;
            let outcome = end();
            last.drop_as_last(Duration::from_secs(1));
            outcome
        })?;
        let wait = || thread.join().unwrap_or_else(|_| Err(io::Error::other("the server's end panicked").into()));
        Ok(ServerHandle::new(local_addrs, trigger, wait).with_end(ended))
    }

    /// For server authors: `ended` will be fired, whatever happens, when `wait` has nothing to wait for but the end of a
    /// thread that fires it as the last thing. It saves [`stopped`](Self::stopped) a thread.
    pub fn with_end(mut self, ended: Signal) -> Self {
        self.ended = Some(ended);
        self
    }

    /// For server authors: what [`reload`](Self::reload) reloads, the configuration's own.
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Reads certificates and keys again, and serves new connections with them; those that run go on. Does nothing where there is no
    /// TLS. Blocks while files are read. \[TLS-13\]
    ///
    /// # Errors
    /// They don't hold: the server goes on with those it has. The error names the file, and what is wrong with it.
    pub fn reload(&self) -> Result<(), Error> {
        self.tls.as_ref().map_or(Ok(()), Tls::reload)
    }

    /// The addresses bound, with the actual port where 0 was asked for, in the order of the configuration. \[LIF-05\]
    pub fn local_addrs(&self) -> &[ListenAddr] {
        &self.local_addrs
    }

    /// The means to stop the server; may be cloned, sent and used anywhere. \[SHU-10\]
    pub fn trigger(&self) -> ShutdownTrigger {
        self.trigger.clone()
    }

    /// Blocks until the server has stopped and everything of it is gone; the ports can be bound again. \[SHU-09\]
    ///
    /// # Errors
    /// What [`Application::shutdown`](crate::Application::shutdown) returned, or what made the server give up.
    pub fn wait(mut self) -> Result<(), ServeError> {
        self.outcome()
    }

    /// [`wait`](Self::wait) for programs that run a runtime: ready when the server has stopped and everything of it is gone.
    /// Runs on any runtime. `Ok` once it has been ready before.
    ///
    /// Cancel safe: dropped, it can be called again, and the server goes on. Holds no thread with the servers of this
    /// project; with others, whose authors did not say when they end, a thread waits from the first poll on.
    ///
    /// ```
    /// # use adapter_core::{ServeError, ServerHandle};
    /// # async fn interrupted() {}
    /// # use futures_lite::future::or;
    /// async fn until_interrupted(mut server: ServerHandle) -> Result<(), ServeError> {
    ///     let trigger = server.trigger();
    ///     let interrupted = async {
    ///         interrupted().await; // `tokio::signal::ctrl_c()`, a channel, …
    ///         trigger.trigger();
    ///         std::future::pending().await
    ///     };
    ///     or(server.stopped(), interrupted).await
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and if no thread can be had where one is needed.
    pub async fn stopped(&mut self) -> Result<(), ServeError> {
        if self.ended.is_none()
            && let Some(wait) = self.wait.take()
        {
            self.wait_on_thread(wait)?;
        }
        if let Some(ended) = &self.ended {
            ended.fired().await;
        }
        self.outcome()
    }

    /// [`trigger`](Self::trigger), then [`wait`](Self::wait).
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn stop(self) -> Result<(), ServeError> {
        self.trigger.trigger();
        self.wait()
    }

    /// Lets the server go on with nobody to wait for it, until its [`trigger`](Self::trigger) is used or the process ends.
    pub fn detach(mut self) {
        self.wait = None;
    }

    fn outcome(&mut self) -> Result<(), ServeError> {
        self.wait.take().map_or(Ok(()), |wait| wait())
    }

    fn wait_on_thread(&mut self, wait: Wait) -> io::Result<()> {
        let ended = Signal::new();
        // Also where a server's `wait` panics.
        let (fire, (sender, outcome)) = (ended.fire_on_drop(), mpsc::sync_channel(1));
        thread::Builder::new().name("adapter-wait".into()).spawn(move || {
            let fire = fire;
            // Nobody may be waiting any more.
            let _ = sender.send(wait());
            drop(fire);
        })?;
        self.ended = Some(ended);
        let failed = || Err(io::Error::other("the server failed").into());
        self.wait = Some(Box::new(move || outcome.recv().unwrap_or_else(|_| failed())));
        Ok(())
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if self.wait.is_some() {
            self.trigger.drain();
        }
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("local_addrs", &self.local_addrs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::server::ShutdownLevel;

    /// A server that ends when it is triggered.
    fn handle(outcome: fn() -> Result<(), ServeError>) -> ServerHandle {
        let trigger = ShutdownTrigger::new();
        let watched = trigger.clone();
        ServerHandle::new(Vec::new(), trigger, move || {
            watched.draining().wait();
            outcome()
        })
    }

    #[test]
    fn a_dropped_handle_drains_once_and_a_detached_one_does_not() {
        let dropped = handle(|| Ok(()));
        let trigger = dropped.trigger();
        trigger.trigger();
        drop(dropped);
        assert_eq!(trigger.level(), ShutdownLevel::Draining, "not forced");
        let detached = handle(|| Ok(()));
        let trigger = detached.trigger();
        detached.detach();
        assert_eq!(trigger.level(), ShutdownLevel::Running);
    }

    #[test]
    fn stopped_may_be_dropped_and_asked_again() {
        let mut server = handle(|| Err(ServeError::config("it", "ended")));
        assert!(block_on(poll_once(server.stopped())).is_none());
        assert!(block_on(poll_once(server.stopped())).is_none());
        server.trigger().trigger();
        assert!(block_on(server.stopped()).is_err());
        assert!(block_on(server.stopped()).is_ok(), "told already");
        let mut server = handle(|| panic!("a server whose wait panics"));
        server.trigger().trigger();
        assert!(block_on(server.stopped()).is_err());
        let mut server = handle(|| Ok(()));
        assert!(block_on(poll_once(server.stopped())).is_none());
        server.trigger().trigger();
        assert!(server.wait().is_ok());
    }
}
