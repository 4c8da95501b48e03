//! Listeners go from one process to another: to a successor, which serves in place of this process (SIGUSR2,
//! [`renewal`](crate::renewal)), and to workers, which serve for it (`--workers`, [`workers`](crate::workers)).
//!
//! The new process has one end of a pair of Unix-domain sockets as its stdin, and `ADAPTER_UPGRADE_FROM` or
//! `ADAPTER_WORKER_OF` with the number of the process that started it, so that nobody takes a variable that was merely
//! inherited for one of its own. Over the pair come the listeners and what is to be its stdin (SCM_RIGHTS, an octet for each
//! descriptor, and what holds for its connections, as text), then `r` (ready) goes back, and `g` (go on) comes: from then on
//! the other process is the old one, or a worker's parent. The listeners are shared, not opened again: what waits in their
//! queues is lost by neither.
//!
//! Nothing is forked here but by `std::process`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use adapter_core::server::BindOptions;
use adapter_core::{Bind, ListenAddr, ServeError};
use adapter_listen::{ListenSocket, UnixPath, bind_all, unix_path_of};
use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg, sockopt,
};

const FROM: &str = "ADAPTER_UPGRADE_FROM";
/// Of a worker: its parent, and how often it is to say that it lives, in milliseconds: `123/1000`.
const WORKER_OF: &str = "ADAPTER_WORKER_OF";
/// How long the old process may take to say that it goes, or another one to end that can't go on.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What a process is started for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// To serve in place of this one.
    Successor,
    /// To serve for this one, and to say each `beat` that it lives.
    Worker { beat: Duration },
}

/// What a descriptor on its way is.
mod kind {
    /// A listener of a service manager's.
    pub(super) const ACTIVATED: u8 = b'a';
    /// A listener whose path is to be unlinked at the end.
    pub(super) const OWNED: u8 = b'o';
    /// One of the metrics' (`--metrics-bind`).
    pub(super) const METRICS: u8 = b'm';
    /// Another listener.
    pub(super) const PLAIN: u8 = b'-';
    /// What stdin is to be; the last one.
    pub(super) const STDIN: u8 = b'.';
}

/// A listener, shared with the server and with a successor.
#[derive(Debug)]
struct Held {
    /// `None` from the draining on.
    socket: Option<OwnedFd>,
    kind: u8,
    /// Unlinked when it is dropped.
    path: Option<UnixPath>,
    options: BindOptions,
}

/// The listeners of this process.
#[derive(Debug, Default)]
pub(crate) struct Listening(Mutex<Vec<Held>>);

/// The process this one takes over from, or works for.
#[derive(Debug)]
pub(crate) struct Predecessor {
    stream: UnixStream,
    listeners: Vec<Handed>,
    /// Those of its metrics.
    metrics: Vec<OwnedFd>,
}

/// A descriptor that was handed over.
#[derive(Debug)]
struct Handed {
    kind: u8,
    /// What held for its connections.
    options: BindOptions,
    socket: OwnedFd,
}

impl Predecessor {
    /// Takes what it hands over, if this process was started to take over. Called once, before there is anybody who reads stdin.
    ///
    /// # Errors
    /// It does not hand over as it should.
    pub(crate) fn of_this_process() -> io::Result<Option<Self>> {
        let told = std::env::var(FROM).ok().and_then(|id| id.parse().ok());
        let Some(before) = worker().map(|(parent, _)| parent).or(told) else { return Ok(None) };
        if !is_pair_of(before) {
            return Ok(None);
        }
        let parent = rustix::process::getppid().map(|id| id.as_raw_nonzero().get());
        if parent != Some(before) {
            return Err(io::Error::new(ErrorKind::NotConnected, "the process that started this one is gone"));
        }
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut listeners, mut metrics) = (Vec::new(), Vec::new());
        loop {
            let handed = receive(&stream)?;
            match handed.kind {
                kind::STDIN => {
                    rustix::stdio::dup2_stdin(handed.socket)?;
                    return Ok(Some(Predecessor { stream, listeners, metrics }));
                }
                kind::METRICS => metrics.push(handed.socket),
                _ => listeners.push(handed),
            }
        }
    }

    /// Says that this process serves, and waits until the other one has heard.
    ///
    /// # Errors
    /// It has not, such as for having been told to stop meanwhile: that goes for this process, too.
    pub(crate) fn relieve(&mut self) -> io::Result<()> {
        let relieved = self.stream.write_all(b"r").and_then(|()| self.stream.read_exact(&mut [0]));
        relieved.map_err(|error| {
            io::Error::new(error.kind(), "the process before has ended, or does not want this one to serve")
        })
    }

    /// Says why this process will not serve.
    ///
    /// # Errors
    /// It does not hear.
    pub(crate) fn tell(&self, why: &str) -> io::Result<()> {
        (&self.stream).write_all(format!("e{why}").as_bytes())
    }

    /// The way to it.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn stream(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Those of its listeners for metrics that are where `bind` is; the others are closed.
    pub(crate) fn metrics(&mut self, bind: &Bind) -> Vec<TcpListener> {
        let all = std::mem::take(&mut self.metrics).into_iter();
        all.filter(|socket| address(socket).is_ok_and(|addr| fits(bind, &addr))).map(TcpListener::from).collect()
    }

    /// The first listener that `is`.
    fn take(&mut self, is: impl Fn(&ListenAddr) -> bool) -> Option<Handed> {
        let found = self.listeners.iter().position(|handed| address(&handed.socket).is_ok_and(|addr| is(&addr)))?;
        Some(self.listeners.remove(found))
    }
}

/// Its parent, and how often this process is to say that it lives, if it is a worker.
fn worker() -> Option<(i32, Duration)> {
    let told = std::env::var(WORKER_OF).ok()?;
    let (parent, millis) = told.split_once('/')?;
    let parent = parent.parse().ok().filter(|parent| is_pair_of(*parent))?;
    Some((parent, Duration::from_millis(millis.parse().ok()?)))
}

/// How often this process is to say that it lives, if it is a worker. Asked before its stdin is what it is to be.
pub(crate) fn beat() -> Option<Duration> {
    worker().map(|(_, beat)| beat)
}

/// Whether stdin is one end of a pair that process `id` has made. A program that an upgraded one starts has the variable too, and
/// another stdin.
fn is_pair_of(id: i32) -> bool {
    let stdin = io::stdin();
    let is_unix = sockopt::socket_domain(&stdin).is_ok_and(|domain| domain == AddressFamily::UNIX);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let is_theirs = sockopt::socket_peercred(&stdin).is_ok_and(|them| them.pid.as_raw_nonzero().get() == id);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let is_theirs = rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == id);
    is_unix && is_theirs
}

/// A socket that was handed over, to be served.
fn inherited(socket: OwnedFd) -> Bind {
    match sockopt::socket_domain(&socket) {
        Ok(AddressFamily::UNIX) => Bind::from(UnixListener::from(socket)),
        _ => Bind::from(TcpListener::from(socket)),
    }
}

/// What of `options` is for the connections of a listener, and not for its socket, which is there.
fn of_connections(mut options: BindOptions) -> BindOptions {
    (options.mode, options.group, options.backlog) = (None, None, None);
    options
}

/// Where a listener listens.
fn address(socket: &OwnedFd) -> io::Result<ListenAddr> {
    let socket = socket.try_clone()?;
    Ok(match sockopt::socket_domain(&socket)? {
        AddressFamily::UNIX => {
            let addr = UnixListener::from(socket).local_addr()?;
            ListenAddr::Unix(addr.as_pathname().map(unix_path_of).unwrap_or_default())
        }
        _ => ListenAddr::Tcp(TcpListener::from(socket).local_addr()?),
    })
}

/// Whether `bind` would listen on `addr`.
fn fits(bind: &Bind, addr: &ListenAddr) -> bool {
    match (bind.place(), addr) {
        (Bind::Tcp(want), ListenAddr::Tcp(is)) => want.ip() == is.ip() && [0, is.port()].contains(&want.port()),
        (Bind::Host { addrs, .. }, ListenAddr::Tcp(is)) => {
            addrs.iter().any(|want| want.ip() == is.ip() && [0, is.port()].contains(&want.port()))
        }
        (Bind::EveryInterface(port), ListenAddr::Tcp(is)) => is.ip().is_unspecified() && [0, is.port()].contains(port),
        (Bind::Unix(want), ListenAddr::Unix(is)) => want == is,
        _ => false,
    }
}

impl Listening {
    /// Binds `binds`, taking over from `predecessor` what it listens on already; what nobody wants of that is closed. Gives the
    /// sockets for the server. Those of a service manager, which `are_activated`, stay in place of all others through upgrades.
    ///
    /// # Errors
    /// As [`bind_all`].
    pub(crate) fn bind(
        binds: &[Bind],
        are_activated: bool,
        predecessor: Option<&mut Predecessor>,
    ) -> Result<(Vec<Bind>, Self), ServeError> {
        let plain = if are_activated { kind::ACTIVATED } else { kind::PLAIN };
        let (mut handed, mut kinds, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        match predecessor {
            Some(before) if before.listeners.iter().any(|handed| handed.kind == kind::ACTIVATED) => {
                for Handed { kind, options, socket } in before.listeners.drain(..) {
                    handed.push(inherited(socket).with_options(options));
                    kinds.push(kind);
                }
            }
            Some(before) => {
                for bind in binds {
                    let several = matches!(bind.place(), Bind::Host { .. });
                    let mut is_found = false;
                    while !is_found || several {
                        let Some(Handed { kind, socket, .. }) = before.take(|addr| fits(bind, addr)) else { break };
                        handed.push(inherited(socket).with_options(of_connections(bind.options())));
                        kinds.push(kind);
                        is_found = true;
                    }
                    if !is_found {
                        fresh.push(bind.clone());
                    }
                }
                // What nobody wants any more would keep addresses from being free.
                before.listeners.clear();
            }
            None => fresh.extend_from_slice(binds),
        }
        let mut listeners = bind_all(&handed, false)?;
        listeners.extend(bind_all(&fresh, false)?);
        let mut kinds = kinds.into_iter();
        let (mut served, mut held) = (Vec::new(), Vec::new());
        for listener in listeners {
            let (kind, options) = (kinds.next(), of_connections(listener.options().clone()));
            let (socket, addr, path) = listener.into_parts();
            let path = match (&addr, kind) {
                (ListenAddr::Unix(at), Some(kind::OWNED)) => UnixPath::adopt(at).ok(),
                _ => path,
            };
            let kind = kind.unwrap_or(if path.is_some() { kind::OWNED } else { plain });
            let (bind, socket): (Bind, OwnedFd) = match socket {
                ListenSocket::Tcp(socket) => (socket.try_clone()?.into(), socket.into()),
                ListenSocket::Unix(socket) => (socket.try_clone()?.into(), socket.into()),
            };
            let bind = bind.named(addr.to_string());
            served.push(bind.with_options(options.clone()));
            held.push(Held { socket: Some(socket), kind, path, options });
        }
        Ok((served, Listening(Mutex::new(held))))
    }

    /// Hands on `metrics`, too.
    pub(crate) fn with_metrics(self, metrics: Vec<OwnedFd>) -> Self {
        let held = metrics.into_iter().map(|socket| Held {
            socket: Some(socket),
            kind: kind::METRICS,
            path: None,
            options: BindOptions::default(),
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(held);
        self
    }

    fn send(&self, stream: &UnixStream, role: Role) -> io::Result<()> {
        let gone = || io::Error::new(ErrorKind::NotConnected, "this process is to stop");
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return Err(gone());
        }
        for held in all.iter() {
            // Workers take what they get, whatever the files say by then that a new one reads; paths stay the parent's.
            let kind = if matches!(role, Role::Worker { .. }) { kind::ACTIVATED } else { held.kind };
            send(stream, kind, &held.options, held.socket.as_ref().ok_or_else(gone)?.as_fd())?;
        }
        // Closed, or whatever it is.
        match io::stdin().as_fd().try_clone_to_owned() {
            Ok(stdin) => send(stream, kind::STDIN, &BindOptions::default(), stdin.as_fd()),
            Err(_) => send(stream, kind::STDIN, &BindOptions::default(), File::open("/dev/null")?.as_fd()),
        }
    }

    /// Where they listen.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn addresses(&self) -> io::Result<Vec<ListenAddr>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().filter_map(|held| held.socket.as_ref()).map(address).collect()
    }

    /// Lets go of all, and leaves paths to the successor.
    pub(crate) fn leave(&self) {
        for held in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Some(path) = held.path {
                path.leave();
            }
        }
    }

    /// Lets go of all; paths are unlinked.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Lets go of the sockets; paths are unlinked at the [`end`](Self::end).
    pub(crate) fn close(&self) {
        for held in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            held.socket = None;
        }
    }
}

fn send(
    mut stream: &UnixStream,
    kind: u8,
    options: &BindOptions,
    descriptor: std::os::fd::BorrowedFd<'_>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    // With a timeout they end by any signal (signal(7)), which those of the standard library go on behind.
    retry_on_intr(|| sendmsg(stream, &[IoSlice::new(&[kind])], &mut control, SendFlags::NOSIGNAL))?;
    let options = options.to_string();
    let length = u8::try_from(options.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    stream.write_all(&[length])?;
    stream.write_all(options.as_bytes())
}

fn receive(mut stream: &UnixStream) -> io::Result<Handed> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut kind = [0];
    retry_on_intr(|| recvmsg(stream, &mut [IoSliceMut::new(&mut kind)], &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let missing = || io::Error::new(ErrorKind::UnexpectedEof, "the process before hands nothing over");
    let socket = descriptor.ok_or_else(missing)?;
    let mut length = [0];
    stream.read_exact(&mut length)?;
    let mut text = vec![0; length[0].into()];
    stream.read_exact(&mut text)?;
    // An address, for options stand behind one.
    let bind = format!("127.0.0.1:0{}", String::from_utf8_lossy(&text)).parse::<Bind>();
    let options = bind.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?.options();
    Ok(Handed { kind: kind[0], options, socket })
}

/// How the program is started again.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// This one, by the name it was called by, as that is now: another file may have its place later.
    ///
    /// # Errors
    /// It is not known.
    pub(crate) fn this() -> io::Result<Self> {
        let args: Vec<_> = std::env::args_os().collect();
        let called = args.first().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let called = called.and_then(|path| std::path::absolute(path).ok()).filter(|path| path.is_file());
        Ok(Program { path: called.map_or_else(std::env::current_exe, Ok)?, args })
    }

    /// Starts it as `role`, and hands it `listening`. Gives the process, and the other end of its pair, whose closing tells of its end.
    ///
    /// # Errors
    /// It can't be started, or be handed over to; one that has ended already is found by reading.
    pub(crate) fn spawn(&self, listening: &Listening, role: Role) -> io::Result<(Child, UnixStream)> {
        let (stream, theirs) = UnixStream::pair()?;
        // One that does not read what it is sent holds up nobody.
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut command = Command::new(&self.path);
        if let Some(name) = self.args.first() {
            command.arg0(name);
        }
        command.args(self.args.iter().skip(1)).stdin(Stdio::from(OwnedFd::from(theirs)));
        let this = std::process::id();
        match role {
            // It becomes the watched one.
            Role::Successor => command.env(FROM, this.to_string()).env_remove(WORKER_OF).env_remove("WATCHDOG_PID"),
            // A service manager has to do with its parent alone.
            Role::Worker { beat } => command
                .env(WORKER_OF, format!("{this}/{}", beat.as_millis()))
                .env_remove(FROM)
                .env_remove("NOTIFY_SOCKET")
                .env_remove("WATCHDOG_PID")
                .env_remove("WATCHDOG_USEC"),
        };
        let spawned = command.spawn();
        // It has the other end of the pair.
        drop(command);
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
        let mut child = spawned.map_err(told)?;
        match listening.send(&stream, role) {
            Err(error) if !is_gone(&error) => {
                let _ = child.kill();
                // Killed, it ends.
                let _ = child.wait();
                Err(error)
            }
            _ => Ok((child, stream)),
        }
    }
}

/// Whether the other end of the pair is closed.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::os::unix::thread::JoinHandleExt as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use nix::sys::pthread::pthread_kill;
    use signal_hook::consts::SIGWINCH;

    use super::*;

    #[test]
    fn a_signal_does_not_end_the_handing_over() {
        let heard = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGWINCH, heard.clone()).expect("a handler");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        theirs.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let receiving = thread::spawn(move || receive(&theirs));
        for _ in 0..50 {
            pthread_kill(receiving.as_pthread_t(), nix::sys::signal::SIGWINCH).expect("it is not joined yet");
            while !heard.swap(false, Ordering::SeqCst) && !receiving.is_finished() {
                thread::yield_now();
            }
        }
        let null = File::open("/dev/null").expect("it is there");
        send(&ours, kind::STDIN, &BindOptions::default(), null.as_fd()).expect("it is sent");
        let handed = receiving.join().expect("no panic").expect("it is received");
        assert_eq!(handed.kind, kind::STDIN);
    }
}
