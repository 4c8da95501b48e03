//! A server on a free port and raw clients with deadlines, for the integration tests.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use adapter_core::{Application, Bind, DynApplication, ListenAddr, Server, ServerConfig, ServerHandle};
use adapter_threadpool::ThreadPoolServer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{AddressFamily, SocketType, connect, socket};

/// No step of any test takes longer.
pub const DEADLINE: Duration = Duration::from_secs(10);

pub struct Running {
    pub addr: SocketAddr,
    handle: Option<ServerHandle>,
}

/// Serves `application` with `config`, on a free port.
pub fn serve_with(application: impl Application, config: ServerConfig) -> Running {
    let config = config.bind("127.0.0.1:0".parse().unwrap());
    let handle = ThreadPoolServer::new().start(DynApplication::new(application), config).unwrap();
    // After those of the configuration.
    let addr = handle.local_addrs().last().and_then(ListenAddr::tcp).unwrap();
    Running { addr, handle: Some(handle) }
}

/// Serves on a listener whose connections take only a few KiB that the client does not read.
pub fn serve_narrow(application: impl Application, config: ServerConfig) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // The sockets that are accepted inherit it.
    set_socket_send_buffer_size(&listener, 1).unwrap();
    let addr = listener.local_addr().unwrap();
    let config = config.bind(Bind::from(listener));
    let handle = ThreadPoolServer::new().start(DynApplication::new(application), config).unwrap();
    Running { addr, handle: Some(handle) }
}

pub fn serve(application: impl Application) -> Running {
    serve_with(application, ServerConfig::default())
}

impl Running {
    pub fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// `GET path` on a fresh connection.
    pub fn get(&self, path: &str) -> Answer {
        let mut client = self.connect();
        client.get(path);
        client.answer()
    }

    pub fn handle(&self) -> &ServerHandle {
        self.handle.as_ref().unwrap()
    }

    pub fn take(mut self) -> ServerHandle {
        self.handle.take().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.trigger().force();
            let result = handle.wait();
            if !std::thread::panicking() {
                result.unwrap();
            }
        }
    }
}

pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub trailers: String,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, buffer: Vec::new() }
    }

    /// Whose socket takes only a few KiB as long as nothing is read.
    pub fn narrow(addr: SocketAddr) -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        set_socket_recv_buffer_size(&socket, 1).unwrap();
        connect(&socket, &addr).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, buffer: Vec::new() }
    }

    /// Waits until the server has broken the connection off, without reading; `false` if it does not.
    pub fn is_broken_off(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).unwrap();
        poll(&mut [PollFd::new(&self.stream, PollFlags::empty())], Some(&limit)).unwrap() > 0
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }

    /// Reads more into the buffer; `false` at the end of the stream.
    fn more(&mut self) -> bool {
        let mut piece = [0; 65536];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}; so far: {}", self.buffer.escape_ascii()),
        }
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.buffer.drain(..end + 2).collect()).unwrap();
                return line.trim_end().to_owned();
            }
            assert!(self.more(), "the stream ended within a line: {}", self.buffer.escape_ascii());
        }
    }

    /// The next `count` bytes.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more(), "the stream ended {} bytes early", count - self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// The next head, informational ones included.
    pub fn head(&mut self) -> (u16, String) {
        let mut head = String::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            head += &line;
            head.push('\n');
        }
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
    }

    /// The data of the next chunk, `None` for the last one.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line(), 16).unwrap();
        if size == 0 {
            return None;
        }
        let data = self.exactly(size);
        assert_eq!(self.line(), "");
        Some(data)
    }

    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The next final response to a request with `method`.
    pub fn answer_to(&mut self, method: &str) -> Answer {
        let (status, head) = self.head();
        let mut answer = Answer { status, head, body: Vec::new(), trailers: String::new() };
        if method == "HEAD" || status == 204 || status == 304 {
            return answer;
        }
        if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
            loop {
                let line = self.line();
                if line.is_empty() {
                    break;
                }
                answer.trailers += &line;
                answer.trailers.push('\n');
            }
        } else if let Some(length) = answer.header("content-length").map(|length| length.parse().unwrap()) {
            answer.body = self.exactly(length);
        } else {
            answer.body = self.rest();
        }
        answer
    }

    /// Everything until the end of the stream.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits for the end; gives the time it took.
    pub fn closed(&mut self) -> Duration {
        let start = Instant::now();
        let rest = self.rest();
        assert!(rest.is_empty(), "unexpected: {}", rest.escape_ascii());
        start.elapsed()
    }

    pub fn half_close(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}
