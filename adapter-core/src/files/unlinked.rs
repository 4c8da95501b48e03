//! Opens what a path without links names, and nothing else: somebody may put a link, or a FIFO, in its way after it was looked at.

#[cfg(unix)]
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::path::Component;
use std::path::Path;

#[cfg(unix)]
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat};
#[cfg(unix)]
use rustix::io::Errno;

/// What is at a path, as far as it can be told without following links.
pub(super) enum Taken {
    /// An ordinary file, with no link on the way to it.
    File(File, Metadata),
    Missing,
    /// A link, a folder, something that may not be read: to be found out the long way.
    Unknown,
}

/// The file `relative` below `root`, which is canonical: a third of the system calls that it takes to follow links. Blocks as [`open`] does.
#[cfg(unix)]
pub(super) fn take(root: &Path, relative: &Path) -> Taken {
    let (Ok(Some(folder)), Some(name)) = (way(root, relative), relative.file_name()) else { return Taken::Unknown };
    // Before it is opened: who waits to write to a FIFO would go on.
    match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
        Err(Errno::NOENT) => return Taken::Missing,
        _ => return Taken::Unknown,
    }
    let Ok(Some(file)) = last(&folder, name) else { return Taken::Unknown };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Taken::File(file, metadata),
        _ => Taken::Unknown,
    }
}

#[cfg(not(unix))]
pub(super) fn take(_: &Path, _: &Path) -> Taken {
    Taken::Unknown
}

/// The file at `path`, which is canonical and below `root`; `None` where it is not there any more, or is reached by a link now. Blocks as
/// opening files does, and waits for nobody who writes to a FIFO.
///
/// # Errors
/// As opening it.
#[cfg(unix)]
pub(super) fn open(root: &Path, path: &Path) -> io::Result<Option<File>> {
    let Ok(relative) = path.strip_prefix(root) else { return Ok(None) };
    let (Some(folder), Some(name)) = (way(root, relative)?, relative.file_name()) else { return Ok(None) };
    last(&folder, name)
}

/// The folder that `relative` is in below `root`; `None` where links lead there, or nothing does.
#[cfg(unix)]
fn way(root: &Path, relative: &Path) -> io::Result<Option<OwnedFd>> {
    // No more than a way through it is asked for, where there is that.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let root = if root.as_os_str().is_empty() { Path::new("/") } else { root };
    let mut folder = rustix::fs::open(root, FOLDER, Mode::empty())?;
    let above = relative.parent().unwrap_or(Path::new(""));
    for part in above.components().filter(|part| *part != Component::RootDir) {
        match openat(&folder, part.as_os_str(), FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(next) => folder = next,
            Err(error) => return unless_gone(error),
        }
    }
    Ok(Some(folder))
}

/// The file `name` in `folder`; `None` where it is not there, or is a link.
#[cfg(unix)]
fn last(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(error) => unless_gone(error),
    }
}

#[cfg(unix)]
fn unless_gone<T>(error: Errno) -> io::Result<Option<T>> {
    match error {
        Errno::LOOP | Errno::NOENT | Errno::NOTDIR => Ok(None),
        error => Err(error.into()),
    }
}

#[cfg(not(unix))]
pub(super) fn open(_: &Path, path: &Path) -> io::Result<Option<File>> {
    File::open(path).map(Some)
}

/// Whether a path has links that lead to themselves.
#[cfg(unix)]
pub(super) fn is_circle(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

#[cfg(not(unix))]
pub(super) fn is_circle(_: &io::Error) -> bool {
    false
}

/// Whether the process, or the machine, has as many files open as it may.
#[cfg(unix)]
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is(Errno::MFILE) || is(Errno::NFILE)
}

#[cfg(not(unix))]
pub(super) fn is_out_of_files(_: &io::Error) -> bool {
    false
}
