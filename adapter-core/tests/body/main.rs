//! Properties of bodies of every kind: lengths, ends, drops, hooks, and the way through a blocking thread.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod channel;
mod exact;

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adapter_core::body::{Exact, LengthError};
use adapter_core::http::HeaderMap;
use adapter_core::runtime::{BlockingJob, BoxFuture, Driver, Runtime};
use adapter_core::server::Threads;
use adapter_core::testing::{Client, collect};
use adapter_core::{Body, Bytes, Environ, Error, Fault, Outcome, Request, Response, ServerConfig};
use futures_lite::{future, stream};
use http_body::{Body as _, Frame};
use proptest::collection::vec;
use proptest::prelude::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// The kinds a body can be made of, fed with the same pieces.
const KINDS: usize = 5;

fn body_of(kind: usize, pieces: Vec<String>) -> Body {
    match kind {
        0 => Body::from(pieces.concat()),
        1 => Body::from_iterator(pieces),
        2 => Body::from_stream(stream::iter(pieces)),
        3 => {
            let (sender, body) = Body::channel(pieces.len());
            for piece in pieces {
                assert!(sender.try_send(piece).unwrap(), "there is room for all");
            }
            body
        }
        _ => {
            use std::io::{Seek, Write};
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(pieces.concat().as_bytes()).unwrap();
            file.rewind().unwrap();
            Body::from_file(file, ..).unwrap()
        }
    }
}

/// A runtime of an event loop: `run_blocking` has a thread for each job. Made by the in-process client.
fn runtime() -> Runtime {
    let (sender, receiver) = mpsc::channel();
    let tell = move |_request: Request, environ: Environ| {
        sender.send(environ.runtime().clone()).unwrap();
        async { Ok::<_, Error>(Response::default()) }
    };
    Client::new(tell).get("/").send();
    receiver.recv_timeout(DEADLINE).unwrap()
}

/// Frames of `body` to its end, polled or pulled.
fn drain(mut body: Body, polled: bool) -> (Vec<Bytes>, Option<HeaderMap>, Option<Error>) {
    let (mut data, mut trailers) = (Vec::new(), None);
    loop {
        let next = if polled { future::block_on(body.frame()) } else { body.next_frame() };
        match next.map(|frame| frame.map(Frame::into_data)) {
            None => return (data, trailers, None),
            Some(Err(error)) => return (data, trailers, Some(error)),
            Some(Ok(Ok(piece))) => data.push(piece),
            Some(Ok(Err(frame))) => trailers = frame.into_trailers().ok(),
        }
    }
}

fn counted(counter: &Arc<AtomicUsize>) -> impl FnOnce(Outcome, u64) + Send + use<> {
    let counter = counter.clone();
    move |_, _| _ = counter.fetch_add(1, Ordering::SeqCst)
}

fn some_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", 1.into());
    trailers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_kind_gives_what_was_put_in(pieces in vec("[a-z]{0,5}", 0..6), kind in 0..KINDS, polled: bool, trailers: bool) {
        let whole = pieces.concat();
        let mut body = body_of(kind, pieces);
        if trailers {
            body = body.with_trailers(some_trailers());
        }
        if let Some(length) = body.len() {
            prop_assert_eq!(length, whole.len() as u64);
        }
        prop_assert!(!body.is_end_stream() || (whole.is_empty() && !trailers));
        let (data, seen, error) = drain(body, polled);
        prop_assert!(error.is_none() && data.iter().all(|piece| !piece.is_empty()));
        prop_assert_eq!(data.concat(), whole.into_bytes());
        prop_assert_eq!(seen.is_some(), trailers);
    }

    #[test]
    fn exact_is_exact(pieces in vec("[a-z]{0,5}", 0..6), kind in 0..KINDS, length in 0_u64..20, polled: bool) {
        let whole = pieces.concat();
        let outcomes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let told = outcomes.clone();
        let body = body_of(kind, pieces)
            .with_trailers(some_trailers())
            .on_finish(move |outcome, _| told.lock().unwrap().push(outcome));
        let mut exact = Exact::new(body, length);
        let (mut data, mut error) = (Vec::new(), None);
        loop {
            prop_assert_eq!(exact.size_hint().exact(), Some(exact.remaining()));
            let next = if polled {
                future::block_on(std::future::poll_fn(|cx| Pin::new(&mut exact).poll_frame(cx)))
            } else {
                exact.next_frame()
            };
            match next {
                None => break,
                Some(Ok(frame)) => data.extend_from_slice(frame.data_ref().expect("no trailers with a length")),
                Some(Err(short)) => {
                    prop_assert!(error.replace(short).is_none(), "one error, then the end");
                }
            }
        }
        prop_assert!(exact.is_end_stream());
        drop(exact);
        let sent = length.min(whole.len() as u64);
        prop_assert_eq!(&data[..], &whole.as_bytes()[..sent as usize]);
        let missing = error.as_ref().and_then(|error| error.downcast_ref::<LengthError>()).map(|error| error.missing);
        prop_assert_eq!(missing, (sent < length).then(|| length - sent));
        let expected = if sent < length { Outcome::Aborted } else { Outcome::Complete };
        prop_assert_eq!(&outcomes.lock().unwrap()[..], [expected]);
    }

    #[test]
    fn offload_changes_nothing_but_the_thread(pieces in vec("[a-z]{0,5}", 0..6), kind in 0..KINDS, trailers: bool) {
        let whole = pieces.concat();
        let (told, outcome) = mpsc::channel();
        let mut body = body_of(kind, pieces).on_finish(move |outcome, bytes| _ = told.send((outcome, bytes)));
        if trailers {
            body = body.with_trailers(some_trailers());
        }
        let length = body.len();
        let body = body.offload(&runtime(), None).unwrap();
        prop_assert!(!body.is_blocking());
        prop_assert_eq!(body.len(), length);
        let (data, seen, error) = drain(body, true);
        prop_assert!(error.is_none());
        prop_assert_eq!(data.concat(), whole.as_bytes());
        prop_assert_eq!(seen.is_some(), trailers);
        let bytes = whole.len() as u64;
        prop_assert_eq!(outcome.recv_timeout(DEADLINE), Ok((Outcome::Complete, bytes)));
        prop_assert!(outcome.try_recv().is_err(), "told once");
    }

    #[test]
    fn bodies_that_are_read_in_turns_need_one_thread(
        sizes in vec(vec(1_usize..100_000, 0..12), 1..5), turns in vec(0_usize..5, 0..40)) {
        let mut config = ServerConfig::default();
        config.blocking_threads = 1;
        let runtime = Runtime::new(Threads::for_event_loop(&config));
        let offloaded = |sizes: &Vec<usize>| {
            let pieces: Vec<_> = sizes.iter().map(|size| vec![b'x'; *size]).collect();
            Body::from_iterator(pieces).offload(&runtime, None).unwrap()
        };
        let mut bodies: Vec<(Body, usize)> = sizes.iter().map(|sizes| (offloaded(sizes), 0)).collect();
        for turn in turns {
            if let Some((body, seen)) = bodies.get_mut(turn)
                && let Some(frame) = body.next_frame()
            {
                *seen += frame.unwrap().data_ref().unwrap().len();
            }
        }
        for ((body, seen), sizes) in bodies.into_iter().zip(&sizes) {
            let (rest, _, error) = drain(body, true);
            prop_assert!(error.is_none());
            prop_assert_eq!(seen + rest.concat().len(), sizes.iter().sum::<usize>());
        }
    }

    #[test]
    fn hooks_run_once_however_far_the_body_was_pulled(
        pieces in vec("[a-z]{1,5}", 1..6), kind in 0..KINDS, pulls in 0_usize..9, offloaded: bool) {
        let count = Arc::new(AtomicUsize::new(0));
        let mut body = body_of(kind, pieces).on_finish(counted(&count)).on_finish(counted(&count));
        if offloaded {
            body = body.offload(&runtime(), None).unwrap();
        }
        for _ in 0..pulls {
            let _ = body.next_frame();
        }
        prop_assert_eq!(count.load(Ordering::SeqCst), 0, "not before the server lets go");
        drop(body);
        prop_assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}

/// Something a body owns: counts its drops, tells of each, and may panic in it.
struct Held {
    drops: Arc<AtomicUsize>,
    told: mpsc::Sender<()>,
    panics: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        let _ = self.told.send(());
        assert!(!self.panics, "drop panic");
    }
}

/// How a body ends, or is left.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Normal,
    Error,
    Panic,
    NeverPulled,
    Halfway,
}

const ENDS: [End; 5] = [End::Normal, End::Error, End::Panic, End::NeverPulled, End::Halfway];

fn step(end: End, at: usize, _held: &Held) -> Option<Result<&'static str, Error>> {
    match (at, end) {
        (0..2, _) => Some(Ok("piece")),
        (2, End::Error) => Some(Err("body error".into())),
        (2, End::Panic) => panic!("body panic"),
        _ => None,
    }
}

fn holding(kind: &str, end: End, held: Held) -> Body {
    let mut at = 0;
    let next = move || {
        at += 1;
        step(end, at - 1, &held)
    };
    match kind {
        "iterator" => Body::from_iterator(std::iter::from_fn(next)),
        "stream" => Body::from_stream(FromFn(Box::new(next))),
        _ => Body::from_http_body(FromFn(Box::new(next))),
    }
}

type Next = Box<dyn FnMut() -> Option<Result<&'static str, Error>> + Send>;

struct FromFn(Next);

impl futures_core::Stream for FromFn {
    type Item = Result<&'static str, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready((self.0)())
    }
}

impl http_body::Body for FromFn {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = (self.0)();
        Poll::Ready(next.map(|item| item.map(|text| Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

#[test]
fn a_body_is_dropped_once_however_it_ends() {
    let runtime = runtime();
    for kind in ["iterator", "stream", "http body"] {
        for end in ENDS {
            for panics in [false, true] {
                for offloaded in [false, true] {
                    let case = format!("{kind} {end:?} panics {panics} offloaded {offloaded}");
                    let drops = Arc::new(AtomicUsize::new(0));
                    let (told, dropped) = mpsc::channel();
                    let (tell, outcome) = mpsc::channel();
                    let mut body = holding(kind, end, Held { drops: drops.clone(), told, panics })
                        .on_finish(move |outcome, _| _ = tell.send(outcome));
                    if offloaded {
                        body = body.offload(&runtime, None).unwrap();
                    }
                    let pulls = match end {
                        End::NeverPulled => 0,
                        End::Halfway => 1,
                        _ => 4,
                    };
                    let seen: Vec<_> = (0..pulls).map_while(|_| body.next_frame()).collect();
                    let failed = seen.iter().any(Result::is_err);
                    assert_eq!(failed, matches!(end, End::Error | End::Panic), "{case}");
                    // [BOD-13] an error is the last thing, and comes once
                    assert_eq!(seen.iter().filter(|frame| frame.is_err()).count(), usize::from(failed), "{case}");
                    drop(body);
                    dropped.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("not dropped: {case}"));
                    let expected = if end == End::Normal { Outcome::Complete } else { Outcome::Aborted };
                    assert_eq!(outcome.recv_timeout(DEADLINE), Ok(expected), "{case}");
                    assert_eq!(drops.load(Ordering::SeqCst), 1, "{case}");
                }
            }
        }
    }
}

#[test]
fn a_failed_body_gives_no_trailers_and_is_not_complete() {
    for polled in [false, true] {
        let (told, outcome) = mpsc::channel();
        let pieces = [Ok("a"), Err(Error::new("broken"))];
        let mut body = Body::from_iterator(pieces)
            .with_trailers(some_trailers())
            .on_finish(move |outcome, bytes| _ = told.send((outcome, bytes)));
        let mut next = || if polled { future::block_on(body.frame()) } else { body.next_frame() };
        assert!(next().unwrap().is_ok());
        assert!(next().unwrap().is_err());
        assert!(next().is_none() && next().is_none());
        drop(body);
        assert_eq!(outcome.recv(), Ok((Outcome::Aborted, 1)));
    }
}

#[test]
fn a_hook_that_panics_does_not_keep_the_others_from_running() {
    let count = Arc::new(AtomicUsize::new(0));
    let panics = |_: Outcome, _: u64| panic!("hook panic");
    drop(Body::from("x").on_finish(counted(&count)).on_finish(panics).on_finish(counted(&count)));
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn a_panic_whose_payload_panics_in_its_drop_is_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("payload panic");
        }
    }
    let body = Body::from_iterator(std::iter::from_fn(|| -> Option<&str> { std::panic::panic_any(Bomb) }));
    assert!(collect(body).is_err());
}

#[test]
fn an_iterator_is_not_pulled_beyond_the_length() {
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = pulled.clone();
    let endless = std::iter::repeat("ab").inspect(move |_| _ = count.fetch_add(1, Ordering::SeqCst));
    let mut exact = Exact::new(Body::from_iterator(endless), 4);
    while exact.next_frame().is_some() {}
    assert_eq!(pulled.load(Ordering::SeqCst), 2);
}

#[test]
fn a_sender_that_panics_breaks_the_body_off_after_what_was_sent() {
    let (sender, mut body) = Body::channel(2);
    let feeder = std::thread::spawn(move || {
        sender.send_blocking("one").unwrap();
        sender.send_blocking("two").unwrap();
        panic!("feeder panic");
    });
    assert!(feeder.join().is_err());
    // Nothing that was queued is lost, though the queue was full.
    assert_eq!(body.next_frame().unwrap().unwrap().into_data().unwrap(), "one");
    assert_eq!(body.next_frame().unwrap().unwrap().into_data().unwrap(), "two");
    assert!(body.next_frame().unwrap().is_err());
    assert!(body.next_frame().is_none());
}

#[test]
fn senders_learn_that_the_body_is_gone() {
    let (sender, body) = Body::channel(1);
    assert!(sender.try_send("a").unwrap());
    assert!(!sender.try_send("b").unwrap(), "full");
    drop(body);
    assert!(sender.is_closed() && sender.try_send("c").is_err() && sender.send_blocking("d").is_err());
}

/// A server that drops the jobs it has accepted, or accepts none.
struct Stopped {
    accepts: bool,
}

impl Driver for Stopped {
    fn sleep_until(&self, _deadline: Instant) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }

    fn spawn(&self, _future: BoxFuture<()>) {}

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        if self.accepts { Ok(()) } else { Err(job) }
    }
}

#[test]
fn a_job_that_never_runs_does_not_look_like_an_end() {
    let runtime = Runtime::new(Stopped { accepts: true });
    let body = Body::from_iterator(["never sent"]).offload(&runtime, None).unwrap();
    assert!(collect(body).is_err(), "half a body must not be taken for the whole");
}

#[test]
fn no_room_for_blocking_work_is_503_and_the_hooks_run() {
    let (told, outcome) = mpsc::channel();
    let runtime = Runtime::new(Stopped { accepts: false });
    let body = Body::from_iterator(["x"]).on_finish(move |outcome, _| _ = told.send(outcome));
    let error = body.offload(&runtime, None).unwrap_err();
    assert_eq!((error.status().as_u16(), error.fault()), (503, Fault::Server));
    assert_eq!(outcome.recv_timeout(DEADLINE), Ok(Outcome::Aborted));
    assert!(!Body::from("full").offload(&runtime, None).unwrap().is_blocking());
}

#[test]
fn files_are_sent_from_offset_to_end() {
    use std::io::{Seek, SeekFrom, Write};
    let file = || {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        file.seek(SeekFrom::Start(3)).unwrap();
        file
    };
    let of = |body: std::io::Result<Body>| {
        let body = body.unwrap();
        let length = body.len().unwrap();
        let data = collect(body).unwrap();
        assert_eq!(length, data.len() as u64);
        String::from_utf8(data.to_vec()).unwrap()
    };
    assert_eq!(of(Body::from_file(file(), ..)), "3456789", "[FIL-01]");
    assert_eq!(of(Body::from_file(file(), 1..4)), "123", "[FIL-04]");
    assert_eq!(of(Body::from_file(file(), 8..=20)), "89");
    assert_eq!(of(Body::from_file(file(), 20..)), "");
    assert!(Body::from_path("/no/such/file").is_err(), "[FIL-06b]");

    if cfg!(unix) {
        let shared = file();
        let mut bodies = [(); 2].map(|()| Body::from_file(shared.try_clone().unwrap(), 5..).unwrap());
        let piece = |body: &mut Body| body.next_frame().unwrap().unwrap().into_data().unwrap();
        assert_eq!(bodies.each_mut().map(piece), ["56789", "56789"], "one file, sent twice at the same time");
    }

    let shrunk = file();
    let body = Body::from_file(shrunk.try_clone().unwrap(), 0..).unwrap();
    shrunk.set_len(5).unwrap();
    assert!(collect(body).is_err(), "[FIL-02]");
}

/// A server that sends a part of a file by itself, and pulls the rest.
#[test]
fn what_a_server_sends_of_a_file_is_not_pulled() {
    use std::io::Write as _;
    let file = || {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        file
    };
    let (told, outcome) = mpsc::channel();
    let body = Body::from_file(file(), 2..).unwrap().on_finish(move |outcome, count| _ = told.send((outcome, count)));
    let mut body = Exact::new(body, 6);
    let part = |body: &Exact| body.file_part().map(|part| (part.position, part.length));
    assert_eq!(part(&body), Some((2, 6)), "no more than is owed");
    body.file_sent(4);
    assert_eq!((part(&body), body.remaining()), (Some((6, 2)), 2));
    let piece = body.next_frame().unwrap().unwrap().into_data().unwrap();
    assert_eq!((piece, part(&body)), ("67".into(), None));
    assert!(body.next_frame().is_none());
    drop(body);
    assert_eq!(
        outcome.recv_timeout(DEADLINE),
        Ok((Outcome::Complete, 8)),
        "as of any body that is longer than it said"
    );

    assert!(Body::from_file(file(), 10..).unwrap().file_part().is_none(), "nothing is left");
    assert!(Body::from("text").file_part().is_none());
}

#[cfg(unix)]
#[test]
fn what_is_no_ordinary_file_has_no_length() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let refused = Body::from_path(folder.path()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::IsADirectory, "[FIL-08a]");
    assert!(Body::from_file(std::fs::File::open(folder.path()).unwrap(), ..).is_err());
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(Body::from_path(&fifo).is_err(), "it does not wait");

    // Both ends, so that opening waits for nobody.
    let both = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    (&both).write_all(b"0123456789").unwrap();
    let mut body = Body::from_file(both.try_clone().unwrap(), ..4).unwrap();
    assert_eq!((body.len(), body.is_blocking()), (None, true), "[FIL-08b]");
    assert_eq!(future::block_on(body.frame()).unwrap().unwrap().into_data().unwrap(), "0123");
    assert!(future::block_on(body.frame()).is_none());
    assert_eq!(Body::from_file(both, 4..).unwrap_err().kind(), std::io::ErrorKind::NotSeekable);

    let text = |body| String::from_utf8(collect(body).unwrap().to_vec()).unwrap();
    let of = |path: &str| Body::from_path(path).map(|body| (body.len(), text(body))).unwrap();
    assert_eq!(of("/dev/null"), (None, String::new()));
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    assert_eq!(of(path.to_str().unwrap()), (Some(0), String::new()), "an empty file is one");
    // A sparse file has nothing on disk, and a length.
    std::fs::File::create(&path).unwrap().set_len(65_536).unwrap();
    assert_eq!(of(path.to_str().unwrap()), (Some(65_536), "\0".repeat(65_536)));
    if let Ok(expected) = std::fs::read_to_string("/proc/self/limits") {
        assert_eq!(of("/proc/self/limits"), (None, expected.clone()));
        let part = Body::from_file(std::fs::File::open("/proc/self/limits").unwrap(), 2..10).unwrap();
        assert_eq!((part.len(), text(part)), (None, expected[2..10].to_owned()));
    }
}
