//! Why certificates, keys and settings can't be used, in one line that names the file.

use std::path::{Path, PathBuf};

/// What is wrong with a configuration of TLS. Its text is one line, and begins with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    file: Option<PathBuf>,
    reason: String,
}

impl LoadError {
    pub(crate) fn of(file: &Path, reason: impl Into<String>) -> Self {
        LoadError { file: Some(file.to_owned()), reason: reason.into() }
    }

    pub(crate) fn new(reason: impl Into<String>) -> Self {
        LoadError { file: None, reason: reason.into() }
    }

    /// The file it is about; `None` where it is about none.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for LoadError {}
