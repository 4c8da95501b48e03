//! Senders and the server's side under the orders of their threads: `.ci/models`, MODELS.md.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http_body::Body as _;

use super::*;
use crate::body::Body;
use crate::sync::{block_on, explore, thread};

/// Chunks of each sender; one fills the queue.
const CHUNKS: u8 = 3;

/// A chunk, counted as long as it is there.
struct Chunk(Arc<AtomicUsize>);

fn chunk(there: &Arc<AtomicUsize>) -> Bytes {
    there.fetch_add(1, SeqCst);
    Bytes::from_owner(Chunk(there.clone()))
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        b"x"
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn next(body: &mut Body) -> Option<Message> {
    block_on(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)))
}

/// A task and a thread send: all of it arrives, that of each in order, and the last one that is dropped ends the body. \[BOD-08\]
#[test]
fn what_is_sent_is_taken_in_order() {
    explore(2_000, || {
        let (sends, mut body) = Body::channel(1);
        let blocks = sends.clone();
        let threads = [
            thread::spawn(move || {
                block_on(async {
                    for n in 0..CHUNKS {
                        sends.send(vec![0, n]).await.expect("it is wanted");
                    }
                });
            }),
            thread::spawn(move || {
                for n in 0..CHUNKS {
                    blocks.send_blocking(vec![1, n]).expect("it is wanted");
                }
            }),
        ];
        let mut taken = [0; 2];
        while let Some(frame) = next(&mut body) {
            let chunk = frame.expect("nothing fails").into_data().expect("it is data");
            let of = &mut taken[usize::from(chunk[0])];
            assert_eq!(chunk[1], *of);
            *of += 1;
        }
        assert_eq!(taken, [CHUNKS; 2]);
        for thread in threads {
            thread.join().expect("it does not panic");
        }
    });
}

/// Who sends, or waits for room, learns that the body is dropped; nothing that was sent is kept, whoever keeps a sender. \[BOD-16\]
#[test]
fn a_body_that_is_dropped_fails_who_sends() {
    explore(2_000, || {
        let there = Arc::default();
        let (sends, mut body) = Body::channel(1);
        let threads = [sends.clone(), sends.clone()].map(|sender| {
            let there = Arc::clone(&there);
            thread::spawn(move || while sender.send_blocking(chunk(&there)).is_ok() {})
        });
        drop(next(&mut body));
        drop(body);
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        assert!(sends.is_closed());
        assert_eq!(there.load(SeqCst), 0, "chunks are kept");
    });
}

/// A body that a sender breaks off, in whatever way, ends in an error, whatever the others do. \[BOD-14\]
#[test]
fn a_body_that_is_broken_off_is_not_whole() {
    let ends: [fn(BodySender); 2] = [|sender| sender.break_off(), |sender| block_on(sender.abort("why"))];
    for breaks in ends {
        explore(1_000, move || {
            let (sends, mut body) = Body::channel(1);
            let other = sends.clone();
            let threads = [
                thread::spawn(move || breaks(sends)),
                thread::spawn(move || {
                    for _ in 0..CHUNKS {
                        // It is broken off, or not yet.
                        let _ = other.send_blocking("x");
                    }
                }),
            ];
            let last = loop {
                match next(&mut body) {
                    Some(Ok(_)) => {}
                    last => break last,
                }
            };
            assert!(last.is_some(), "half was taken for the whole");
            drop(body);
            for thread in threads {
                thread.join().expect("it does not panic");
            }
        });
    }
}
