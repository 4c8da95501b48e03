//! What the application does with a stream of octets: actions in order, the same for both faces.
//!
//! `echo` (to the end), `eof` (the same, in silence), `read:N`, `write:TEXT`, `size:N` (of the fixed pattern), `end` (of our half), `gate:NAME`. Recorded
//! are `stream-open`, `stream-read OCTETS`, `stream-end`, `stream-error KIND`, and at last `stream-done` or
//! `stream-dropped`.

use std::io;

use adapter_core::upgrade::{Blocking, Upgraded};
use futures_lite::{AsyncReadExt, AsyncWriteExt as _};

use super::records::{Dropped, Log};
use super::takeover::split;
use crate::text;

/// Both faces of a stream.
pub(super) trait Octets: Send {
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
    fn write(&mut self, octets: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
    fn end(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

impl Octets for Upgraded {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        AsyncReadExt::read(self, buffer).await
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.write_all(octets).await?;
        self.flush().await
    }

    fn end(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        self.close()
    }
}

/// The blocking face, driven on a thread of its own.
pub(super) struct Std(pub(super) Blocking<Upgraded>);

impl Octets for Std {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.0, buffer)
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.0, octets)?;
        io::Write::flush(&mut self.0)
    }

    async fn end(&mut self) -> io::Result<()> {
        self.0.shutdown()
    }
}

/// Does the actions of a stream, in order; dropping it at their end closes the connection.
pub(super) async fn talk(mut stream: impl Octets, log: &Log, actions: Vec<String>) -> io::Result<()> {
    let mut guard = Dropped::new(log, "stream-dropped");
    log.record("stream-open");
    let mut buffer = vec![0; 16 * 1024];
    for action in &actions {
        let (name, value) = split(action);
        match name {
            "echo" | "eof" | "read" => {
                let wanted = if name == "read" { value.parse().unwrap_or(0) } else { usize::MAX };
                let mut seen = Vec::new();
                while seen.len() < wanted {
                    let room = buffer.len().min(wanted - seen.len());
                    let count = match stream.read(&mut buffer[..room]).await {
                        Ok(count) => count,
                        Err(error) => {
                            log.record(format!("stream-error {:?}", error.kind()));
                            return Err(error);
                        }
                    };
                    if count == 0 {
                        log.record("stream-end");
                        break;
                    }
                    seen.extend_from_slice(&buffer[..count]);
                    if name == "echo" {
                        stream.write(&buffer[..count]).await?;
                    }
                }
                log.record(format!("stream-read {}", text::encode(&seen[..seen.len().min(512)])));
            }
            "gate" => log.gate(value).await,
            "write" => stream.write(&text::decode(value)).await?,
            "size" => stream.write(&text::pattern(value.parse().unwrap_or(0))).await?,
            "end" => stream.end().await?,
            unknown => super::panic(&format!("unknown action {unknown}")),
        }
    }
    guard.becomes("stream-done");
    Ok(())
}
