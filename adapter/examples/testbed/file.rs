//! A file of 8 MiB with known contents: byte `n` is `n % 251`.
//!
//! Made once, when the program starts; removed when it ends. Each request opens it anew, for a shared handle would
//! share its offset.

use std::io::{self, Write as _};

use adapter::{Body, Error};
use tempfile::NamedTempFile;

/// Its size.
pub(crate) const LENGTH: usize = 8 << 20;

/// The file on disk.
pub(crate) struct KnownFile(NamedTempFile);

impl KnownFile {
    /// Writes it.
    pub(crate) fn create() -> io::Result<Self> {
        let contents: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
        let mut file = NamedTempFile::new()?;
        file.write_all(&contents)?;
        file.flush()?;
        Ok(KnownFile(file))
    }

    /// All of it as a response body. Blocks as opening a file does.
    pub(crate) fn body(&self) -> Result<Body, Error> {
        Ok(Body::from_path(self.0.path())?)
    }
}
