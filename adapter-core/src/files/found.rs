//! What there is at a path below the root. Everything here blocks.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::encoding::Coding;
use super::path::Wanted;
use super::unlinked;

/// What a path names.
pub(super) enum Found {
    /// A file, to be sent.
    File(Opened),
    /// A folder without an index, that was asked for as one.
    Folder(PathBuf),
    /// A folder that was asked for as if it were a file.
    MissesSlash,
    Nothing,
}

/// A file that is open.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    /// Whose type and whose rule for caches it has: without the extension of a coding.
    pub(super) name: PathBuf,
    pub(super) coding: Option<&'static str>,
}

/// What `wanted` names below `root`, which is canonical; a folder is its `index`. Of the file's variants in one of `codings` the first that
/// there is.
///
/// # Errors
/// What is not just missing: no permission, no descriptor, a disk that fails.
pub(super) fn find(root: &Path, wanted: &Wanted, index: Option<&str>, codings: &[Coding]) -> io::Result<Found> {
    let Some(path) = below(root, &wanted.path)? else { return Ok(Found::Nothing) };
    let metadata = std::fs::metadata(&path)?;
    match (metadata.is_dir(), wanted.folder) {
        (false, false) => Ok(open(root, &wanted.path, codings)?.map_or(Found::Nothing, Found::File)),
        // `/file.txt/`
        (false, true) => Ok(Found::Nothing),
        (true, false) => Ok(Found::MissesSlash),
        (true, true) => {
            let index = index.map(|index| open(root, &wanted.path.join(index), codings)).transpose()?.flatten();
            Ok(index.map_or(Found::Folder(path), Found::File))
        }
    }
}

/// The file `relative` below `root`, or its variant in one of `codings`; `None` where there is none. What is no ordinary file is none:
/// somebody else may have to write to it, or to wait for it.
///
/// # Errors
/// As [`find`].
pub(super) fn open(root: &Path, relative: &Path, codings: &[Coding]) -> io::Result<Option<Opened>> {
    let variants = codings.iter().map(|coding| {
        let mut name = relative.as_os_str().to_owned();
        name.push(".");
        name.push(coding.extension);
        (PathBuf::from(name), Some(coding.name))
    });
    // A variant without the file is nothing, whoever asks.
    if below(root, relative)?.is_none() {
        return Ok(None);
    }
    for (name, coding) in variants.chain([(relative.to_owned(), None)]) {
        match open_one(root, &name) {
            Ok(None) => {}
            Ok(Some((file, metadata))) => {
                return Ok(Some(Opened { file, metadata, name: relative.to_owned(), coding }));
            }
            // A variant that can't be read takes nothing from who can do without.
            Err(error) if coding.is_some() => {
                tracing::warn!(target: "adapter", ?name, %error, "a compressed file can't be sent; the plain one is");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The file `relative` below `root`; `None` where there is none.
fn open_one(root: &Path, relative: &Path) -> io::Result<Option<(File, Metadata)>> {
    let Some(path) = below(root, relative)? else { return Ok(None) };
    if !std::fs::metadata(&path)?.is_file() {
        return Ok(None);
    }
    let Some(file) = unlinked::open(root, &path)? else { return Ok(None) };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

/// Where `relative` is, links followed; `None` where it is not there, or where links lead out of `root`.
fn below(root: &Path, relative: &Path) -> io::Result<Option<PathBuf>> {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    match root.join(relative).canonicalize() {
        Ok(path) => Ok(Some(path).filter(|path| path.starts_with(root))),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput) => Ok(None),
        Err(error) if unlinked::is_circle(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
