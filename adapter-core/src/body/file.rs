//! File bodies, read in pieces on a thread that may block. \[FIL-01\] to \[FIL-07\]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use crate::error::Error;

/// Bytes read at a time: one hand-over to the socket's send buffer.
const PIECE: u64 = 64 * 1024;

pub(super) struct FileChunks {
    file: File,
    /// Where to seek before the first read; `None` once done.
    seek: Option<u64>,
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
        Ok(FileChunks { file, seek: Some(start), remaining: end.min(size).saturating_sub(start) })
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
        if let Some(offset) = self.seek.take() {
            self.file.seek(SeekFrom::Start(offset))?;
        }
        let mut piece = vec![0; self.remaining.min(PIECE) as usize];
        let count = self.file.read(&mut piece)?;
        if count == 0 {
            // Shorter than it was when the length was promised: [FIL-02], [FRM-04].
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        piece.truncate(count);
        self.remaining -= count as u64;
        Ok(piece.into())
    }
}
