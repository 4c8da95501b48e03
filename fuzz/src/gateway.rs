//! The framings of gateways: what is heard does not depend on the pieces it comes in. Panics where it does.
//!
//! Shared by the fuzz target and by `adapter-gateway/tests/corpus.rs`, which replays the corpus.

#[path = "expand.rs"]
mod expand;

use adapter_gateway::heard::{Heard, heard};

use self::expand::expand;

/// Octets of variables that a request may have.
const LIMIT: usize = 64 * 1024;

/// The first octet says which protocol, the second one how long pieces are; the rest comes, with its repetitions carried out.
pub fn gateway(data: &[u8]) {
    let [which, size, data @ ..] = data else { return };
    let protocol = ["fastcgi", "scgi", "uwsgi"][usize::from(*which) % 3];
    let data = &expand(data, usize::MAX)[..];
    let whole = heard(protocol, LIMIT, &[data]).expect("a protocol");
    // Long ones octet by octet would take long and tell no more.
    let least = data.len() / 4096 + 1;
    for size in [usize::from(*size).max(least), least, 16 * 1024] {
        let pieces: Vec<&[u8]> = data.chunks(size).collect();
        assert_eq!(heard(protocol, LIMIT, &pieces).expect("a protocol"), whole, "{protocol} in pieces of {size}");
    }
    let octets: usize = whole.iter().map(octets).sum();
    // Replies are bounded by what asks for them: a record of 8 octets has one of 16 at most, a pair of values none longer than its name.
    assert!(octets <= data.len() * 3 + 64, "{octets} octets of {}", data.len());
    let requests = whole.iter().filter(|one| matches!(one, Heard::Request(..))).count();
    assert!(requests <= 1, "nobody has answered the first request, and there are {requests}");
}

fn octets(one: &Heard) -> usize {
    match one {
        Heard::Request(pairs, _) => {
            let octets: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(octets <= LIMIT, "{octets} octets of variables");
            octets
        }
        Heard::Data(data) | Heard::Reply(data) => data.len(),
        Heard::End | Heard::Abort | Heard::Malformed => 0,
    }
}
