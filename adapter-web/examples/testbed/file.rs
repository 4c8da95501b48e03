//! A file of 8 MiB with known contents: byte `n` is `n % 251`.
//!
//! Made once, when the program starts. It has no name, so that nothing is left however the program ends.

use std::fs::File;
use std::io::{self, Write as _};

use adapter_web::{Body, Error};

/// Its size.
pub(crate) const LENGTH: usize = 8 << 20;

/// The file on disk.
pub(crate) struct KnownFile(File);

impl KnownFile {
    /// Writes it.
    pub(crate) fn create() -> io::Result<Self> {
        let contents: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
        let mut file = tempfile::tempfile()?;
        file.write_all(&contents)?;
        file.flush()?;
        Ok(KnownFile(file))
    }

    /// All of it as a response body.
    pub(crate) fn body(&self) -> Result<Body, Error> {
        Ok(Body::from_file(self.0.try_clone()?, 0..)?)
    }
}
