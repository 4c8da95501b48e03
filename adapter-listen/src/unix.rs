//! Unix-domain sockets and the paths they leave behind.
//!
//! A path is replaced only if it is a socket that nobody listens on, which the kernel says with ECONNREFUSED and nothing
//! else; and it is unlinked at the end only if it is still the file that was made here. Starters of the same path are
//! kept apart by a lock on its folder, so that none takes another's socket, bound but not listening yet, for a stale
//! one. A program that binds there without the lock can be taken for stale in that moment.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use adapter_core::server::{BindOptions, ListenAddr};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use socket2::{Domain, SockAddr, Socket, Type};

use super::tuning::Tuning;
use super::{ListenSocket, Listener};

/// How long a folder's lock is waited for, in steps of [`STEP`]. Nobody of ours holds it longer than an instant.
const STEPS: usize = 200;
const STEP: Duration = Duration::from_millis(5);

/// Removes the path of a Unix-domain socket on drop, unless another file has taken its place.
#[derive(Debug)]
pub struct UnixPath {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Keeps the inode, so that a successor's can't have its number.
    _inode: Option<OwnedFd>,
}

impl UnixPath {
    fn of(path: &Path) -> io::Result<Self> {
        let made = fs::symlink_metadata(path)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let inode = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let inode = None;
        Ok(UnixPath { path: path.to_owned(), device: made.dev(), inode: made.ino(), _inode: inode })
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        let _lock = lock_folder(&self.path, 1);
        if fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found)) {
            // Gone already is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path`, in place of a stale socket if one is there.
pub(super) fn bind(path: &Path, options: &BindOptions) -> io::Result<Listener> {
    let _lock = lock_folder(path, STEPS);
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(ErrorKind::AddrInUse, "there is a file that is no socket"));
        }
        if is_stale(path)? {
            fs::remove_file(path)?;
        }
    }
    let listener = UnixListener::bind(path)?;
    let unlink = Some(UnixPath::of(path)?);
    // std listens with a backlog of its own choice; listening again sets ours.
    let socket = Socket::from(listener);
    socket.listen(Tuning::from(options).backlog)?;
    socket.set_nonblocking(true)?;
    let addr = ListenAddr::Unix(path.to_owned());
    Ok(Listener {
        socket: ListenSocket::Unix(socket.into()),
        addr,
        shared: None,
        unlink,
        options: BindOptions::default(),
    })
}

/// Whether nobody listens on the socket at `path`, an error if somebody does or nobody can know.
fn is_stale(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener with a full queue would hold up the start; without blocking it says EAGAIN.
    socket.set_nonblocking(true)?;
    let in_use = |why: String| Err(io::Error::new(ErrorKind::AddrInUse, why));
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => in_use("another process listens there".into()),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ok(true),
            ErrorKind::NotFound => Ok(false),
            ErrorKind::WouldBlock => in_use("another process listens there".into()),
            _ => in_use(format!("there is a socket that may be another process's ({error})")),
        },
    }
}

/// Locks the folder of `path` against other starters, `None` where that can't be done: a folder that may not be read, a
/// file system without locks, or a stranger who holds it.
fn lock_folder(path: &Path, tries: usize) -> Option<OwnedFd> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    for step in 0..tries {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {}
            Err(_) => return None,
        }
        if step + 1 < tries {
            thread::sleep(STEP);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::sync::Barrier;

    use adapter_core::server::Bind;

    use super::*;

    fn bind_to(path: &Path) -> Result<Listener, String> {
        let bind: Bind = format!("unix:{}", path.display()).parse().unwrap();
        Listener::bind(&bind, false).map_err(|error| error.to_string())
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        (folder, path)
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let (_folder, path) = folder();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the path behind");
        let living = bind_to(&path).unwrap();
        let error = bind_to(&path).unwrap_err();
        assert_eq!(error, format!("cannot listen on unix:{}: another process listens there", path.display()));
        drop(living);
        assert!(!path.exists());
    }

    #[test]
    fn other_files_are_never_deleted() {
        let (folder, path) = folder();
        fs::write(&path, "a file").unwrap();
        assert!(bind_to(&path).unwrap_err().ends_with(": there is a file that is no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"a file");
        fs::remove_file(&path).unwrap();
        let datagrams = UnixDatagram::bind(&path).unwrap();
        assert!(bind_to(&path).unwrap_err().contains("may be another process's"));
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"still here", &path).unwrap();
        assert_eq!(datagrams.recv(&mut [0; 20]).unwrap(), 10);
        fs::remove_file(&path).unwrap();
        // A link is not followed, neither to what it names nor to nowhere.
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(bind_to(&path).is_err());
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(bind_to(&path).is_err());
    }

    #[test]
    fn a_full_queue_is_a_living_listener() {
        let (_folder, path) = folder();
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let mut clients = Vec::new();
        loop {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let connected = client.connect(&SockAddr::unix(&path).unwrap());
            clients.push(client);
            if connected.is_err() {
                break;
            }
        }
        assert!(bind_to(&path).unwrap_err().ends_with(": another process listens there"));
        assert!(path.exists());
    }

    #[test]
    fn a_successors_socket_stays() {
        let (_folder, path) = folder();
        let first = bind_to(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // Whatever numbers the file system hands out, and in whichever order the first one lets go.
        let (socket, _, unlink) = first.into_parts();
        drop(socket);
        let second = bind_to(&path).unwrap();
        drop(unlink);
        UnixStream::connect(&path).expect("the successor listens");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn of_many_starters_one_wins_and_is_reached() {
        let (_folder, path) = folder();
        for round in 0..50 {
            if round % 2 == 0 {
                drop(UnixListener::bind(&path).unwrap());
            }
            let together = Barrier::new(4);
            let mut listeners: Vec<Listener> = thread::scope(|scope| {
                let start = || {
                    together.wait();
                    bind_to(&path)
                };
                let starters: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
                starters.into_iter().filter_map(|starter| starter.join().unwrap().ok()).collect()
            });
            assert_eq!(listeners.len(), 1, "round {round}");
            let client = UnixStream::connect(&path).expect("the winner listens");
            let (ListenSocket::Unix(listener), _, unlink) = listeners.remove(0).into_parts() else { unreachable!() };
            listener.accept().expect("the winner is who is reached");
            drop((client, unlink));
            assert!(!path.exists());
        }
    }
}
