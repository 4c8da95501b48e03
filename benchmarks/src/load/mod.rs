//! The load generator. Each kind of load is one file; all of them check every response they read.

pub mod crowd;
pub mod exchange;
pub mod frame;
pub mod multiplexed;
pub mod response;
pub mod room;
pub mod slow;
pub mod socket;
pub mod steady;
pub mod wire;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

/// The body that `GET /` must answer with.
pub const HELLO: &str = "Hello, World!";

/// A GET request for `target`.
pub fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// The same with so many fields in all, as a proxy in front and a browser behind it make them.
pub fn get_with(target: &str, fields: usize) -> Vec<u8> {
    let mut request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n");
    for number in 1..fields {
        request.push_str(&format!("x-field-{number}: the value of field {number}\r\n"));
    }
    request.push_str("\r\n");
    request.into_bytes()
}

/// Begins to connect to `address`, and has `epoll` report what becomes of it as `token`, edge by edge.
fn begin_connect(epoll: &OwnedFd, address: SocketAddr, token: u64) -> io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(epoll, &socket, epoll::EventData::new_u64(token), flags)?;
    Ok(TcpStream::from(socket))
}
