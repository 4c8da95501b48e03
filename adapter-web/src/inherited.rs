//! Listening sockets handed over by whoever started this process: systemd's `LISTEN_FDS`, systemfd.
//!
//! Reads and clears the environment variables, so it is called once, before there are other threads to race with.

use adapter_core::{Bind, ServeError};
use listenfd::ListenFd;

/// The inherited listeners, in order; empty if there are none.
///
/// # Errors
/// [`ServeError::Bind`] for a descriptor that is no listening stream socket: serving on fewer sockets than the
/// deployer passed would look like success.
pub(crate) fn take() -> Result<Vec<Bind>, ServeError> {
    let mut listeners = ListenFd::from_env();
    let mut binds = Vec::new();
    for index in 0..listeners.len() {
        if let Ok(Some(listener)) = listeners.take_tcp_listener(index) {
            binds.push(Bind::from(listener).named(name(index)));
            continue;
        }
        // What is no TCP socket is left in its place by the failed attempt above.
        #[cfg(unix)]
        let taken = listeners.take_unix_listener(index).map(|listener| listener.map(Bind::from));
        #[cfg(not(unix))]
        let taken = listeners.take_tcp_listener(index).map(|listener| listener.map(Bind::from));
        match taken {
            Ok(bind) => binds.extend(bind.map(|bind| bind.named(name(index)))),
            Err(source) => {
                return Err(ServeError::Bind { address: name(index), source });
            }
        }
    }
    Ok(binds)
}

/// How the socket is told in errors; a socket that does not listen is found by the server.
fn name(index: usize) -> String {
    // SD_LISTEN_FDS_START
    format!("descriptor {} (LISTEN_FDS)", index + 3)
}
