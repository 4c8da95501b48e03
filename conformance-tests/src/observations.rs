//! What a server under test tells its observers, written down in words.
//!
//! One line for each, such as `ended GET HTTP/1.1 200 complete in=0 out=2 route=-`.

use std::fmt::Display;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapter_core::observe::{ConnectionEnd, ConnectionInfo, Observer, RequestEnded, RequestStarted, TimeLimit};
use adapter_core::refused::Refused;
use adapter_core::tls::TlsInfo;

use crate::case::{Failure, ensure_eq};
use crate::wire::patience;

/// An observer that writes all of it down. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Observations(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Observations {
    /// For [`ServerConfig::observe`](adapter_core::ServerConfig::observe).
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.0.clone()
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows `word`, in order.
    pub fn of(&self, word: &str) -> Vec<String> {
        self.lines().iter().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ').map(str::to_owned)).collect()
    }

    /// How often it was told.
    pub fn count(&self, word: &str) -> usize {
        self.of(word).len()
    }

    /// What follows `word`, once it was told `count` times.
    ///
    /// # Errors
    /// It is not told as often within the client's patience, or more often.
    pub fn wait(&self, word: &str, count: usize) -> Result<Vec<String>, Failure> {
        let until = Instant::now() + patience();
        let mut lines = self.lines();
        loop {
            let told = lines.iter().filter(|line| line.starts_with(&format!("{word} "))).count();
            let left = until.saturating_duration_since(Instant::now());
            if told >= count || left.is_zero() {
                let all = lines.join("\n  ");
                drop(lines);
                ensure_eq!(told, count, "how often \"{word}\" was told; all there is:\n  {all}\n ");
                return Ok(self.of(word));
            }
            lines = self.0.more.wait_timeout(lines, left).map_or_else(|error| error.into_inner().0, |(lines, _)| lines);
        }
    }
}

impl Inner {
    fn told(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.more.notify_all();
    }
}

fn peer(connection: ConnectionInfo) -> String {
    connection.peer.map_or("unix".to_owned(), |peer| peer.to_string())
}

impl Observer for Inner {
    fn connection_opened(&self, connection: ConnectionInfo) {
        self.told(format!("opened {}", peer(connection)));
    }

    fn connection_closed(&self, connection: ConnectionInfo, why: ConnectionEnd) {
        self.told(format!("closed {} {}", why.name(), peer(connection)));
    }

    fn accept_failed(&self, error: &io::Error) {
        self.told(format!("accept-failed {error}"));
    }

    fn handshake_done(&self, connection: ConnectionInfo, tls: &TlsInfo) {
        self.told(format!("handshake-done {} {}", tls.protocol.as_deref().unwrap_or("-"), peer(connection)));
    }

    fn handshake_failed(&self, connection: ConnectionInfo, _why: &dyn Display) {
        self.told(format!("handshake-failed {}", peer(connection)));
    }

    fn request_started(&self, request: &RequestStarted<'_>) {
        self.told(format!("started {} {} {:?}", request.head.method, request.head.uri, request.head.version));
    }

    fn request_ended(&self, request: &RequestEnded<'_>) {
        let RequestEnded { method, version, received, sent, .. } = request;
        let status = request.status.map_or("-".to_owned(), |status| status.as_str().to_owned());
        let route = request.route.unwrap_or("-");
        let how = request.how.name();
        let is_late = request.to_first.is_some_and(|to_first| to_first > request.to_last);
        let late = if is_late { " last before first" } else { "" };
        let milliseconds = |took: Duration| took.as_millis();
        let to_first = request.to_first.map_or("-".to_owned(), |took| milliseconds(took).to_string());
        self.told(format!("took {to_first} {}", milliseconds(request.to_last)));
        self.told(format!("ended {method} {version:?} {status} {how} in={received} out={sent} route={route}{late}"));
    }

    fn request_refused(&self, refused: &Refused<'_>) {
        self.told(format!("refused {}", refused.rejection().status.as_u16()));
    }

    fn upgraded(&self) {
        self.told("upgraded .".into());
    }

    fn upgrade_ended(&self) {
        self.told("upgrade-ended .".into());
    }

    fn websocket_opened(&self) {
        self.told("websocket-opened .".into());
    }

    fn websocket_closed(&self, code: Option<u16>) {
        self.told(format!("websocket-closed {}", code.map_or("-".to_owned(), |code| code.to_string())));
    }

    fn blocking_queued(&self) {
        self.told("queued .".into());
    }

    fn blocking_started(&self, _waited: Duration) {
        self.told("began .".into());
    }

    fn blocking_ended(&self, _run: Duration) {
        self.told("ran .".into());
    }

    fn blocking_dropped(&self) {
        self.told("unqueued .".into());
    }

    fn timed_out(&self, limit: TimeLimit) {
        self.told(format!("timeout {}", limit.name()));
    }

    fn drain_started(&self) {
        self.told("draining .".into());
    }

    fn drain_ended(&self, in_time: bool) {
        self.told(format!("drained {in_time}"));
    }
}
