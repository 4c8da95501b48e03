//! Opens what a path without links names, and nothing else: somebody may put a link, or a FIFO, in its way after it was looked at.

use std::fs::File;
use std::io;
use std::path::Path;

/// The file at `path`, which is canonical and below `root`; `None` where it is not there any more, or is reached by a link now. Blocks as
/// opening files does, and waits for nobody who writes to a FIFO.
///
/// # Errors
/// As opening it.
#[cfg(unix)]
pub(super) fn open(root: &Path, path: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{Mode, OFlags, openat};
    use rustix::io::Errno;

    let Ok(relative) = path.strip_prefix(root) else { return Ok(None) };
    // No more than a way through it is asked for, where there is that.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const FOLDER: OFlags = OFlags::PATH;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const FOLDER: OFlags = OFlags::RDONLY;
    let root = if root.as_os_str().is_empty() { Path::new("/") } else { root };
    let mut folder = rustix::fs::open(root, FOLDER | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut parts = relative.components().filter(|part| !matches!(part, std::path::Component::RootDir)).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let kind = if is_last { OFlags::RDONLY | OFlags::NONBLOCK } else { FOLDER | OFlags::DIRECTORY };
        match openat(&folder, part.as_os_str(), kind | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) if is_last => return Ok(Some(file.into())),
            Ok(next) => folder = next,
            Err(Errno::LOOP | Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

#[cfg(not(unix))]
pub(super) fn open(_: &Path, path: &Path) -> io::Result<Option<File>> {
    File::open(path).map(Some)
}

/// Whether a path has links that lead to themselves.
#[cfg(unix)]
pub(super) fn is_circle(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

#[cfg(not(unix))]
pub(super) fn is_circle(_: &io::Error) -> bool {
    false
}

/// Whether the process, or the machine, has as many files open as it may.
#[cfg(unix)]
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is(Errno::MFILE) || is(Errno::NFILE)
}

#[cfg(not(unix))]
pub(super) fn is_out_of_files(_: &io::Error) -> bool {
    false
}
