//! The end of an application: its own drop.
//!
//! An application may own what must not be dropped in an asynchronous context, such as a runtime of tokio's, or whose drop
//! panics. So a server lets go of it last, where blocking is allowed, with its panic contained, however the server ends.
//! \[ERR-08\], \[LIF-09\]

use std::thread;
use std::time::{Duration, Instant};

use crate::application::DynApplication;
use crate::contain;

const PLACE: &str = "drop of the application";
/// How often it is looked whether nobody else holds an application any more.
const LOOK: Duration = Duration::from_millis(2);

/// A server's last reference to its application. For server authors.
///
/// Taken first in [`Server::start`](super::Server::start) and dropped after everything else that holds the application,
/// also where the start fails. Its drop blocks as the application's own does, if it is the last one; that has a thread of its
/// own, since who stops a server may itself be in an asynchronous context.
///
/// ```
/// use adapter_core::server::LastReference;
/// # use adapter_core::{DynApplication, ServeError, ServerConfig, ServerHandle};
/// # fn begin(_: DynApplication, _: ServerConfig) -> Result<ServerHandle, ServeError> { unreachable!() }
/// fn start(application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
///     let _last = LastReference::of(&application);
///     begin(application, config) // in which the server's own thread takes another one
/// }
/// ```
#[derive(Debug)]
#[must_use = "it is for being dropped last"]
pub struct LastReference {
    /// `None` only while it is dropped.
    application: Option<DynApplication>,
    /// How many references are not the server's.
    foreign: usize,
}

impl LastReference {
    /// Of `application`, which is the server's too.
    pub fn of(application: &DynApplication) -> Self {
        LastReference { application: Some(application.clone()), foreign: application.others().saturating_sub(1) }
    }

    /// Waits until the server holds the application nowhere else, at most for `patience`, then drops this. Blocks. For
    /// servers whose connections may end a moment after they were counted as gone.
    pub fn drop_as_last(self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let others = || self.application.as_ref().map_or(0, DynApplication::others);
        while others() > self.foreign && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
    }
}

impl Drop for LastReference {
    fn drop(&mut self) {
        let Some(application) = self.application.take() else { return };
        if application.others() > 0 {
            return contain::discard(PLACE, application);
        }
        // Where no thread can be had it is dropped here, with the closure.
        let ended = contain::catch(PLACE, || {
            let end = move || contain::discard(PLACE, application);
            thread::Builder::new().name("adapter-end".into()).spawn(end)
        });
        if let Ok(Ok(thread)) = ended {
            let _ = thread.join();
        }
    }
}
