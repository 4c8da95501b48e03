//! The request body on its way from the connection to the application.
//!
//! One lock between the connection's task, which feeds it, and whoever reads. It holds little: where the application does not read,
//! the web server is held up (REQ-16).

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use adapter_core::dispatch::Meter;
use adapter_core::environ::Connection;
use adapter_core::observe::TimeLimit;
use adapter_core::request_body::Source;
use adapter_core::{RequestBody, RequestBodyError, Sleep};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Octets that wait for the application before no more are read.
const MOST: usize = 64 * 1024;

#[derive(Default)]
struct Pipe {
    pieces: VecDeque<Bytes>,
    octets: usize,
    /// How it has ended, behind the pieces.
    end: Option<Result<(), RequestBodyError>>,
    /// Octets that are still to come, where that was said.
    owed: Option<u64>,
    /// Octets that may still come.
    room: u64,
    limit: u64,
    /// The application has dropped it.
    dropped: bool,
    reader: Option<Waker>,
    feeder: Option<Waker>,
}

/// The connection's end.
pub(crate) struct Feed(Arc<Mutex<Pipe>>);

fn locked(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a body is to be held to.
pub(crate) struct Terms {
    /// Its length, if it is known.
    pub(crate) length: Option<u64>,
    /// \[LIM-03\]
    pub(crate) limit: Option<u64>,
    /// \[LIM-05\]
    pub(crate) timeout: Option<Duration>,
    pub(crate) environ: Arc<Connection>,
    pub(crate) meter: Option<Meter>,
}

/// A body that is to come.
pub(crate) fn channel(terms: Terms) -> (Feed, RequestBody) {
    let limit = terms.limit.unwrap_or(u64::MAX);
    let pipe = Pipe { owed: terms.length, room: limit, limit, ..Pipe::default() };
    let pipe = Arc::new(Mutex::new(pipe));
    let reader = Reader { pipe: pipe.clone(), terms, sleep: None };
    (Feed(pipe), RequestBody::from_source(reader))
}

impl Feed {
    /// Whether the application has enough for now; `cx` is woken when it wants more.
    pub(crate) fn is_full(&self, cx: &mut Context<'_>) -> bool {
        let mut pipe = locked(&self.0);
        let is_full = pipe.octets >= MOST && !pipe.dropped && pipe.end.is_none();
        if is_full {
            pipe.feeder = Some(cx.waker().clone());
        }
        is_full
    }

    /// Whether it goes on.
    pub(crate) fn is_open(&self) -> bool {
        locked(&self.0).end.is_none()
    }

    /// More of it. What comes beyond its length is not of it. \[REQ-03\]
    pub(crate) fn push(&self, mut data: Bytes) {
        let mut pipe = locked(&self.0);
        if pipe.end.is_some() {
            return;
        }
        if let Some(owed) = &mut pipe.owed {
            data.truncate(usize::try_from(*owed).unwrap_or(usize::MAX));
            *owed -= data.len() as u64;
        }
        match pipe.room.checked_sub(data.len() as u64) {
            Some(room) => pipe.room = room,
            None => {
                pipe.end = Some(Err(RequestBodyError::TooLarge { limit: pipe.limit }));
                return wake(pipe);
            }
        }
        if pipe.owed == Some(0) {
            pipe.end = Some(Ok(()));
        }
        if !pipe.dropped && !data.is_empty() {
            pipe.octets += data.len();
            pipe.pieces.push_back(data);
        }
        wake(pipe);
    }

    /// The web server says that it is whole. \[REQ-10\]
    pub(crate) fn end(&self) {
        let mut pipe = locked(&self.0);
        let is_short = pipe.owed.is_some_and(|owed| owed > 0);
        pipe.end.get_or_insert(if is_short { Err(RequestBodyError::Disconnected) } else { Ok(()) });
        wake(pipe);
    }

    /// Nothing more will come. \[REQ-10\], \[REQ-15\]
    pub(crate) fn cut(&self) {
        let mut pipe = locked(&self.0);
        pipe.end.get_or_insert(Err(RequestBodyError::Disconnected));
        wake(pipe);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Wakes the reader, without the lock.
fn wake(mut pipe: MutexGuard<'_, Pipe>) {
    let reader = pipe.reader.take();
    drop(pipe);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// The application's end.
struct Reader {
    pipe: Arc<Mutex<Pipe>>,
    terms: Terms,
    /// Runs while the application waits.
    sleep: Option<Sleep>,
}

impl Source for Reader {
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        let mut pipe = locked(&this.pipe);
        if let Some(data) = pipe.pieces.pop_front() {
            pipe.octets -= data.len();
            let feeder = if pipe.octets < MOST { pipe.feeder.take() } else { None };
            drop(pipe);
            if let Some(feeder) = feeder {
                feeder.wake();
            }
            if let Some(meter) = &this.terms.meter {
                meter.received(data.len() as u64);
            }
            this.sleep = None;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(end) = &pipe.end {
            return Poll::Ready(end.clone().err().map(Err));
        }
        pipe.reader = Some(cx.waker().clone());
        drop(pipe);
        let Some(timeout) = this.terms.timeout else { return Poll::Pending };
        let runtime = &this.terms.environ.serving.runtime;
        let sleep = this.sleep.get_or_insert_with(|| runtime.sleep(timeout));
        if Pin::new(sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.terms.environ.timed_out(TimeLimit::BodyRead);
        locked(&this.pipe).end = Some(Err(RequestBodyError::TimedOut));
        Poll::Ready(Some(Err(RequestBodyError::TimedOut)))
    }

    fn is_late(&self) {
        self.terms.environ.timed_out(TimeLimit::MinRate);
    }

    fn size_hint(&self) -> SizeHint {
        let pipe = locked(&self.pipe);
        pipe.owed.map_or_else(SizeHint::new, |owed| SizeHint::with_exact(owed + pipe.octets as u64))
    }
}

impl Drop for Reader {
    /// \[REQ-20\] the rest is not wanted.
    fn drop(&mut self) {
        let mut pipe = locked(&self.pipe);
        pipe.dropped = true;
        pipe.pieces.clear();
        pipe.octets = 0;
        let feeder = pipe.feeder.take();
        drop(pipe);
        if let Some(feeder) = feeder {
            feeder.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use adapter_core::environ::Serving;
    use adapter_core::server::Threads;
    use adapter_core::{ListenAddr, Runtime, ServerConfig, ServerInfo, ShutdownTrigger};

    use super::*;

    fn pipe(length: Option<u64>) -> (Feed, RequestBody) {
        limited(length, None)
    }

    fn limited(length: Option<u64>, limit: Option<u64>) -> (Feed, RequestBody) {
        let config = ServerConfig::default();
        let runtime = Runtime::new(Threads::for_event_loop(&config));
        let serving = Serving::new(ServerInfo::new("test", "0"), runtime, ShutdownTrigger::new(), &config);
        let local = ListenAddr::Tcp(([127, 0, 0, 1], 80).into());
        let environ = Arc::new(Connection::new(serving, None, local));
        channel(Terms { length, limit, timeout: None, environ, meter: None })
    }

    fn read(body: &mut RequestBody) -> Option<Result<Bytes, RequestBodyError>> {
        futures_lite::future::block_on(body.chunk())
    }

    #[test]
    fn its_length_is_known_where_it_was_said() {
        assert_eq!((pipe(Some(5)).1.len(), pipe(None).1.len()), (Some(5), None));
    }

    #[test]
    fn it_goes_on_until_its_end() {
        let (feed, mut body) = pipe(Some(5));
        feed.push(Bytes::from_static(b"hel"));
        assert!(feed.is_open());
        feed.push(Bytes::from_static(b"lo, and more"));
        assert!(!feed.is_open());
        let whole = [read(&mut body), read(&mut body), read(&mut body)];
        assert_eq!(whole, [Some(Ok("hel".into())), Some(Ok("lo".into())), None]);
    }

    /// \[REQ-10\]
    #[test]
    fn what_is_left_by_its_connection_is_broken_off() {
        for length in [None, Some(5)] {
            let (feed, mut body) = pipe(length);
            feed.push(Bytes::from_static(b"hel"));
            drop(feed);
            assert_eq!(read(&mut body), Some(Ok("hel".into())));
            assert_eq!(read(&mut body), Some(Err(RequestBodyError::Disconnected)));
        }
    }

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_reads_goes_on_when_something_comes() {
        let feeds: [fn(Feed); 3] = [|feed| feed.push(Bytes::from_static(b"a")), |feed| feed.end(), drop];
        for feeds in feeds {
            let (feed, mut body) = pipe(None);
            let woken = Arc::new(Woken(AtomicUsize::new(0)));
            let waker = Waker::from(woken.clone());
            let mut chunk = std::pin::pin!(body.chunk());
            assert!(chunk.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            feeds(feed);
            assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        }
    }

    /// \[LIM-03\]
    #[test]
    fn more_than_the_limit_is_too_large() {
        let (feed, mut body) = limited(None, Some(4));
        feed.push(Bytes::from_static(b"four"));
        assert!(feed.is_open());
        feed.push(Bytes::from_static(b"5"));
        assert!(!feed.is_open());
        assert_eq!(read(&mut body), Some(Ok("four".into())));
        assert_eq!(read(&mut body), Some(Err(RequestBodyError::TooLarge { limit: 4 })));
    }

    /// \[REQ-16\]
    #[test]
    fn who_feeds_goes_on_when_there_is_room() {
        let (feed, mut body) = pipe(None);
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        feed.push(Bytes::from_static(b"hello"));
        assert!(!feed.is_full(&mut cx));
        feed.push(vec![0; MOST].into());
        assert!(feed.is_full(&mut cx));
        assert_eq!(read(&mut body), Some(Ok("hello".into())));
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "as much as that is enough");
        assert!(matches!(read(&mut body), Some(Ok(data)) if data.len() == MOST));
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(!feed.is_full(&mut cx));
    }
}
