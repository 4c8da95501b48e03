//! Both faces of a request body over a source that gives what it is told to.

use std::collections::VecDeque;
use std::io::{BufRead as _, ErrorKind, Read as _};
use std::sync::atomic::AtomicBool;

use futures_lite::StreamExt as _;
use futures_lite::future::{block_on, poll_once};
use http::{HeaderValue, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Next = Result<Frame<Bytes>, RequestBodyError>;

/// Gives each of its steps once, `None` being a poll in vain; then the end, and panics when it is asked again.
#[derive(Default)]
struct Steps {
    steps: VecDeque<Option<Next>>,
    over: bool,
    /// Nothing ever comes, and the end does not either.
    silent: bool,
    late: Arc<AtomicBool>,
}

impl Source for Steps {
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        assert!(!self.over, "asked behind an end or an error");
        match self.steps.pop_front() {
            Some(Some(next)) => {
                self.over = next.is_err();
                Poll::Ready(Some(next))
            }
            None if !self.silent => {
                self.over = true;
                Poll::Ready(None)
            }
            step => {
                if step.is_some() {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    fn is_late(&self) {
        self.late.store(true, Ordering::SeqCst);
    }

    fn size_hint(&self) -> SizeHint {
        if self.over { SizeHint::with_exact(0) } else { SizeHint::new() }
    }
}

fn data(piece: &str) -> Option<Next> {
    Some(Ok(Frame::data(Bytes::copy_from_slice(piece.as_bytes()))))
}

fn trailers() -> Option<Next> {
    Some(Ok(Frame::trailers(HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]))))
}

fn body(steps: impl IntoIterator<Item = Option<Next>>) -> RequestBody {
    RequestBody::from_source(Steps { steps: steps.into_iter().collect(), ..Steps::default() })
}

/// What the face of that number makes of it: all of the rest, up to `limit`.
fn gathered(body: &mut RequestBody, blocking: bool, limit: usize) -> Result<Bytes, RequestBodyError> {
    if !blocking {
        return block_on(body.bytes(limit));
    }
    let mut face = BlockingBody::from(std::mem::take(body));
    let outcome = BlockingBody::bytes(&mut face, limit);
    *body = face.into_inner();
    outcome
}

proptest! {
    /// \[LIM-03\] to the octet, in however many pieces it comes
    #[test]
    fn a_limit_is_for_all_pieces_together(pieces in vec("[a-z]{0,5}", 0..6), limit in 0_usize..20, blocking: bool) {
        let all = pieces.concat();
        let expected = if all.len() <= limit { Ok(all.into()) } else { Err(RequestBodyError::TooLarge { limit: limit as u64 }) };
        let steps = pieces.iter().flat_map(|piece| [data(piece), None]);
        prop_assert_eq!(gathered(&mut body(steps), blocking, limit), expected);
    }

    #[test]
    fn reads_of_any_size_give_all_of_it(pieces in vec("[a-z]{0,5}", 0..6), sizes in vec(0_usize..7, 0..40)) {
        let mut face = BlockingBody::from(body(pieces.iter().map(|piece| data(piece))));
        let mut seen = Vec::new();
        // Enough of the last size for what is left.
        for size in sizes.into_iter().chain([30; 7]) {
            let mut buffer = [0; 30];
            let count = face.read(&mut buffer[..size]).unwrap();
            prop_assert!(count <= size);
            seen.extend_from_slice(&buffer[..count]);
        }
        prop_assert_eq!(seen, pieces.concat().into_bytes());
    }
}

#[test]
fn a_declared_length_is_refused_before_anything_is_read() {
    let mut known = RequestBody::from("abc");
    assert_eq!(block_on(known.bytes(2)), Err(RequestBodyError::TooLarge { limit: 2 }));
    assert_eq!(block_on(known.bytes(3)), Ok("abc".into()), "nothing was taken of it");
}

/// \[REQ-07\], \[REQ-15\], \[TRL-01\]
#[test]
fn ends_and_errors_stay_and_so_do_trailers() {
    for blocking in [false, true] {
        let mut whole = body([data(""), data("a"), None, trailers()]);
        assert_eq!(whole.trailers(), None);
        assert_eq!(gathered(&mut whole, blocking, 9), Ok("a".into()));
        assert_eq!(whole.trailers().map(|map| &map["etag"]), Some(&HeaderValue::from_static("x")));
        assert_eq!(gathered(&mut whole, blocking, 9), Ok(Bytes::new()));
        assert!(whole.is_empty());

        let gone = Some(Err(RequestBodyError::Disconnected));
        let mut broken = body([data("a"), gone]);
        assert!(!broken.is_empty());
        for _ in 0..3 {
            assert_eq!(gathered(&mut broken, blocking, 9), Err(RequestBodyError::Disconnected));
        }
        assert_eq!((broken.is_empty(), broken.len()), (false, None), "an error is no end");
    }
}

#[test]
fn what_is_to_come_is_known_where_it_can_be() {
    let mut known = RequestBody::from("abc".to_owned());
    assert_eq!((known.len(), known.is_empty()), (Some(3), false));
    assert_eq!(format!("{known:?}"), "RequestBody { len: Some(3), .. }");
    assert_eq!(block_on(known.frame()).unwrap().unwrap().into_data().unwrap(), "abc");
    assert_eq!((known.len(), known.is_empty()), (Some(0), true));
    assert!(block_on(known.frame()).is_none());
    for nothing in [RequestBody::empty(), RequestBody::default(), RequestBody::from(Vec::new()), RequestBody::from("")]
    {
        assert_eq!((nothing.len(), nothing.is_empty()), (Some(0), true));
    }
    let mut source = body([data("a")]);
    assert_eq!((source.len(), source.is_empty()), (None, false));
    assert_eq!(block_on(source.next()), Some(Ok("a".into())));
    assert_eq!(block_on(source.next()), None);
    assert_eq!((source.len(), source.is_empty()), (Some(0), true));
}

#[test]
fn what_is_held_unread_counts_too() {
    let mut face = BlockingBody::from(RequestBody::from("abcde"));
    assert_eq!((face.len(), face.is_empty()), (Some(5), false));
    assert_eq!(face.fill_buf().unwrap(), b"abcde");
    face.consume(2);
    assert_eq!((face.len(), face.is_empty()), (Some(3), false));
    assert_eq!(
        BlockingBody::bytes(&mut face, 2),
        Err(RequestBodyError::TooLarge { limit: 2 }),
        "what is held is over the limit"
    );
    let mut face = BlockingBody::from(body([data("abc"), None, data(""), data("d"), trailers()]));
    face.fill_buf().unwrap();
    face.consume(1);
    let pieces: Vec<_> = std::iter::from_fn(|| face.chunk()).collect();
    assert_eq!(pieces, [Ok("bc".into()), Ok("d".into())]);
    assert!(face.trailers().is_some() && face.is_empty());
    let pieces: Vec<_> = BlockingBody::from(body([data("a"), data("b")])).chunks().collect();
    assert_eq!(pieces, [Ok("a".into()), Ok("b".into())]);
    let mut face = BlockingBody::from(RequestBody::from("abc"));
    face.fill_buf().unwrap();
    face.consume(1);
    let (rest, held) = face.into_parts();
    assert_eq!((rest.len(), held), (Some(0), "bc".into()));
}

#[test]
fn text_is_utf_8() {
    assert_eq!(block_on(RequestBody::from("é").text(2)), Ok("é".into()));
    assert_eq!(BlockingBody::from(RequestBody::from("é")).text(2), Ok("é".into()));
    let not = RequestBodyError::Malformed("not UTF-8".into());
    assert_eq!(block_on(RequestBody::from(vec![0xff]).text(2)), Err(not.clone()));
    assert_eq!(BlockingBody::from(RequestBody::from(vec![0xff])).text(2), Err(not));
}

#[test]
fn octets_are_counted_as_they_are_read() {
    let mut counted = body([data("abc"), data("de"), trailers()]);
    block_on(counted.chunk());
    let count = counted.count_read();
    assert_eq!(count.load(Ordering::Relaxed), 0, "from now on");
    block_on(counted.bytes(9)).unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 2);
    assert!(Arc::ptr_eq(&count, &counted.count_read()));
}

#[test]
fn who_polls_waits_for_the_waker() {
    let mut source = RequestBody::from_source(Steps { silent: true, ..Steps::default() });
    assert!(block_on(poll_once(source.frame())).is_none());
}

/// \[LIM-12\]
#[test]
fn who_blocks_waits_no_longer_than_it_was_told() {
    let late = Arc::<AtomicBool>::default();
    let mut silent = Steps { silent: true, late: late.clone(), ..Steps::default() };
    let within = Duration::from_millis(1);
    assert!(matches!(Pin::new(&mut silent).next_frame(Some(within)), Some(Err(RequestBodyError::TimedOut))));
    assert!(late.load(Ordering::SeqCst));
    let late = Arc::<AtomicBool>::default();
    let steps = [None, data("a")].into_iter().collect();
    let mut soon = Steps { steps, late: late.clone(), ..Steps::default() };
    assert!(matches!(Pin::new(&mut soon).next_frame(Some(Duration::from_secs(60))), Some(Ok(_))));
    assert!(Pin::new(&mut soon).next_frame(None).is_none());
    assert!(!late.load(Ordering::SeqCst));
}

/// \[LIM-12\] what comes earns time by its octets
#[test]
fn a_rate_is_for_who_blocks() {
    let mut paced = body([data("a"), None, data(&"b".repeat(1000))]);
    paced.set_min_rate(Some(10));
    assert!(paced.next_frame().is_some());
    assert!(paced.next_frame().is_some());
    assert_eq!(paced.pace.left().map(|left| left > Duration::from_secs(30)), Some(true), "{:?}", paced.pace);
    let silent = Steps { silent: true, ..Steps::default() };
    let mut paced = RequestBody::from_source(silent);
    paced.set_min_rate(Some(u32::MAX));
    paced.pace.came(0, Duration::from_secs(4));
    paced.pace.came(0, Duration::from_millis(999));
    assert!(matches!(paced.next_frame(), Some(Err(RequestBodyError::TimedOut))));
}

/// \[REQ-11\]
#[test]
fn each_error_has_a_status_and_a_kind() {
    for (error, status, kind) in [
        (RequestBodyError::Disconnected, 400, ErrorKind::UnexpectedEof),
        (RequestBodyError::Malformed("x".into()), 400, ErrorKind::InvalidData),
        (RequestBodyError::TooLarge { limit: 1 }, 413, ErrorKind::QuotaExceeded),
        (RequestBodyError::TimedOut, 408, ErrorKind::TimedOut),
        (RequestBodyError::ServerFault("x".into()), 500, ErrorKind::Other),
    ] {
        assert_eq!(error.status(), StatusCode::from_u16(status).unwrap());
        let wrapped = std::io::Error::from(error.clone());
        assert_eq!(wrapped.kind(), kind);
        assert_eq!(wrapped.get_ref().and_then(|inner| inner.downcast_ref()), Some(&error));
        assert_eq!(block_on(RequestBody::failed(error.clone()).bytes(9)), Err(error));
    }
}
