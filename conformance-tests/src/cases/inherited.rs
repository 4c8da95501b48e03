//! Listeners that somebody else has opened. LIF-11

use std::net::{SocketAddr, TcpListener};

use adapter_core::{Bind, ServerConfig};

use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::lifecycle::{self, Lifecycle};
#[cfg(unix)]
use crate::text;
#[cfg(unix)]
use crate::wire::ask_unix;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "inherited",
    title: "Inherited listeners",
    cases: &[
        Case::owned(
            Level::Must,
            "listeners_are_served",
            "one that is open already, beside one's own",
            &["LIF-11"],
            tcp,
        )
        .needs("http1"),
        Case::owned(Level::Must, "unix_listeners_are_served", "and their path stays", &["LIF-11"], unix)
            .needs("http1")
            .needs("unix-socket")
            .in_plain(super::UNIX),
    ],
};

fn with(binds: impl IntoIterator<Item = Bind>) -> ServerConfig {
    let mut config = lifecycle::config();
    let own = std::mem::take(&mut config.binds);
    config.binds.extend(binds);
    config.binds.extend(own);
    config
}

fn tcp(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    let address: SocketAddr = listener.local_addr().map_err(|error| error.to_string())?;
    // Who waits in its queue already is served, too.
    let kept = listener.try_clone().map_err(|error| error.to_string())?;
    let running = life.start(with([listener.into()]))?;
    ensure_eq!(running.addresses.first(), Some(&address), "the address of the first listener");
    ensure_eq!(running.addresses.len(), 2, "the number of addresses");
    for address in running.addresses.clone() {
        let mut connection = running.context.connect_to(address)?;
        connection.send(running.context.get("body x").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "x", "the body from {address}");
    }
    running.stop()?;
    // Its owner's descriptor is as it was: another server can go on.
    let address = kept.local_addr().map_err(|error| error.to_string())?;
    let next = life.start(with([kept.into()]))?;
    let mut connection = next.context.connect_to(address)?;
    connection.send(next.context.get("body y").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "y", "the body from the next server on the same listener");
    next.stop()
}

#[cfg(unix)]
fn unix(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).map_err(|error| error.to_string())?;
    let running = life.start(with([listener.into()]))?;
    let answer = ask_unix(&path, &running.context.get("body x").close().bytes())?;
    ensure!(answer.ends_with(b"\r\n\r\nx"), "the response over a Unix socket: {}", text::show(&answer, 300));
    running.stop()?;
    ensure!(path.exists(), "the path of a listener that is somebody else's was removed");
    Ok(())
}

#[cfg(not(unix))]
fn unix(_: &mut Lifecycle<'_>) -> Result<(), Failure> {
    Err("std has no listeners of Unix-domain sockets on this system".into())
}
