//! The payload of a message, compressed. RFC 7692 §7.2.1

use super::pool::Compressor;
use zlib_rs::{DeflateFlush, Status};

/// What a flush leaves at the end of the compressed payload, and the message is sent without. RFC 7692 §7.2.1
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Room for the end of a flush, so that it is not begun twice.
const SPARE: usize = 64;

/// `None` where the engine fails, which it has no reason to; its window can't be used further then.
pub(super) fn compress(compressor: &mut Compressor, payload: &[u8]) -> Option<Vec<u8>> {
    if payload.is_empty() {
        // A second flush in a row would give nothing at all. RFC 7692 §7.2.3.6
        return Some(vec![0]);
    }
    let engine = &mut compressor.engine;
    // Half of it: text becomes less. More is made as it is needed.
    let mut output = vec![0; payload.len() / 2 + SPARE];
    let (mut taken, mut length) = (0, 0);
    loop {
        let (before_in, before_out) = (engine.total_in(), engine.total_out());
        let room = output.get_mut(length..)?;
        let available = room.len();
        let status = engine.compress(payload.get(taken..)?, room, DeflateFlush::SyncFlush).ok()?;
        taken += (engine.total_in() - before_in) as usize;
        let made = (engine.total_out() - before_out) as usize;
        length += made;
        // As long as the room is filled there is more.
        if made < available && taken == payload.len() {
            break;
        }
        if status == Status::StreamEnd || (made == 0 && available >= SPARE) {
            return None;
        }
        output.resize(length + (payload.len() - taken) / 2 + SPARE * 2, 0);
    }
    output.truncate(length);
    if !output.ends_with(&TAIL) {
        return None;
    }
    output.truncate(length - TAIL.len());
    Some(output)
}
