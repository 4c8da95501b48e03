//! Long inputs out of short ones. A fuzzer's inputs have a few KiB, what goes wrong after 16 KiB of chunk sizes or with
//! the thousandth request is not among them. So an input may say that a piece of it comes again and again.

/// Begins a repetition: then come a byte for how often, one for how long the piece is, and the piece.
pub const MARK: [u8; 2] = [0xff, 0xfe];

/// Longest result.
const MOST: usize = 512 * 1024;

/// How often a piece comes for a byte: 1 to 31,744 times, in steps of a sixteenth of the power of two.
pub fn count(byte: u8) -> usize {
    let (power, step) = (u32::from(byte >> 4), usize::from(byte & 15));
    ((16 + step) << power) / 16
}

/// `data` with its repetitions carried out, each at most `most` times.
pub fn expand(data: &[u8], most: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some(at) = rest.windows(2).position(|pair| pair == MARK) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 2..];
        let [times, length, after @ ..] = rest else { break };
        let (piece, after) = after.split_at(usize::from(*length).min(after.len()));
        let room = MOST.saturating_sub(out.len()) / piece.len().max(1);
        for _ in 0..count(*times).min(most).min(room) {
            out.extend_from_slice(piece);
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out
}

/// `piece`, `times` as [`count`] has it, as it stands in an input. For seeds and generators.
#[allow(dead_code, reason = "not every user generates")]
pub fn repeated(times: u8, piece: &[u8]) -> Vec<u8> {
    let length = u8::try_from(piece.len()).expect("invariant: a piece is at most 255 bytes");
    [&MARK[..], &[times, length], piece].concat()
}
