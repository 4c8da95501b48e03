//! File bodies, read in pieces on a thread that may block. \[FIL-01\] to \[FIL-07\]
//!
//! On Unix each reads at positions of its own and leaves the file's offset alone, so that clones of one file can be sent
//! at the same time; elsewhere they share the offset, and a body needs its file for itself.

use std::fs::File;
use std::io::{self, Seek};
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use crate::error::Error;

/// Bytes read at a time: one hand-over to the socket's send buffer.
const PIECE: u64 = 64 * 1024;

pub(super) struct FileChunks {
    file: File,
    /// Where to read next.
    position: u64,
    remaining: u64,
}

impl FileChunks {
    pub(super) fn new(mut file: File, range: impl RangeBounds<u64>) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => file.stream_position()?,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => size,
        };
        Ok(FileChunks { file, position: start, remaining: end.min(size).saturating_sub(start) })
    }

    pub(super) fn remaining(&self) -> u64 {
        self.remaining
    }

    pub(super) fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if self.remaining == 0 {
            return None;
        }
        Some(self.read().map_err(Error::from))
    }

    fn read(&mut self) -> io::Result<Bytes> {
        let mut piece = vec![0; self.remaining.min(PIECE) as usize];
        let count = read_at(&mut self.file, &mut piece, self.position)?;
        if count == 0 {
            // Shorter than it was when the length was promised: [FIL-02], [FRM-04].
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        piece.truncate(count);
        self.position += count as u64;
        self.remaining -= count as u64;
        Ok(piece.into())
    }
}

#[cfg(unix)]
fn read_at(file: &mut File, piece: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, piece, position)
}

/// Moves the offset: two bodies that read clones of one file in turn are right, at the same time they are not.
#[cfg(not(unix))]
fn read_at(file: &mut File, piece: &mut [u8], position: u64) -> io::Result<usize> {
    file.seek(io::SeekFrom::Start(position))?;
    io::Read::read(file, piece)
}
