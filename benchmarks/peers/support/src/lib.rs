//! What every peer shares: its arguments, its listening socket, and the query of its routes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// The body of `GET /`.
pub const HELLO: &str = "Hello, World!";

/// `--port P --threads N`, and whatever else was given.
pub struct Arguments {
    pub port: u16,
    pub threads: usize,
    pub rest: Vec<String>,
}

impl Arguments {
    /// Reads the command line. Panics on a bad one: a peer is only ever started by the benchmark command.
    pub fn parse() -> Self {
        let mut parsed = Arguments { port: 0, threads: 1, rest: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            match argument.as_str() {
                "--port" => parsed.port = value().parse().expect("--port takes a number"),
                "--threads" => parsed.threads = value().parse().expect("--threads takes a number"),
                _ => parsed.rest.push(argument),
            }
        }
        parsed
    }

    /// Whether a flag such as `--current-thread` was given.
    pub fn has(&self, flag: &str) -> bool {
        self.rest.iter().any(|argument| argument == flag)
    }

    /// What came after a flag such as `--tls-cert`.
    pub fn value(&self, flag: &str) -> Option<&str> {
        let mut rest = self.rest.iter().map(String::as_str);
        rest.find(|argument| *argument == flag)?;
        rest.next()
    }

    /// The loopback address to bind.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// A listener with a backlog of 4096, blocking; `shared` sets SO_REUSEPORT.
    pub fn listen(&self, shared: bool) -> TcpListener {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("socket");
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        if shared {
            socket.set_reuse_port(true).expect("SO_REUSEPORT");
        }
        socket.bind(&self.address().into()).expect("bind");
        socket.listen(4096).expect("listen");
        socket.into()
    }

    /// The same, set non-blocking for a runtime to take over.
    pub fn listen_nonblocking(&self, shared: bool) -> TcpListener {
        let listener = self.listen(shared);
        listener.set_nonblocking(true).expect("non-blocking");
        listener
    }
}

/// The number after `name=` in a query, or 0.
pub fn number(query: Option<&str>, name: &str) -> u64 {
    query
        .unwrap_or("")
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0)
}
