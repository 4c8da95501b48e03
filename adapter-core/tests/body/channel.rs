//! Bodies that are fed. \[BOD-07\], \[BOD-10\]

use std::sync::Arc;

use adapter_core::{Body, Bytes};
use futures_lite::future;

use super::{drain, some_trailers};

#[test]
fn what_is_sent_arrives_with_trailers() {
    let (sender, body) = Body::channel(4);
    future::block_on(async {
        sender.send("one").await.unwrap();
        sender.send("two").await.unwrap();
        sender.send_trailers(some_trailers()).await.unwrap();
    });
    let (data, trailers, error) = drain(body, true);
    assert_eq!((data, trailers), (vec![Bytes::from("one"), Bytes::from("two")], Some(some_trailers())));
    assert!(error.is_none());
}

/// \[BOD-14\]
#[test]
fn what_is_broken_off_is_no_end() {
    let (sender, body) = Body::channel(4);
    future::block_on(async {
        sender.send("one").await.unwrap();
        sender.abort("no more").await;
    });
    let (data, trailers, error) = drain(body, true);
    assert_eq!((data, trailers), (vec![Bytes::from("one")], None));
    assert!(error.is_some_and(|error| error.to_string() == "no more"));
}

/// Is a chunk.
struct Held {
    _count: Arc<()>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        b"held"
    }
}

#[test]
fn what_is_queued_goes_with_the_body() {
    let (sender, body) = Body::channel(2);
    let held = Arc::new(());
    assert!(sender.try_send(Bytes::from_owner(Held { _count: held.clone() })).unwrap());
    drop(body);
    assert_eq!(Arc::strong_count(&held), 1, "the sender is there, the chunk is not");
    future::block_on(async {
        assert!(sender.send("more").await.is_err());
        assert!(sender.send_trailers(some_trailers()).await.is_err());
    });
}
