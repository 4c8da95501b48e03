//! What the engine needs of a connection. It knows nothing else of it.

use std::net::SocketAddr;
use std::sync::Arc;

use adapter_core::ListenAddr;

use super::Engine;
use super::poller::Stream;

/// A connection, as the threads of the engine see it.
///
/// The leader reports events and timers, wakers report from anywhere; the first report puts the connection into the queue, and one
/// worker at a time runs it. Every report after [`run`](Client::run) has begun leads to another run.
pub(crate) trait Client: Send + Sync {
    /// The poller reported `flags`, bits of [`flag`](super::poller::flag); says what is to be done about it. Called under a lock: wakes nobody.
    fn on_event(&self, flags: u32) -> Reported;

    /// The timer entry fired. Called under a lock.
    fn on_timer(&self) -> Reported;

    /// Answers in place of application code that holds its thread beyond its time limit, or of a thread that is not there in time, where
    /// [`on_timer`](Client::on_timer) reported that it may. \[LIM-09\]
    fn answer_late(self: Arc<Self>);

    /// Passes on what [`on_event`](Client::on_event) reported as something to tell. Wakes whom the application has wait.
    fn tell(&self);

    /// Goes as far as it can without waiting; runs application code only with a `permit`.
    fn run(&self, permit: bool) -> Step;

    /// \[CON-05\] there is no thread for its request, and no place in the line. Called instead of a run.
    fn refuse(self: Arc<Self>);

    /// Whether the client is known to be gone.
    fn is_gone(&self) -> bool;

    /// Whether its request has waited for a permit for as long as it may. \[LIM-09\]
    fn is_overdue(&self) -> bool;

    /// Whether it waits for a permit with a request the application has not been called for. Set before it gets in line,
    /// and cleared when it is run.
    fn is_unbegun(&self) -> bool;

    /// Writes what application code holds up; called by the supervisor.
    fn uncork(self: Arc<Self>) -> Uncorked;

    /// The server is stopping: close it if it is idle. \[SHU-03\]
    fn drain(self: Arc<Self>);

    /// The server is being forced to stop: whoever reads or writes gets an error, and the rest is dropped. \[SHU-06\]
    fn force(self: Arc<Self>);

    /// Closes the socket under application code that does not return.
    fn abandon(&self);

    /// Ends the connection at once, whatever it does. For mistakes of the server's own.
    fn abort(&self);
}

/// A socket that was accepted.
pub(crate) struct Accepted {
    /// What events and timers name it by.
    pub(crate) token: u64,
    /// Watched by the poller.
    pub(crate) stream: Arc<Stream>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) local: ListenAddr,
    /// Whether its listener has TLS.
    pub(crate) tls: bool,
    /// Whether it has the PROXY protocol.
    pub(crate) proxy: bool,
}

/// Makes a connection.
pub(crate) type Connect = dyn Fn(&Arc<Engine>, Accepted) -> Arc<dyn Client> + Send + Sync;

/// What is to be done with a connection after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until the next report.
    Parked,
    /// Queue it again.
    Again,
    /// Queue it for a permit; a request that has not been begun may be refused instead.
    NeedsPermit {
        /// Whether the application has not been called for it yet.
        is_new: bool,
    },
}

/// What an event asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reported {
    /// The connection must be put into the queue.
    pub(crate) queue: bool,
    /// [`Client::tell`] must be called.
    pub(crate) tell: bool,
    /// The supervisor must look after output that application code holds up.
    pub(crate) corked: bool,
    /// The client of a request that waits in the line has gone.
    pub(crate) left: bool,
    /// [`Client::answer_late`] must be called.
    pub(crate) late: bool,
}

/// What is left of output that application code holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uncorked {
    /// Nothing, or the code has returned.
    Done,
    /// It waits for room: look when something is reported.
    Waits,
    /// Look again.
    Soon,
}
