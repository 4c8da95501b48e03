//! `--healthcheck ADDR`: asks a running program whether it serves, for whoever has nothing else to ask with: a container without a shell.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use adapter_core::Bind;
use clap::ArgMatches;

use super::exit::Exit;
use super::file;

/// All in all. Docker asks every 30 s, and gives a check as long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether that was asked for, and the answer: status 0 and a word where it is ready, else 1 and a line that says why. Blocks for
/// 5 s at most.
///
/// # Errors
/// The answer.
pub(super) fn asked(matches: &ArgMatches) -> Result<(), Exit> {
    let bind = file::level(matches).and_then(|matches| matches.try_get_one::<Bind>("healthcheck").ok().flatten());
    let Some(bind) = bind else { return Ok(()) };
    let until = Instant::now() + PATIENCE;
    let mut problem = "it has no address".to_owned();
    for addr in addresses(bind) {
        match ask(addr, until) {
            Ok(status) if status == "200" => return Err(Exit::done("ready\n")),
            // Who answers is the one that was meant.
            Ok(status) => return Err(Exit::failed(format_args!("--healthcheck: /readyz of {addr} answers {status}"))),
            // What a timeout of a socket is called depends on the system.
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                problem = format!("{addr}: no answer within {} s", PATIENCE.as_secs());
            }
            Err(error) => problem = format!("{addr}: {error}"),
        }
    }
    Err(Exit::failed(format_args!("--healthcheck: {problem}")))
}

/// Where somebody who listens there is to be reached from here.
fn addresses(bind: &Bind) -> Vec<SocketAddr> {
    let every =
        |port| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    match bind {
        Bind::Tcp(addr) if addr.ip().is_unspecified() => match addr.ip() {
            IpAddr::V4(_) => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port()))],
            IpAddr::V6(_) => every(addr.port()),
        },
        Bind::Tcp(addr) => vec![*addr],
        Bind::Host { addrs, .. } => addrs.clone(),
        Bind::EveryInterface(port) => every(*port),
        _ => Vec::new(),
    }
}

/// The status that `/readyz` has at `addr`.
fn ask(addr: SocketAddr, until: Instant) -> io::Result<String> {
    let left = || {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut stream = TcpStream::connect_timeout(&addr, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut line = Vec::new();
    // "HTTP/1.1 200" is all that is of interest.
    while line.len() < 12 {
        stream.set_read_timeout(Some(left()?))?;
        let mut piece = [0; 64];
        let count = stream.read(&mut piece)?;
        if count == 0 {
            break;
        }
        line.extend_from_slice(&piece[..count]);
    }
    let status =
        line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|status| str::from_utf8(status).ok());
    let no_http = || io::Error::new(io::ErrorKind::InvalidData, "what answers there does not speak HTTP");
    status.map(str::to_owned).ok_or_else(no_http)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What a check says of somebody who answers so.
    fn of(answer: &'static [u8]) -> Result<String, io::ErrorKind> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 256];
            let count = stream.read(&mut asked).unwrap();
            stream.write_all(answer).unwrap();
            asked[..count].to_vec()
        });
        let status = ask(addr, Instant::now() + PATIENCE);
        assert!(answering.join().unwrap().starts_with(b"GET /readyz HTTP/1.1\r\n"));
        status.map_err(|error| error.kind())
    }

    #[test]
    fn statuses_are_read_and_all_else_is_not() {
        assert_eq!(of(b"HTTP/1.1 200 OK\r\n\r\n").as_deref(), Ok("200"));
        assert_eq!(of(b"HTTP/1.0 503 Busy\r\n\r\n").as_deref(), Ok("503"));
        assert_eq!(of(b"SSH-2.0-x\r\n\r\n"), Err(io::ErrorKind::InvalidData));
        assert_eq!(of(b""), Err(io::ErrorKind::InvalidData));
        let late = ask("127.0.0.1:9".parse().unwrap(), Instant::now()).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn an_address_of_every_interface_is_asked_at_this_machine() {
        let told = |bind: &str| {
            let addresses = addresses(&bind.parse().unwrap());
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(":9100"), "127.0.0.1:9100 [::1]:9100");
        assert_eq!(told("0.0.0.0:9100"), "127.0.0.1:9100");
        assert_eq!(told("[::]:9100"), "127.0.0.1:9100 [::1]:9100");
        assert_eq!(told("192.0.2.1:9100"), "192.0.2.1:9100");
    }
}
