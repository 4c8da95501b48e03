//! A session by hand, on blocking sockets: what servers do with [`Session`]. Says of each connection what was agreed on.
//!
//! ```text
//! $ cargo run -p adapter-tls --features self-signed --example sessions -- 127.0.0.1:8443 &
//! $ curl -k https://127.0.0.1:8443/
//! TlsInfo { protocol: Some("TLSv1.3"), … }
//! ```
//!
//! With a certificate's file and its key's behind the address it serves those.

use std::io::{IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use adapter_core::Error;
use adapter_core::tls::{Session, Tls};
use adapter_tls::TlsConfig;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, config) = match &arguments[..] {
        [address, cert, key] => (address, TlsConfig::files(cert, key)),
        [address] => (address, TlsConfig::self_signed(["localhost", "127.0.0.1"])?),
        _ => return Err(Error::new("use: sessions ADDRESS [CERT KEY]")),
    };
    let tls = config.load()?;
    let listener = TcpListener::bind(address)?;
    println!("listening on https://{}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, tls) = (socket?, tls.clone());
        std::thread::spawn(move || {
            if let Err(error) = serve(socket, &tls) {
                println!("{error}");
            }
        });
    }
    Ok(())
}

/// Answers the first request, whatever it is.
fn serve(mut socket: TcpStream, tls: &Tls) -> Result<(), Error> {
    // Who says nothing is not waited for.
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut session = tls.accept(false);
    let (mut request, mut out) = (Vec::new(), Vec::new());
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 65_536 {
        if !receive(&mut socket, &mut *session, &mut request)? {
            return Ok(());
        }
    }
    let text = format!("{:?}\n", session.info());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    // A server goes on where it was taken in part only; 64 KiB are always taken.
    session.write(&[IoSlice::new(head.as_bytes()), IoSlice::new(text.as_bytes())], &mut out);
    session.close(&mut out);
    socket.write_all(&out)?;
    Ok(())
}

/// Takes in what has arrived, and says what the session has to say; `false` at the end of the stream.
fn receive(socket: &mut TcpStream, session: &mut dyn Session, plaintext: &mut Vec<u8>) -> Result<bool, Error> {
    let mut buffer = [0; 16_384];
    let length = socket.read(&mut buffer)?;
    let mut arrived = &buffer[..length];
    while !arrived.is_empty() {
        let received = session.receive(arrived);
        let mut out = Vec::new();
        session.output(&mut out);
        // Also where it failed: an alert.
        socket.write_all(&out)?;
        let taken = received.map_err(Error::new)?;
        arrived = &arrived[taken..];
        let mut piece = [0; 16_384];
        let read = session.read(&mut piece);
        plaintext.extend_from_slice(&piece[..read]);
        if taken == 0 && read == 0 {
            break;
        }
    }
    Ok(length > 0 && !session.has_ended())
}
