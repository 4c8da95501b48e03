//! A file of 8 MiB with known contents: byte `n` is `n % 251`.
//!
//! Made once, when the program starts. It has no name, so that nothing is left however the program ends.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};

use adapter_web::{Body, Error};

/// Its size.
pub(crate) const LENGTH: usize = 8 << 20;

/// The file on disk.
pub(crate) struct KnownFile(File);

impl KnownFile {
    /// Writes it.
    pub(crate) fn create() -> io::Result<Self> {
        // In pieces, for the benchmarks look at the most memory it ever had.
        let mut file = BufWriter::with_capacity(64 * 1024, tempfile::tempfile()?);
        let period: [u8; 251] = std::array::from_fn(|n| n as u8);
        for start in (0..LENGTH).step_by(period.len()) {
            file.write_all(&period[..period.len().min(LENGTH - start)])?;
        }
        Ok(KnownFile(file.into_inner()?))
    }

    /// All of it as a response body.
    pub(crate) fn body(&self) -> Result<Body, Error> {
        Ok(Body::from_file(self.0.try_clone()?, 0..)?)
    }
}
