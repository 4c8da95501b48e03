//! A running server, and a client of raw octets for WebSockets and upgrades: any well-behaved one would hide what is
//! tested. Also used by the tests of other crates.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "tests; not every test uses all of it"
)]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use adapter_core::{Application, DynApplication, ServeError, Server, ServerConfig, ServerHandle, ShutdownTrigger};

/// Nothing in a test takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A server that runs until it is dropped or stopped.
pub struct Running {
    handle: Option<ServerHandle>,
    pub addr: SocketAddr,
}

pub fn config() -> ServerConfig {
    ServerConfig::default().bind("127.0.0.1:0".parse().unwrap()).threads(2)
}

pub fn start(server: &dyn Server, application: impl Application, config: ServerConfig) -> Running {
    let handle = server.start(DynApplication::new(application), config).unwrap();
    let addr = handle.local_addrs()[0].tcp().unwrap();
    Running { handle: Some(handle), addr }
}

impl Running {
    pub fn trigger(&self) -> ShutdownTrigger {
        self.handle.as_ref().unwrap().trigger()
    }

    pub fn stop(mut self) {
        self.handle.take().unwrap().stop().unwrap();
    }

    /// As [`stop`](Self::stop), which may not end well.
    pub fn end(&mut self) -> Result<(), ServeError> {
        self.handle.take().unwrap().stop()
    }

    pub fn wait(mut self) {
        self.handle.take().unwrap().wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.trigger().force();
            let _ = handle.wait();
        }
    }
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// Code and reason of a close frame.
    pub fn close(&self) -> Option<(u16, String)> {
        assert_eq!(self.opcode(), CLOSE, "{self:?}");
        let (code, reason) = self.payload.split_at_checked(2)?;
        Some((u16::from_be_bytes([code[0], code[1]]), String::from_utf8(reason.to_vec()).unwrap()))
    }
}

/// A masked frame with this first octet.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

pub fn text(payload: &str) -> Vec<u8> {
    frame(0x80 | TEXT, payload.as_bytes())
}

pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.as_bytes());
    frame(0x80 | CLOSE, &payload)
}

/// A handshake with further lines.
pub fn handshake(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
}

pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        Self::of(TcpStream::connect(addr).unwrap())
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, buffer: Vec::new() }
    }

    /// Connects and opens a WebSocket.
    pub fn open(addr: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(addr);
        client.send(handshake(path, "").as_bytes());
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// A response head.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
            }
            assert!(self.fill().unwrap() > 0, "ended within a head: {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend(&chunk[..count]);
        Ok(count)
    }

    pub fn exact(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            match self.fill() {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("waiting for {count} bytes, have {:?}: {error}", self.buffer),
            }
        }
        let rest = self.buffer.split_off(count);
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    /// The next frame; `None` at the end.
    pub fn frame(&mut self) -> Option<Frame> {
        let frame = self.extended_frame()?;
        assert_eq!(frame.first & 0x70, 0, "[UPG-24] no reserved bit");
        Some(frame)
    }

    /// The next frame, which may have reserved bits.
    pub fn extended_frame(&mut self) -> Option<Frame> {
        let head = self.exact(2)?;
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.exact(2)?.try_into().unwrap())),
            127 => u64::from_be_bytes(self.exact(8)?.try_into().unwrap()),
            length => u64::from(length),
        };
        Some(Frame { first: head[0], payload: self.exact(length as usize)? })
    }

    #[track_caller]
    pub fn expect(&mut self, opcode: u8, payload: &[u8]) {
        let frame = self.frame().expect("a frame");
        let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert!(
            frame.first == (0x80 | opcode) && frame.payload == payload,
            "{:#x} {:?} ({}) instead of {opcode} {:?} ({})",
            frame.first,
            shown(&frame.payload),
            frame.payload.len(),
            shown(payload),
            payload.len()
        );
    }

    /// The next frame is a close frame with `code`, and then the stream ends.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) {
        let frame = self.frame().expect("a close frame");
        assert_eq!(frame.close().map(|(code, _)| code), Some(code), "{frame:?}");
        self.expect_end();
    }

    /// A close frame with `code`; it is answered, and then the stream ends.
    #[track_caller]
    pub fn expect_close_answering(&mut self, code: u16) {
        let frame = self.frame().expect("a close frame");
        assert_eq!(frame.close().map(|(code, _)| code), Some(code), "{frame:?}");
        self.send(&close(code, ""));
        self.expect_end();
    }

    /// The stream ends without another octet.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.exact(1);
        assert_eq!(rest, None, "octets after the end: {:?}", String::from_utf8_lossy(&self.buffer));
        // As clients do; it fails where the server is gone already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
