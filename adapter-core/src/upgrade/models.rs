//! Application and server under the orders of their threads: `.ci/models`, MODELS.md.

use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use super::{Handover, Offer, Tether, UpgradeError, Upgraded, channel};
use crate::observe::{Observer, Observers};
use crate::sync::{block_on, exhaust, explore, thread};

/// A socket on which nothing comes and nothing goes. It wakes nobody, also not when it is closed.
struct Silent(Arc<Counts>);

/// What there is of everything.
#[derive(Default)]
struct Counts {
    sockets: AtomicUsize,
    upgrades: AtomicUsize,
}

impl Counts {
    fn assert_all_is_over(&self) {
        assert_eq!(self.sockets.load(SeqCst), 0, "a socket is open");
        assert_eq!(self.upgrades.load(SeqCst), 0, "an upgrade that has ended is counted, or one that has not begun");
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, SeqCst);
    }
}

impl AsyncRead for Silent {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

impl AsyncWrite for Silent {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

struct Watch(Arc<Counts>);

impl Observer for Watch {
    fn upgraded(&self) {
        self.0.upgrades.fetch_add(1, SeqCst);
    }

    fn upgrade_ended(&self) {
        self.0.upgrades.fetch_sub(1, SeqCst);
    }
}

/// A connection on offer, watched.
fn offer() -> (Arc<Counts>, Handover, Offer) {
    let counts = Arc::<Counts>::default();
    let (handover, offer) = channel();
    offer.observed_by(&Observers::default().and(Arc::new(Watch(counts.clone()))));
    (counts, handover, offer)
}

fn stream(counts: &Arc<Counts>) -> (Upgraded, Tether) {
    counts.sockets.fetch_add(1, SeqCst);
    Upgraded::new(Silent(counts.clone()), &b""[..])
}

/// Whoever is first, the application has the stream, or was told that there is none, and the server learns when it is over.
/// \[UPG-19a\], \[UPG-19b\]
#[test]
fn who_takes_a_connection_has_it() {
    explore(2_000, || {
        let (counts, handover, offer) = offer();
        let (stream, tether) = stream(&counts);
        let takes = thread::spawn(move || match offer.take() {
            Ok(upgrade) => drop(block_on(upgrade).expect("it is given")),
            Err(error) => assert_eq!(error, UpgradeError::Taken),
        });
        handover.complete(stream);
        block_on(tether);
        takes.join().expect("it does not panic");
        counts.assert_all_is_over();
    });
}

/// Who waits for the stream is told that there will be none. \[UPG-19a\]
#[test]
fn who_is_refused_is_told() {
    exhaust(1_000_000, || {
        let (counts, handover, offer) = offer();
        let upgrade = offer.take().expect("nobody else has it");
        let refuses = thread::spawn(move || drop(handover));
        assert_eq!(upgrade.wait().expect_err("it is refused"), UpgradeError::Refused);
        refuses.join().expect("it does not panic");
        counts.assert_all_is_over();
    });
}

/// An application that gives up at any time leaves no open socket behind, and no server that waits for it. \[UPG-19b\]
#[test]
fn who_gives_up_closes_the_connection() {
    explore(2_000, || {
        let (counts, handover, offer) = offer();
        let upgrade = offer.take().expect("nobody else has it");
        let gives_up = thread::spawn(move || drop(upgrade));
        let (stream, tether) = stream(&counts);
        if handover.is_taken() {
            handover.complete(stream);
        } else {
            drop((handover, stream));
        }
        block_on(tether);
        gives_up.join().expect("it does not panic");
        counts.assert_all_is_over();
    });
}

/// The last half that is dropped ends the connection, and wakes the server. \[UPG-19b\]
#[test]
fn the_last_half_ends_the_tether() {
    explore(2_000, || {
        let (counts, ..) = offer();
        let (stream, tether) = stream(&counts);
        let (reads, writes) = stream.split();
        let halves: [Box<dyn Send>; 2] = [Box::new(reads), Box::new(writes)];
        let threads = halves.map(|half| {
            let counts = counts.clone();
            thread::spawn(move || {
                assert_eq!(counts.sockets.load(SeqCst), 1, "closed under a half");
                drop(half);
            })
        });
        block_on(tether);
        counts.assert_all_is_over();
        for thread in threads {
            thread.join().expect("it does not panic");
        }
    });
}

/// A forced shutdown closes the socket at once, and wakes who reads and who writes. \[SHU-06\]
#[test]
fn a_forced_shutdown_takes_the_stream_away() {
    explore(2_000, || {
        let (counts, handover, offer) = offer();
        let upgrade = offer.take().expect("nobody else has it");
        let (stream, tether) = stream(&counts);
        let uses = thread::spawn(move || {
            let (reads, writes) = upgrade.wait().expect("it is given").into_blocking().split();
            let aborted = |result: io::Result<usize>| {
                assert_eq!(result.expect_err("nothing comes").kind(), io::ErrorKind::ConnectionAborted);
            };
            let writes = thread::spawn(move || aborted({ writes }.write(b"x")));
            aborted({ reads }.read(&mut [0]));
            writes.join().expect("it does not panic");
        });
        handover.complete(stream);
        drop(tether);
        counts.assert_all_is_over();
        uses.join().expect("it does not panic");
    });
}
