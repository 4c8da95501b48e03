//! File bodies, read in pieces on a thread that may block. \[FIL-01\] to \[FIL-08b\]
//!
//! On Unix each reads at positions of its own and leaves the file's offset alone, so that clones of one file can be sent
//! at the same time; elsewhere they share the offset, and a body needs its file for itself.
//!
//! What is no ordinary file has no length to promise: pipes and terminals are read in sequence until they end, and so
//! are files whose system makes them up while they are read (`/proc`, `/sys`), which say that they have 0 or 4096
//! octets. Those are told from empty and sparse files by reading their first piece at once.

use std::fs::{File, Metadata};
use std::io::{self, Seek};
use std::ops::{Bound, RangeBounds};
use std::path::Path;

use bytes::Bytes;

use crate::error::Error;

/// Bytes read at a time: one hand-over to the socket's send buffer.
const PIECE: u64 = 64 * 1024;

pub(super) struct FileChunks {
    file: File,
    /// Where to read next; `None` where there are no positions.
    position: Option<u64>,
    /// Bytes still to come; at most so many where the length is not known.
    remaining: u64,
    /// Whether `remaining` is what will come, and less is an error.
    known: bool,
    /// Read already.
    first: Bytes,
}

impl FileChunks {
    pub(super) fn new(mut file: File, range: impl RangeBounds<u64>) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            // Its size is a number, and nothing of it can be read. [FIL-08a]
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        let in_sequence = is_sequence(&metadata);
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded if in_sequence => 0,
            Bound::Unbounded => file.stream_position()?,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        if in_sequence {
            if start > 0 {
                return Err(io::Error::new(io::ErrorKind::NotSeekable, "it can only be read from its beginning"));
            }
            return Ok(FileChunks { file, position: None, remaining: end, known: false, first: Bytes::new() });
        }
        let size = metadata.len();
        let remaining = end.min(size).saturating_sub(start);
        let mut body = FileChunks { file, position: Some(start), remaining, known: true, first: Bytes::new() };
        if may_be_made_up(&metadata) {
            let most = end.saturating_sub(start);
            let mut piece = vec![0; most.min(PIECE) as usize];
            let count = read(&mut body.file, &mut piece, &mut body.position)?;
            piece.truncate(count);
            body.first = piece.into();
            let count = count as u64;
            // [FIL-08b]
            body.known = count == remaining;
            if !body.known {
                body.remaining = most;
            }
        }
        Ok(body)
    }

    /// All of it, if that is at most `most` octets, and all there; else what was read is the first piece.
    #[cfg(feature = "files")]
    pub(super) fn read_whole(&mut self, most: u64) -> io::Result<Option<Bytes>> {
        let length = match self.part() {
            Some(part) if part.length <= most.min(PIECE) => part.length,
            _ => return Ok(None),
        };
        let piece = self.read()?;
        if piece.len() as u64 == length {
            return Ok(Some(piece));
        }
        self.first = piece;
        Ok(None)
    }

    /// `None` if it is not known.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.known.then_some(self.remaining)
    }

    /// The file, where to read of it next, and how many octets are to come: of an ordinary one, of which nothing was read ahead.
    pub(super) fn part(&self) -> Option<FilePart<'_>> {
        let position = self.position.filter(|_| self.known && self.first.is_empty() && self.remaining > 0)?;
        Some(FilePart { file: &self.file, position, length: self.remaining })
    }

    /// So many octets of that were sent; gives how many of them there were.
    pub(super) fn skip(&mut self, count: u64) -> u64 {
        let count = count.min(self.remaining);
        self.remaining -= count;
        self.position = self.position.map(|position| position.saturating_add(count));
        count
    }

    pub(super) fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if self.remaining == 0 {
            return None;
        }
        match self.read() {
            Ok(data) if data.is_empty() && !self.known => {
                self.remaining = 0;
                None
            }
            // Shorter than it was when the length was promised: [FIL-02], [FRM-04].
            Ok(data) if data.is_empty() => {
                Some(Err(
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent").into()
                ))
            }
            Ok(data) => {
                self.remaining = self.remaining.saturating_sub(data.len() as u64);
                Some(Ok(data))
            }
            Err(error) => Some(Err(error.into())),
        }
    }

    fn read(&mut self) -> io::Result<Bytes> {
        if !self.first.is_empty() {
            return Ok(std::mem::take(&mut self.first));
        }
        let mut piece = vec![0; self.remaining.min(PIECE) as usize];
        let count = read(&mut self.file, &mut piece, &mut self.position)?;
        piece.truncate(count);
        Ok(piece.into())
    }
}

/// What comes next of a body, as a part of a file: for servers that can send that without reading it.
#[derive(Clone, Copy, Debug)]
pub struct FilePart<'b> {
    /// The file. Its own offset is not the body's.
    pub file: &'b File,
    /// Where the part begins.
    pub position: u64,
    /// How many octets it has, at least one. The file may be shorter by now.
    pub length: u64,
}

/// Opens a file for a body. A FIFO is refused: opening it waits for somebody who writes, for ever if nobody does, and
/// this may be an event loop. \[FIL-08a\]
pub(super) fn open(path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&std::fs::metadata(path)?.file_type()) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it is a FIFO; open it where that may wait"));
    }
    File::open(path)
}

/// Whether it can only be read from its beginning to its end: pipes, sockets, terminals.
#[cfg(unix)]
fn is_sequence(metadata: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_char_device()
}

#[cfg(not(unix))]
fn is_sequence(metadata: &Metadata) -> bool {
    !metadata.is_file()
}

/// Whether its size may be none: nothing of it is on a disk. So are a sparse file and, on some systems, a small one.
#[cfg(unix)]
fn may_be_made_up(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.len() == 0 || (metadata.blocks() == 0 && metadata.len() <= PIECE)
}

#[cfg(not(unix))]
fn may_be_made_up(_metadata: &Metadata) -> bool {
    false
}

/// Reads at `position` and moves it, or where the file is.
fn read(file: &mut File, piece: &mut [u8], position: &mut Option<u64>) -> io::Result<usize> {
    loop {
        let read = match *position {
            Some(position) => read_at(file, piece, position),
            None => io::Read::read(file, piece),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(count) => {
                *position = position.map(|position| position.saturating_add(count as u64));
                return Ok(count);
            }
        }
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

#[cfg(test)]
#[cfg(feature = "files")]
mod tests {
    use super::*;

    fn with(octets: usize) -> (tempfile::NamedTempFile, FileChunks) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![b'x'; octets]).unwrap();
        let chunks = FileChunks::new(file.reopen().unwrap(), 0..octets as u64).unwrap();
        (file, chunks)
    }

    #[test]
    fn what_is_small_is_read_at_once() {
        let whole = |octets, most| with(octets).1.read_whole(most).unwrap().map(|data| data.len());
        assert_eq!((whole(10, 10), whole(11, 10), whole(0, 10)), (Some(10), None, None));
        let most = PIECE as usize;
        assert_eq!((whole(most, u64::MAX), whole(most + 1, u64::MAX)), (Some(most), None));
    }

    /// \[FIL-02\] by the time it is read, too
    #[test]
    fn what_became_shorter_is_no_whole_file() {
        let (file, mut chunks) = with(10);
        file.as_file().set_len(4).unwrap();
        assert_eq!(chunks.read_whole(10).unwrap(), None);
        assert_eq!(chunks.part().map(|part| part.position), None, "it can't be sent from the file");
        assert_eq!(chunks.next().unwrap().unwrap().len(), 4);
        assert!(chunks.next().unwrap().is_err());
    }
}
