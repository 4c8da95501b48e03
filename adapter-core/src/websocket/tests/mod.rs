//! Handshakes, frames and sockets, in memory. Over real sockets: `adapter-web/tests`.

mod client;
#[cfg(feature = "deflate")]
mod deflate;
mod handshake;
mod socket;
mod wire;

use std::sync::Arc;
use std::time::Instant;

use crate::Runtime;
use crate::environ::{Connection, Environ, Serving};
use crate::server::{Capabilities, ListenAddr, ServerConfig, ServerInfo, ShutdownTrigger};
use crate::threads::Threads;

/// A runtime as a testing client has.
fn runtime() -> Runtime {
    Runtime::new(Threads::for_event_loop(&ServerConfig::default()))
}

/// An environ of a server with these capabilities.
fn environ(upgrade: bool, websocket: bool, shutdown: ShutdownTrigger) -> Environ {
    let capabilities = Capabilities { upgrade, websocket, ..Capabilities::none() };
    let info = ServerInfo::new("test", "0").with_capabilities(capabilities);
    let serving = Serving::new(info, runtime(), shutdown, &ServerConfig::default());
    let local = ListenAddr::Tcp(([127, 0, 0, 1], 80).into());
    Environ::new(Arc::new(Connection::new(serving, None, local)), Instant::now())
}

/// A masked frame, as a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [0xa1, 0x02, 0x43, 0xff];
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}
