//! Compressors and inflaters between two messages, of all WebSockets of the process.
//!
//! One is borrowed for a message where its window does not go on to the next one, so that a WebSocket that is idle holds none. As
//! that takes no longer than the work does, there are about as many as threads at work; more than [`KEPT`] are not kept.

use std::sync::{Mutex, PoisonError};

use zlib_rs::{DeflateConfig, Inflate, Strategy};

use super::offer::MOST_BITS;

/// Of each kind at most: a compressor has up to 370 KiB, an inflater 46.
const KEPT: usize = 16;

static COMPRESSORS: Mutex<Vec<Compressor>> = Mutex::new(Vec::new());
static INFLATERS: Mutex<Vec<Inflate>> = Mutex::new(Vec::new());

/// A compressor with what it was made for.
pub(super) struct Compressor {
    level: u8,
    window_bits: u8,
    pub(super) engine: zlib_rs::Deflate,
}

impl Compressor {
    pub(super) fn new(level: u8, window_bits: u8) -> Self {
        let config = DeflateConfig {
            level: level.into(),
            // Negative: without zlib's head and checksum.
            window_bits: -i32::from(window_bits),
            // As zlib pairs the largest window with its 8: what is buffered besides shrinks with the window.
            mem_level: i32::from(window_bits) - 7,
            strategy: Strategy::Default,
            ..DeflateConfig::default()
        };
        Compressor { level, window_bits, engine: zlib_rs::Deflate::new_with_config(config) }
    }

    /// One whose window is empty.
    pub(super) fn borrow(level: u8, window_bits: u8) -> Self {
        let mut kept = COMPRESSORS.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().rposition(|one| (one.level, one.window_bits) == (level, window_bits));
        let found = found.map(|at| kept.swap_remove(at));
        drop(kept);
        match found {
            Some(mut found) => {
                found.engine.reset();
                found
            }
            None => Compressor::new(level, window_bits),
        }
    }

    pub(super) fn give_back(self) {
        keep(&COMPRESSORS, self);
    }
}

/// One whose window is empty. All have the largest: a stream with a smaller one is one of theirs, too.
pub(super) fn borrow_inflater() -> Inflate {
    let found = INFLATERS.lock().unwrap_or_else(PoisonError::into_inner).pop();
    match found {
        Some(mut found) => {
            found.reset(false);
            found
        }
        None => Inflate::new(false, MOST_BITS),
    }
}

pub(super) fn give_inflater_back(inflater: Inflate) {
    keep(&INFLATERS, inflater);
}

/// In place of the one that was kept longest, where there are many: what is wanted now is wanted again.
fn keep<T>(pool: &Mutex<Vec<T>>, one: T) {
    let mut kept = pool.lock().unwrap_or_else(PoisonError::into_inner);
    let oldest = (kept.len() >= KEPT).then(|| kept.remove(0));
    kept.push(one);
    drop(kept);
    // Its memory is given back outside of the lock.
    drop(oldest);
}
