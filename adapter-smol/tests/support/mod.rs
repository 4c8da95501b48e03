//! An application, a server on a free port, and a raw client with deadlines, for the integration tests.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::signal::Signal;
use adapter_core::{
    Application, Body, DynApplication, Environ, Error, Request, Response, Server, ServerConfig, ServerHandle,
};
use adapter_smol::SmolServer;

/// No step of any test takes longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Tells when it is dropped.
pub struct Tell(Sender<&'static str>, &'static str);

impl Drop for Tell {
    fn drop(&mut self) {
        // A test that is over does not listen.
        let _ = self.0.send(self.1);
    }
}

/// An application with the routes of the tests, and what it tells.
pub fn routes() -> (impl Application, Receiver<&'static str>) {
    let (tell, told) = channel();
    let open = Signal::new();
    let app = move |request: Request, environ: Environ| {
        let (tell, open) = (tell.clone(), open.clone());
        async move {
            Ok::<_, Error>(match request.uri().path() {
                "/echo" => Response::new(Body::from_http_body(request.into_body())),
                "/sleep" => {
                    environ.runtime().sleep(Duration::from_millis(1000)).await;
                    Response::new(Body::from("slept"))
                }
                "/block" => {
                    environ.runtime().run_blocking(move || open.wait()).await?;
                    Response::new(Body::from("blocked"))
                }
                "/open" => {
                    open.fire();
                    Response::new(Body::from("open"))
                }
                "/iterator" => Response::new(Body::from_iterator((0..3).map(|n| format!("{n}\n")))),
                "/pending" => {
                    let _tell = Tell(tell.clone(), "dropped");
                    let _ = tell.send("called");
                    std::future::pending().await
                }
                "/spawn" => {
                    let tell = Tell(tell, "task dropped");
                    let forever = async move {
                        let _tell = tell;
                        std::future::pending::<()>().await;
                    };
                    environ.runtime().spawn_daemon(forever).detach();
                    Response::new(Body::from("spawned"))
                }
                "/from-outside" => {
                    // Time and tasks for a thread that runs no executor.
                    let runtime = environ.runtime().clone();
                    let thread = environ.runtime().run_blocking(move || {
                        let inner = runtime.clone();
                        let task = runtime.spawn(async move {
                            inner.sleep(Duration::from_millis(20)).await;
                            "from outside"
                        });
                        futures_lite::future::block_on(async {
                            runtime.sleep(Duration::from_millis(20)).await;
                            task.await
                        })
                    });
                    Response::new(Body::from(thread.await??))
                }
                path => Response::new(Body::from(path.to_owned())),
            })
        }
    };
    (app, told)
}

/// Serves [`routes`] with `config`, on a free port.
pub fn start(config: ServerConfig) -> (ServerHandle, SocketAddr, Receiver<&'static str>) {
    let (app, told) = routes();
    let config = config.bind("127.0.0.1:0".parse().unwrap());
    let server = SmolServer::new().start(DynApplication::new(app), config).unwrap();
    let addr = server.local_addrs()[0].tcp().unwrap();
    (server, addr, told)
}

/// The names of this process's threads.
pub fn thread_names() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end while it is being looked at.
    threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok()).collect()
}

/// Waits until `is` holds.
pub fn eventually(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::yield_now();
    }
}

pub struct Client<S> {
    pub stream: S,
    buffer: Vec<u8>,
}

pub fn connect(addr: SocketAddr) -> Client<TcpStream> {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    Client::new(stream)
}

/// `GET path` on a fresh connection: the body of the answer.
pub fn get(addr: SocketAddr, path: &str) -> String {
    let mut client = connect(addr);
    client.get(path);
    client.answer()
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Self {
        Client { stream, buffer: Vec::new() }
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
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}; so far: {}", self.buffer.escape_ascii()),
        }
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            assert!(self.more(), "the stream ended within a line: {}", self.buffer.escape_ascii());
        }
    }

    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more(), "the stream ended {} bytes early", count - self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// The body of a response with status 200.
    pub fn answer(&mut self) -> String {
        String::from_utf8(self.body()).unwrap()
    }

    pub fn body(&mut self) -> Vec<u8> {
        assert_eq!(self.line(), "HTTP/1.1 200 OK");
        let mut length = None;
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            length = line.strip_prefix("content-length: ").map(|length| length.parse().unwrap()).or(length);
        }
        if let Some(length) = length {
            return self.exactly(length);
        }
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line(), 16).unwrap();
            body.extend(self.exactly(size));
            assert_eq!(self.line(), "");
            if size == 0 {
                return body;
            }
        }
    }

    /// Everything until the end of the stream.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.buffer)
    }
}
