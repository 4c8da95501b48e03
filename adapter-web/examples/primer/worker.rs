//! A worker of the kind libraries bring along: a thread of its own, and callbacks it calls.
//!
//! It knows nothing of HTTP or of the server.

use std::thread;
use std::time::Duration;

type OnData = Box<dyn FnMut(String) -> bool + Send>;
type OnFinish = Box<dyn FnOnce(usize) + Send>;

/// Fetches five pieces, with a pause before each.
pub(crate) struct Worker {
    pause: Duration,
    on_data: OnData,
    on_finish: OnFinish,
}

impl Worker {
    /// A worker without callbacks.
    pub(crate) fn new(pause: Duration) -> Self {
        Worker { pause, on_data: Box::new(|_| true), on_finish: Box::new(|_| ()) }
    }

    /// Called on the worker's thread with each piece; says whether it wants more.
    pub(crate) fn on_data(mut self, callback: impl FnMut(String) -> bool + Send + 'static) -> Self {
        self.on_data = Box::new(callback);
        self
    }

    /// Called once at the end, on the worker's thread.
    pub(crate) fn on_finish(mut self, callback: impl FnOnce(usize) + Send + 'static) -> Self {
        self.on_finish = Box::new(callback);
        self
    }

    /// Starts the thread and returns at once.
    pub(crate) fn start(mut self) {
        thread::spawn(move || {
            let mut count = 0;
            for n in 1..=5 {
                thread::sleep(self.pause);
                if !(self.on_data)(format!("piece {n}\n")) {
                    break;
                }
                count = n;
            }
            (self.on_finish)(count);
        });
    }
}
