//! One request and its answer, both ways at once: what a server echoes is read while the rest is still being sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ClientConfig;

use super::response::{Reader, Response};
use super::wire::Wire;
use super::{HELLO, get};

/// A connection of its own, non-blocking, plain or under TLS.
pub fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, limit: Duration) -> Result<Wire, String> {
    let attempt = || -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        Ok(stream)
    };
    let stream = attempt().map_err(|error| format!("cannot connect: {error}"))?;
    Wire::open(stream, tls)
}

/// Sends the pieces one after the other and reads one response meanwhile.
pub fn exchange<'a>(
    stream: &mut Wire,
    buffer: &mut [u8],
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: Duration,
) -> Result<Response, String> {
    exchange_by(Reader::default(), stream, buffer, pieces, limit)
}

/// As [`exchange`], read by this reader.
pub fn exchange_by<'a>(
    mut reader: Reader,
    stream: &mut Wire,
    buffer: &mut [u8],
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: Duration,
) -> Result<Response, String> {
    let end = Instant::now() + limit;
    let mut pieces = pieces.into_iter();
    let mut piece = pieces.next();
    loop {
        let mut blocked = true;
        if let Some(rest) = piece {
            match stream.write(rest) {
                Ok(written) => {
                    blocked = false;
                    piece = if written < rest.len() { Some(&rest[written..]) } else { pieces.next() };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("sending: {error}")),
            }
        } else if stream.wants_write() {
            stream.flush().map_err(|error| format!("sending: {error}"))?;
        }
        match stream.read(buffer) {
            Ok(0) => return Err("closed before the end of the answer".into()),
            Ok(read) => {
                blocked = false;
                let (taken, response) = reader.read(&buffer[..read])?;
                match response {
                    Some(_) if piece.is_some() => return Err("answered before the request had been sent".into()),
                    Some(_) if taken < read => return Err("bytes after the answer".into()),
                    Some(response) => return Ok(response),
                    None => {}
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("receiving: {error}")),
        }
        let rest = end.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(format!("no whole answer in {:.0} s", limit.as_secs_f64()));
        }
        if blocked {
            let sends = piece.is_some() || stream.wants_write();
            let interest = if sends { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            let rest = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: i64::from(rest.subsec_nanos()) };
            // An interrupted wait is tried again by the loop.
            let _ = poll(&mut [PollFd::new(stream, interest)], Some(&rest));
        }
    }
}

/// `GET /` on a connection of its own; how long it took, from connecting to the end of the answer.
pub fn probe(address: SocketAddr, limit: Duration) -> Result<Duration, String> {
    probe_over(address, None, limit)
}

/// As [`probe`], plain or under TLS.
pub fn probe_over(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, limit: Duration) -> Result<Duration, String> {
    let begun = Instant::now();
    let body = root(address, tls, limit)?;
    if body != HELLO.len() as u64 {
        return Err(format!("a body of {body} bytes, not {}", HELLO.len()));
    }
    Ok(begun.elapsed())
}

/// As [`probe`], with any body.
pub fn answers(address: SocketAddr, limit: Duration) -> Result<Duration, String> {
    let begun = Instant::now();
    root(address, None, limit).map(|_| begun.elapsed())
}

/// The length of what `GET /` answers.
fn root(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, limit: Duration) -> Result<u64, String> {
    let begun = Instant::now();
    let mut stream = connect(address, tls, limit)?;
    let rest = limit.saturating_sub(begun.elapsed());
    Ok(exchange(&mut stream, &mut [0; 4096], [get("/").as_slice()], rest)?.body)
}
