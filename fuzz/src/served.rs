//! A server on a Unix-domain socket of its own, for the life of what holds it.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adapter_core::{Application, DynApplication, Server, ServerConfig, ServerHandle};

/// Bytes that may take a while to be read.
const LONG: usize = 16 * 1024;

/// Stops when it is dropped, and leaves no socket behind. Held by a thread-local, as statics are never dropped.
pub(crate) struct Served {
    path: PathBuf,
    handle: Option<ServerHandle>,
}

impl Served {
    /// Serves `application`; bodies are at most `limit` bytes.
    pub(crate) fn start(server: &dyn Server, application: impl Application, limit: u64) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("adapter-fuzz-{process}-{count}"));
        let bind = format!("unix:{}", path.display()).parse().expect("a path is an address");
        let mut config = ServerConfig::default().bind(bind).threads(2);
        config.limits.body_bytes = Some(limit);
        let handle = server.start(DynApplication::new(application), config).expect("the server starts");
        Served { path, handle: Some(handle) }
    }

    /// What comes back for `data`, to the end of the connection.
    ///
    /// # Errors
    /// What came until the connection failed, or nothing more for ten seconds.
    pub(crate) fn answers(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        let mut stream = UnixStream::connect(&self.path).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut writer = stream.try_clone().expect("a second handle");
        let mut answers = Vec::new();
        let read = std::thread::scope(|scope| {
            let (begun, begins) = std::sync::mpsc::channel();
            // Both at a time: a server that is not read from stops reading. It may do so for other reasons; what it has
            // answered by then is to be read all the same.
            scope.spawn(move || {
                let _ = writer.write_all(data);
                if data.len() > LONG {
                    // The time a handler has after the end of the stream is no measure of how fast it reads. [DIS-04]
                    let _ = begins.recv_timeout(Duration::from_secs(5));
                }
                let _ = writer.shutdown(Shutdown::Write);
            });
            // So that a signal, as the fuzzer has them, does not end it.
            let first = Read::by_ref(&mut stream).take(1).read_to_end(&mut answers);
            let read = first.and_then(|count| {
                let _ = begun.send(());
                if count > 0 { stream.read_to_end(&mut answers) } else { Ok(0) }
            });
            drop(begun);
            // The writer ends too.
            let _ = stream.shutdown(Shutdown::Both);
            read
        });
        match read {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                Err(format!("{error} after {}", answers.escape_ascii()))
            }
            _ => Ok(answers),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.handle.take().map(ServerHandle::stop) {
            eprintln!("the server did not stop: {error}");
        }
    }
}
