//! The payload of a compressed message, inflated: in steps, into no more than a message may have. RFC 7692 §7.2.2
//!
//! What comes is the client's: any octets. Memory is had as output comes, up to the bound and not above, whatever the
//! input promises; time as the caller allows, step by step.

use bytes::Bytes;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::compress::TAIL;

/// Octets given to the engine, and taken from it, at once.
const PIECE: usize = 16 * 1024;
/// Room for output at the least, if a message may have that much.
const LEAST: usize = 256;
/// The tail, and an octet that is not taken where a block has ended in front of it.
const PROBE: [u8; 5] = [0x00, 0x00, 0xff, 0xff, 0x00];

/// Why a message is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It has more octets than a message may have.
    TooBig,
    /// It is not compressed so, or not whole.
    Corrupt,
}

/// What the engine gets next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The message, from this octet on, and then nothing, until nothing comes out any more.
    Payload(usize),
    /// The tail, from this octet on, in calls that are counted.
    Tail(usize, u8),
}

/// A message that is being inflated.
pub(super) struct Inflating {
    engine: Inflate,
    input: Bytes,
    stage: Stage,
    output: Vec<u8>,
}

impl Inflating {
    /// `engine` continues with the window of the last message, or has an empty one.
    pub(super) fn new(engine: Inflate, mut input: Bytes) -> Self {
        // Some leave the tail where it was. It can't be anything else: the last octet of what is left without it has bits of a
        // block's head, which are zero.
        if input.ends_with(&TAIL) {
            input.truncate(input.len() - TAIL.len());
        }
        Inflating { engine, input, stage: Stage::Payload(0), output: Vec::new() }
    }

    /// The payload, and the engine with its window.
    pub(super) fn finish(self) -> (Vec<u8>, Inflate) {
        (self.output, self.engine)
    }

    /// Goes on until the payload is whole (`true`) or `budget` is used up. It has at most `limit` octets.
    pub(super) fn step(&mut self, limit: usize, budget: &mut usize) -> Result<bool, Failure> {
        // RFC 7692 §7.2.3.6 has one octet for an empty message; some send none, and mean the same.
        if self.input.is_empty() {
            return Ok(true);
        }
        while *budget > 0 {
            if self.turn(limit, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One call of the engine. Whether the payload is whole.
    fn turn(&mut self, limit: usize, budget: &mut usize) -> Result<bool, Failure> {
        let (rest, flush) = match self.stage {
            Stage::Payload(taken) => (self.input.get(taken..), InflateFlush::NoFlush),
            Stage::Tail(taken, _) => (PROBE.get(taken..), InflateFlush::Block),
        };
        let rest = rest.unwrap_or_default();
        let piece = rest.get(..PIECE).unwrap_or(rest);
        let length = self.output.len();
        // One octet above the limit is what tells that it is passed.
        let most = limit.saturating_add(1).saturating_sub(length);
        let room = piece.len().saturating_mul(4).clamp(LEAST, PIECE).min(most);
        grow(&mut self.output, room, limit);
        let before = (self.engine.total_in(), self.engine.total_out());
        let status = self.engine.decompress(piece, self.output.get_mut(length..).unwrap_or_default(), flush);
        let took = (self.engine.total_in() - before.0) as usize;
        let made = (self.engine.total_out() - before.1) as usize;
        self.output.truncate(length + made);
        *budget = budget.saturating_sub((took + made).max(1));
        if self.output.len() > limit {
            return Err(Failure::TooBig);
        }
        let has_ended = status.map_err(|_| Failure::Corrupt)? == Status::StreamEnd;
        if has_ended {
            // A block said that it was the last one; others may follow, on an empty window. RFC 7692 §7.2.3.4
            self.engine.reset(false);
        }
        // Whatever is pending fills the room.
        let is_all = made < room;
        match &mut self.stage {
            Stage::Payload(taken) => {
                *taken += took;
                let is_taken = *taken == self.input.len();
                if is_taken && has_ended {
                    // Without the octet that the RFC wants behind it, it is whole, too.
                    return Ok(true);
                }
                if is_taken && is_all {
                    self.stage = Stage::Tail(0, 0);
                } else if took == 0 && made == 0 {
                    return Err(Failure::Corrupt);
                }
                Ok(false)
            }
            Stage::Tail(taken, calls) => {
                *taken += took;
                *calls += 1;
                match *taken {
                    // It stopped where a block has ended.
                    4 if has_ended || is_all => Ok(true),
                    // A block goes on behind the message: it is not whole.
                    5.. => Err(Failure::Corrupt),
                    // 32 bits are some ends of blocks and 8 KiB, and not more.
                    _ if *calls > 64 => Err(Failure::Corrupt),
                    _ => Ok(false),
                }
            }
        }
    }
}

/// Makes `output` longer by `room`. Its memory doubles, but not above what a payload of `limit` needs.
fn grow(output: &mut Vec<u8>, room: usize, limit: usize) {
    let length = output.len();
    let needed = length + room;
    if output.capacity() < needed {
        let most = limit.saturating_add(1).max(needed);
        let wanted = output.capacity().saturating_mul(2).clamp(needed, most);
        output.reserve_exact(wanted - length);
    }
    output.resize(needed, 0);
}

#[cfg(test)]
mod tests {
    use super::super::compress::compress;
    use super::super::pool::Compressor;
    use super::*;

    #[test]
    fn a_bomb_has_the_memory_of_a_message_and_the_time_of_a_turn() {
        for limit in [0, 1, 300, 1000, 100_000, 1 << 20] {
            let bomb = compress(&mut Compressor::new(9, 15), &vec![0; 10 << 20]).expect("it compresses");
            assert!(bomb.len() < 20_000, "{}", bomb.len());
            let mut inflating = Inflating::new(Inflate::new(false, 15), bomb.into());
            let failure = loop {
                let budget = 5000;
                let before = inflating.output.len();
                match inflating.step(limit, &mut budget.clone()) {
                    Ok(whole) => assert!(!whole),
                    Err(failure) => break failure,
                }
                assert!(inflating.output.len() <= before + budget + PIECE);
                assert!(inflating.output.capacity() <= limit + 1);
            };
            assert_eq!(failure, Failure::TooBig);
            assert!(inflating.output.capacity() <= limit + 1);
        }
    }

    #[test]
    fn a_small_message_has_little_memory() {
        let small = compress(&mut Compressor::new(3, 15), b"small").expect("it compresses");
        let mut inflating = Inflating::new(Inflate::new(false, 15), small.into());
        assert_eq!(inflating.step(usize::MAX, &mut usize::MAX.clone()), Ok(true));
        assert!(inflating.output.capacity() <= 3 * LEAST);
    }
}
