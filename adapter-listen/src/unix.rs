//! Unix-domain sockets and the paths they leave behind.
//!
//! A socket is made under another name in the same folder, gets its mode and group, listens, and is renamed to its place: nobody
//! finds it there too early, and a stale one is replaced without a gap. The kernel goes on telling the other name (`ss -xl`).
//!
//! A path is replaced only if it is a socket that nobody listens on, which the kernel says with ECONNREFUSED and nothing
//! else; and it is unlinked at the end only if it is still the file that was made here. Starters of the same path are
//! kept apart by a lock on its folder, so that of two who find a stale one only one replaces it. A program that binds there
//! without the lock, and does not listen yet, can be taken for stale in that moment.

use std::ffi::OsStr;
use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use adapter_core::server::{BindOptions, ListenAddr};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use socket2::{Domain, SockAddr, Socket, Type};

use super::group;
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
    /// The path of a socket that another process made, and leaves to this one.
    ///
    /// # Errors
    /// There is none.
    pub fn adopt(path: &Path) -> io::Result<Self> {
        UnixPath::of(path)
    }

    /// Leaves the path where it is, for another process that listens there.
    pub fn leave(mut self) {
        // Nothing is in the place of no file.
        self.path = PathBuf::new();
    }

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
        if self.path.as_os_str().is_empty() {
            return;
        }
        let _lock = lock_folder(&self.path, 1);
        if fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found)) {
            // Gone already is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path`, in place of a stale socket if one is there. Nobody finds it there before it listens, with its mode and
/// group.
pub(super) fn bind(path: &Path, options: &BindOptions) -> io::Result<Listener> {
    let octets = path.as_os_str().as_bytes();
    if octets.contains(&0) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the path has a NUL in it"));
    }
    let too_long = |_| {
        let reason =
            format!("the path has {} octets, which is more than a socket's can have (107 on Linux)", octets.len());
        io::Error::new(ErrorKind::InvalidInput, reason)
    };
    SockAddr::unix(path).map_err(too_long)?;
    let group = options.group.as_deref().map(group::id).transpose()?;
    let _lock = lock_folder(path, STEPS);
    let is_there = match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AddrInUse, "there is a file that is no socket"));
        }
        Ok(_) => is_stale(path)?,
        Err(_) => false,
    };
    let temporary = temporary(path);
    // Where there is no room for the longer name, it is made in its place: then it is refused for an instant.
    let made_at = if SockAddr::unix(&temporary).is_ok() { &*temporary } else { path };
    if is_there && made_at == path {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(made_at)?)?;
    // From here on, whatever fails unlinks it.
    let mut unlink = UnixPath::of(made_at)?;
    if let Some(group) = group {
        std::os::unix::fs::lchown(made_at, None, Some(group)).map_err(|error| not_for(options, &error))?;
    }
    if let Some(mode) = options.mode {
        fs::set_permissions(made_at, Permissions::from_mode(mode))?;
    }
    socket.listen(Tuning::from(options).backlog)?;
    socket.set_nonblocking(true)?;
    if made_at != path {
        rename(made_at, path, is_there)?;
        unlink.path = path.to_owned();
    }
    let addr = ListenAddr::Unix(path.to_owned());
    Ok(Listener {
        socket: ListenSocket::Unix(socket.into()),
        addr,
        shared: None,
        unlink: Some(unlink),
        options: BindOptions::default(),
    })
}

/// What a name in the making ends with, behind a dot and [`MARK`] letters.
const END: &str = "~";
const MARK: usize = 6;

/// A name beside `path` for the time until it is renamed: as nobody else's, and such that [`unix_path_of`] knows it.
fn temporary(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let mut mark = u64::from(std::process::id()) << 32 | u64::from(now ^ COUNT.fetch_add(1, Ordering::Relaxed) << 20);
    mark %= 0xfff_fffb;
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    for _ in 0..MARK {
        name.push(char::from(b"abcdefghijklmnopqrstuvwxyz"[(mark % 26) as usize]).to_string());
        mark /= 26;
    }
    name.push(END);
    name.into()
}

/// Where a socket is that says it was bound to `bound`: those of this crate are renamed when they listen, of which the kernel tells
/// nothing.
pub fn unix_path_of(bound: &Path) -> PathBuf {
    let octets = bound.as_os_str().as_bytes();
    let renamed =
        octets.strip_suffix(END.as_bytes()).and_then(|name| name.split_at_checked(name.len().checked_sub(MARK + 1)?));
    match renamed {
        Some((name, [b'.', mark @ ..])) if mark.iter().all(u8::is_ascii_lowercase) => OsStr::from_bytes(name).into(),
        _ => bound.to_owned(),
    }
}

/// To its place; a file that came there meanwhile is not replaced where the system can do that.
fn rename(from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if !replaces {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => return Err(io::Error::new(ErrorKind::AddrInUse, "another file came there meanwhile")),
            // Not every file system has it.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = replaces;
    fs::rename(from, to)
}

fn not_for(options: &BindOptions, error: &io::Error) -> io::Error {
    let group = options.group.as_deref().unwrap_or_default();
    io::Error::new(error.kind(), format!("the socket cannot be given to the group {group}: {error}"))
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
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
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

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_left_beside_it_and_its_path_is_known() {
        let (folder, path) = folder();
        let (ListenSocket::Unix(socket), addr, unlink) = bind_to(&path).unwrap().into_parts() else { unreachable!() };
        assert_eq!(names(folder.path()), ["s"]);
        assert_eq!(addr, ListenAddr::Unix(path.clone()));
        let bound = socket.local_addr().unwrap();
        assert_ne!(bound.as_pathname().unwrap(), path);
        assert_eq!(unix_path_of(bound.as_pathname().unwrap()), path);
        let inherited = Listener::bind(&Bind::from(socket), false).unwrap();
        assert_eq!(inherited.addr(), &addr);
        drop(unlink);
        assert!(names(folder.path()).is_empty());
        for other in ["/run/x", "/run/x~", "/run/x.abcdef", "/run/x.ABCDEF~", "~", "x.abcdefg~", ""] {
            assert_eq!(unix_path_of(Path::new(other)), Path::new(other));
        }
    }

    #[test]
    fn the_mode_and_the_group_are_as_said() {
        let (_folder, path) = folder();
        let own = rustix::process::getgid().as_raw();
        for (mode, said) in [(0o600, "0600"), (0o666, "0666"), (0o777, "777")] {
            let bind: Bind = format!("unix:{},mode={said},group={own}", path.display()).parse().unwrap();
            let listener = Listener::bind(&bind, false).unwrap();
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!((found.mode() & 0o7777, found.gid()), (mode, own));
            drop(listener);
        }
        let bind: Bind = format!("unix:{},group=nosuchgroup", path.display()).parse().unwrap();
        let error = Listener::bind(&bind, false).unwrap_err().to_string();
        assert!(error.ends_with(": there is no group \"nosuchgroup\""), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_long_path_is_made_in_its_place_and_a_longer_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let length = folder.path().as_os_str().len() + 1;
        let path = folder.path().join("x".repeat(100 - length));
        drop(UnixListener::bind(&path).unwrap());
        let bind: Bind = format!("unix:{},mode=0600", path.display()).parse().unwrap();
        let listener = Listener::bind(&bind, false).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(names(folder.path()).is_empty());
        let error = bind_to(&folder.path().join("x".repeat(150 - length))).unwrap_err();
        assert!(
            error.ends_with(": the path has 150 octets, which is more than a socket's can have (107 on Linux)"),
            "{error}"
        );
    }

    #[test]
    fn a_stale_socket_is_replaced_without_a_gap() {
        let (folder, path) = folder();
        let stop = std::sync::atomic::AtomicBool::new(false);
        drop(UnixListener::bind(&path).unwrap());
        thread::scope(|scope| {
            let looked = scope.spawn(|| {
                let mut looked = 0_u32;
                // Once more after the last replacement, at least.
                while !stop.load(Ordering::SeqCst) {
                    assert!(fs::symlink_metadata(&path).is_ok(), "there is always a socket");
                    looked += 1;
                }
                looked
            });
            for _ in 0..200 {
                let (socket, _, unlink) = bind_to(&path).unwrap().into_parts();
                drop(socket);
                // As of a process that was killed.
                std::mem::forget(unlink);
            }
            stop.store(true, Ordering::SeqCst);
            looked.join().unwrap();
        });
        assert_eq!(names(folder.path()), ["s"]);
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
