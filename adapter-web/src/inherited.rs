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
    // Before the variables are cleared.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let name = |index| name(index, names.split(':').nth(index));
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
/// `called` is its name by `LISTEN_FDNAMES`, as in a unit's `FileDescriptorName=`.
fn name(index: usize, called: Option<&str>) -> String {
    // SD_LISTEN_FDS_START
    let descriptor = index + 3;
    match called.filter(|called| !called.is_empty()) {
        Some(called) => format!("descriptor {descriptor} \"{}\" (LISTEN_FDS)", called.escape_debug()),
        None => format!("descriptor {descriptor} (LISTEN_FDS)"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn descriptors_are_told_by_number_and_name() {
        assert_eq!(super::name(0, None), "descriptor 3 (LISTEN_FDS)");
        assert_eq!(super::name(1, Some("")), "descriptor 4 (LISTEN_FDS)");
        assert_eq!(super::name(1, Some("web")), "descriptor 4 \"web\" (LISTEN_FDS)");
    }
}
