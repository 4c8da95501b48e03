//! A body held to its length. \[FRM-03\], \[FRM-04\], \[BOD-13\], \[TRL-04\], \[TRL-05\]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use adapter_core::body::Exact;
use adapter_core::{Body, Bytes, Outcome};
use http_body::{Body as _, Frame, SizeHint};

use super::some_trailers;

/// A body of somebody else's, which has these frames and knows its end; it may say that no data comes.
struct Foreign(VecDeque<Frame<Bytes>>, bool);

impl http_body::Body for Foreign {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.0.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        SizeHint::with_exact(if self.1 { 0 } else { data })
    }
}

/// Data, and trailers behind them.
fn trailed(data: &'static str) -> Body {
    let frames = [Frame::data(Bytes::from(data)), Frame::trailers(some_trailers())];
    Body::from_http_body(Foreign(frames.into(), false))
}

/// The frames there are, `-` for trailers and `!` for an error.
fn frames(mut exact: Exact) -> String {
    let mut seen = String::new();
    while let Some(next) = exact.next_frame() {
        match next.map(Frame::into_data) {
            Ok(Ok(data)) => seen.push_str(&String::from_utf8_lossy(&data)),
            Ok(Err(_)) => seen.push('-'),
            Err(_) => seen.push('!'),
        }
    }
    seen
}

#[test]
fn trailers_are_behind_all_data_or_nowhere() {
    assert_eq!(frames(Exact::new(trailed("abc"), 3).with_trailers()), "abc-");
    assert_eq!(frames(Exact::new(trailed("abc"), 3)), "abc");
    for exact in [Exact::new(trailed("abc"), 4), Exact::new(trailed("abc"), 4).with_trailers()] {
        assert_eq!(frames(exact), "abc!", "what is short does not end by trailers");
    }
    let own = || Body::from("abc").with_trailers(some_trailers());
    assert_eq!(frames(Exact::new(own(), 3).with_trailers()), "abc-");
    assert_eq!(frames(Exact::new(own(), 3)), "abc");
}

/// \[FRM-03\]
#[test]
fn a_body_that_lies_gives_no_more_than_is_owed() {
    let data = |data: &'static str| Frame::data(Bytes::from(data));
    let all = [data("abc"), data("de"), Frame::trailers(some_trailers())];
    assert_eq!(frames(Exact::new(Body::from_http_body(Foreign(all.into(), true)), 3).with_trailers()), "abc");
}

#[test]
fn it_says_where_its_end_is() {
    let mut exact = Exact::new(Body::from_iterator(["abc"]), 3);
    assert!(!exact.is_end_stream());
    assert!(exact.next_frame().is_some() && exact.is_end_stream());
    let mut exact = Exact::new(trailed("abc"), 3).with_trailers();
    assert!(!exact.is_end_stream());
    assert!(exact.next_frame().is_some() && !exact.is_end_stream(), "trailers come");
    assert!(exact.next_frame().is_some() && exact.is_end_stream());
}

/// \[BOD-13\] nobody has to ask once more for an end that is known.
#[test]
fn what_is_whole_is_complete_and_what_is_short_is_not() {
    for (length, expected) in [(3, Outcome::Complete), (4, Outcome::Aborted)] {
        let outcome = Arc::new(Mutex::new(None));
        let told = outcome.clone();
        let body = Body::from_iterator(["abc"]).on_finish(move |outcome, _| *told.lock().unwrap() = Some(outcome));
        let mut exact = Exact::new(body, length);
        assert!(exact.next_frame().is_some());
        drop(exact);
        assert_eq!(*outcome.lock().unwrap(), Some(expected));
    }
}

#[test]
fn it_blocks_as_its_body_does() {
    assert!(Exact::new(Body::from_iterator(["abc"]), 3).is_blocking());
    assert!(!Exact::new(Body::from("abc"), 3).is_blocking());
}

#[test]
fn of_a_file_there_is_as_much_as_is_owed() {
    let file = |length| {
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, b"0123456789ab").unwrap();
        Exact::new(Body::from_file(file, 2..).unwrap(), length)
    };
    let part = |length| file(length).file_part().map(|part| part.length);
    assert_eq!([part(0), part(4), part(11)], [None, Some(4), Some(10)]);
}

#[test]
fn a_body_of_others_tells_its_end() {
    assert!(Body::from_http_body(Foreign(VecDeque::new(), false)).is_end_stream());
    assert!(!trailed("abc").is_end_stream());
}
