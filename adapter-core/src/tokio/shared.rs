//! The application, and the runtime of its own for threads that are in none.
//!
//! Dropped by whoever lets go of it last: the server, or a handler that outlived it.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;

use ::tokio::runtime::{Builder, Handle, Runtime};

use crate::application::Application;
use crate::carried::is_within;
use crate::contain;
use crate::error::Error;

pub(super) struct Shared<A: Application> {
    /// `None` only while it is dropped.
    application: Option<A>,
    worker_threads: Option<NonZeroUsize>,
    /// `None` inside where it could not be started, which was logged.
    own: OnceLock<Option<Runtime>>,
    /// The server's, for the application's drop.
    servers: OnceLock<Handle>,
}

impl<A: Application> Shared<A> {
    pub(super) fn new(application: A) -> Self {
        Shared { application: Some(application), worker_threads: None, own: OnceLock::new(), servers: OnceLock::new() }
    }

    pub(super) fn worker_threads(&mut self, threads: NonZeroUsize) {
        self.worker_threads = Some(threads);
    }

    pub(super) fn application(&self) -> &A {
        self.application.as_ref().expect("invariant: there until it is dropped")
    }

    /// Starts the runtime if this thread is in none: sooner than the first request, so that a failure is told.
    ///
    /// # Errors
    /// It could not be started.
    pub(super) fn start(&self) -> Result<(), Error> {
        if let Ok(current) = Handle::try_current() {
            let _ = self.servers.set(current);
            return Ok(());
        }
        match self.missing() {
            Some(_) => Ok(()),
            None => Err(Error::new("the threads of a tokio runtime could not be started")),
        }
    }

    /// The runtime this thread needs to enter.
    #[inline]
    pub(super) fn missing(&self) -> Option<&Handle> {
        if is_within() { None } else { self.own.get_or_init(|| self.build()).as_ref().map(Runtime::handle) }
    }

    /// Runs `work` in a runtime.
    #[inline]
    pub(super) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.missing().map(Handle::enter);
        work()
    }

    #[cold]
    fn build(&self) -> Option<Runtime> {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_name("adapter-tokio");
        if let Some(threads) = self.worker_threads {
            builder.worker_threads(threads.get());
        }
        // It panics where a thread can't be had.
        let error = match contain::catch("start of a tokio runtime", || builder.build()) {
            Ok(Ok(runtime)) => return Some(runtime),
            Ok(Err(error)) => error,
            Err(_) => return None,
        };
        tracing::error!(target: "adapter", %error, "a tokio runtime could not be started");
        None
    }
}

impl<A: Application> Drop for Shared<A> {
    fn drop(&mut self) {
        let Some(application) = self.application.take() else { return };
        let own = self.own.take().flatten();
        let current = Handle::try_current();
        let may_block = current.is_err();
        let entered = current.ok().or_else(|| Some(own.as_ref()?.handle().clone())).or_else(|| self.servers.take());
        let end = move || {
            let guard = entered.as_ref().map(Handle::enter);
            contain::discard("drop of the application", application);
            drop(guard);
            if let Some(own) = own {
                own.shutdown_background();
            }
        };
        if may_block {
            return end();
        }
        // A thread of a runtime's may not block, nor end a runtime: "Cannot drop a runtime in a context where blocking is
        // not allowed".
        let ended = contain::catch("drop of the application", || {
            thread::Builder::new().name("adapter-tokio-end".into()).spawn(end)
        });
        if let Ok(Ok(thread)) = ended {
            let _ = thread.join();
        }
    }
}
