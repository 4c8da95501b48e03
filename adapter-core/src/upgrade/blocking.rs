//! The stream for blocking code: `std::io::Read` and `Write` over the asynchronous one.
//!
//! A call polls, and parks its thread until the server wakes it. Reader and writer may be two threads.

use std::io::{self, IoSlice, Read, Write};

use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{ReadHalf, Upgraded, WriteHalf};
use crate::sync::block_on;

/// A stream or half of one whose calls block.
///
/// ```
/// use std::io::{Read as _, Write as _};
/// use adapter_core::upgrade::Upgraded;
///
/// /// Answers on one thread while another one reads.
/// fn talk(stream: Upgraded) -> std::io::Result<()> {
///     let (reader, writer) = stream.split();
///     let (mut reader, mut writer) = (reader.into_blocking(), writer.into_blocking());
///     std::thread::scope(|scope| {
///         scope.spawn(move || writer.write_all(b"hello\n"));
///         reader.read_to_end(&mut Vec::new())
///     })?;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Blocking<T>(T);

impl<T> Blocking<T> {
    pub(super) fn new(stream: T) -> Self {
        Blocking(stream)
    }

    /// The asynchronous stream again.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Blocking<Upgraded> {
    /// A reader and a writer, for two threads. The connection is closed when both are dropped.
    pub fn split(self) -> (Blocking<ReadHalf>, Blocking<WriteHalf>) {
        let (reader, writer) = self.0.split();
        (Blocking(reader), Blocking(writer))
    }
}

impl<T: AsyncWrite + Unpin> Blocking<T> {
    /// Ends our half of the stream; the client's goes on. Blocks until what was written is on its way.
    ///
    /// # Errors
    /// The client is gone, or the server has stopped.
    pub fn shutdown(&mut self) -> io::Result<()> {
        block_on(self.0.close())
    }
}

impl<T: AsyncRead + Unpin> Read for Blocking<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        block_on(self.0.read(buffer))
    }
}

impl<T: AsyncWrite + Unpin> Write for Blocking<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        block_on(self.0.write(bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        block_on(self.0.write_vectored(parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        block_on(self.0.flush())
    }
}
