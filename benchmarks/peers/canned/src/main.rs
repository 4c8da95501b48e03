//! What the kernel and the loader allow: every head is answered with the same bytes, unparsed.
//! `--mode blocking` is a thread per connection, `--mode epoll` one level-triggered epoll loop per thread.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use peer_support::Arguments;
use rustix::event::epoll;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 13\r\n\
    date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nHello, World!";

fn main() {
    let arguments = Arguments::parse();
    if arguments.has("epoll") {
        std::thread::scope(|scope| {
            for _ in 0..arguments.threads {
                let listener = arguments.listen_nonblocking(true);
                scope.spawn(move || event_loop(&listener).expect("epoll"));
            }
        });
    } else {
        let listener = arguments.listen(false);
        loop {
            let Ok((mut stream, _)) = listener.accept() else { continue };
            let _ = stream.set_nodelay(true);
            let connection = std::thread::Builder::new().stack_size(64 * 1024);
            // A thread that cannot be had closes its connection.
            let _ = connection.spawn(move || {
                let (mut heads, mut buffer) = (Heads::default(), [0; 4096]);
                while let Ok(true) = heads.serve(&mut stream, &mut buffer) {}
            });
        }
    }
}

/// Finds the ends of heads, also across reads.
#[derive(Default)]
struct Heads {
    matched: usize,
}

type Buffer = [u8; 4096];

impl Heads {
    /// One read, and one write of as many answers as heads ended in it. `Ok(false)` is the end of the connection.
    fn serve(&mut self, stream: &mut TcpStream, buffer: &mut Buffer) -> std::io::Result<bool> {
        let read = stream.read(buffer)?;
        let mut ended = 0;
        for &byte in &buffer[..read] {
            self.matched = match (self.matched, byte) {
                (0 | 2, b'\r') | (1 | 3, b'\n') => self.matched + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if self.matched == 4 {
                self.matched = 0;
                ended += 1;
            }
        }
        match ended {
            0 => {}
            1 => stream.write_all(ANSWER)?,
            // The socket buffer holds what one read can ask for, so a non-blocking socket takes it all.
            _ => stream.write_all(&ANSWER.repeat(ended))?,
        }
        Ok(read > 0)
    }
}

fn event_loop(listener: &TcpListener) -> std::io::Result<()> {
    const LISTENER: u64 = u64::MAX;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut connections: HashMap<u64, (TcpStream, Heads)> = HashMap::new();
    let mut events = Vec::with_capacity(256);
    let mut buffer = [0; 4096];
    loop {
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let token = event.data.u64();
            if token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let _ = stream.set_nodelay(true);
                    let token = stream.as_raw_fd() as u64;
                    epoll::add(&poll, &stream, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
                    connections.insert(token, (stream, Heads::default()));
                }
            } else if let Some((stream, heads)) = connections.get_mut(&token) {
                match heads.serve(stream, &mut buffer) {
                    Ok(true) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // Dropping the socket takes it out of the epoll set.
                    _ => drop(connections.remove(&token)),
                }
            }
        }
    }
}
