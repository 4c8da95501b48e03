//! What there is at a path below the root. Everything here blocks.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::encoding::Coding;
use super::path::Wanted;
use super::unlinked::{self, Taken};

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
    // What is there mostly; what is not is looked at after it.
    let index = index.filter(|_| wanted.folder).map(|index| wanted.path.join(index));
    let name = if wanted.folder { index.as_deref() } else { Some(&*wanted.path) };
    if let Some(opened) = name.map(|name| open(root, name, codings)).transpose()?.flatten() {
        return Ok(Found::File(opened));
    }
    let Some(path) = below(root, &wanted.path)? else { return Ok(Found::Nothing) };
    Ok(match (std::fs::metadata(&path)?.is_dir(), wanted.folder) {
        // `/file.txt/`, too
        (false, _) => Found::Nothing,
        (true, false) => Found::MissesSlash,
        (true, true) => Found::Folder(path),
    })
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
    let named = |(file, metadata), coding| Opened { file, metadata, name: relative.to_owned(), coding };
    let plain = open_one(root, relative);
    // A variant without the file is nothing, whoever asks.
    if let Ok(None) = plain {
        return Ok(None);
    }
    for (name, coding) in variants {
        match open_one(root, &name) {
            Ok(None) => {}
            Ok(Some(opened)) => return Ok(Some(named(opened, coding))),
            // A variant that can't be read takes nothing from who can do without.
            Err(error) => {
                tracing::warn!(target: "adapter", ?name, %error, "a compressed file can't be sent; the plain one is");
            }
        }
    }
    Ok(plain?.map(|opened| named(opened, None)))
}

/// The file `relative` below `root`; `None` where there is none.
fn open_one(root: &Path, relative: &Path) -> io::Result<Option<(File, Metadata)>> {
    match unlinked::take(root, relative) {
        Taken::File(file, metadata) => return Ok(Some((file, metadata))),
        Taken::Missing => return Ok(None),
        Taken::Unknown => {}
    }
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
