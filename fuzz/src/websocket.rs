//! A WebSocket with permessage-deflate: whatever a client sends, what comes back is well-formed, bounded, and has an end. Panics where it
//! is not.
//!
//! Shared by the fuzz target and by `adapter-core/tests/websocket_corpus.rs`, which replays the corpus.

#[path = "expand.rs"]
mod expand;

use adapter_core::testing::Client;
use adapter_core::upgrade::Upgraded;
use adapter_core::websocket::{self, Deflate, Upgrade};
use adapter_core::{Environ, Error, Request, Response};
use futures_lite::future::{block_on, zip};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

use self::expand::expand;

/// Octets of a message at most.
const LIMIT: usize = 16 * 1024;

async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
    let keeps = request.uri().path() == "/keeping";
    let deflate = Deflate::default().min_message_bytes(0).server_context_takeover(keeps).client_context_takeover(keeps);
    let upgrade = Upgrade::from_request(&request, &environ)?.max_message_bytes(LIMIT).deflate(deflate);
    Ok(upgrade.accept(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            let message = message?;
            assert!(message.len() <= LIMIT, "{} octets", message.len());
            socket.send(message).await?;
        }
        Ok::<_, websocket::Error>(())
    })?)
}

/// The first octet says whether windows go on, and whether the rest, with its repetitions carried out, are octets or frames: the first
/// octet of each, a length, and the payload.
pub fn websocket(data: &[u8]) {
    let [how, data @ ..] = data else { return };
    let data = expand(data, 500);
    let octets = if how & 2 == 0 { frames(&data) } else { data };
    let path = if how & 1 == 0 { "/alone" } else { "/keeping" };
    let (_, stream) = Client::new(echo)
        .get(path)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-extensions", "permessage-deflate")
        .upgrade()
        .expect("it is accepted");
    check(&exchange(stream, &octets));
}

/// Masked with zeros.
fn frames(mut data: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    while let [first, length, rest @ ..] = data {
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        octets.push(*first);
        match payload.len() {
            short @ 0..126 => octets.push(0x80 | short as u8),
            long => octets.extend([0x80 | 126, 0, long as u8]),
        }
        octets.extend([0; 4]);
        octets.extend(payload);
        data = rest;
    }
    octets
}

/// All that comes, until the end.
fn exchange(stream: Upgraded, octets: &[u8]) -> Vec<u8> {
    let (mut reads, mut writes) = futures_lite::io::split(stream);
    let mut answer = Vec::new();
    block_on(zip(
        async {
            // It may have been closed for what came first.
            if writes.write_all(octets).await.is_ok() {
                let _ = writes.close().await;
            }
        },
        async {
            let _ = reads.read_to_end(&mut answer).await;
        },
    ));
    answer
}

/// Whole frames, not masked, RSV1 on nothing but data, and nothing behind a close. RFC 6455 §5.2, RFC 7692 §6
fn check(mut octets: &[u8]) {
    let mut closed = false;
    while let [first, second, rest @ ..] = octets {
        assert!(!closed, "a frame behind a close");
        let (length, rest) = match (second, rest) {
            (126, [high, low, rest @ ..]) => (u64::from(u16::from_be_bytes([*high, *low])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest),
            (0..126, rest) => (u64::from(*second), rest),
            (0x80.., _) => panic!("a masked frame: {second:x}"),
            // The end may come within a frame: the client has ended its direction without a close.
            _ => return,
        };
        assert!(matches!(first, 0x81 | 0x82 | 0xc1 | 0xc2 | 0x88 | 0x8a), "a frame that begins with {first:x}");
        // What is compressed badly is a little larger.
        assert!(length <= (LIMIT + LIMIT / 16) as u64, "{length} octets");
        closed = *first == 0x88;
        if closed && let [high, low, ..] = rest {
            assert_ne!(u16::from_be_bytes([*high, *low]), 1011, "the handler has failed");
        }
        octets = rest.get(length as usize..).unwrap_or_default();
    }
}
