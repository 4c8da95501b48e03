//! One exchange over a Unix-domain socket, wherever there are some.

use std::io::{self, Read, Write};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use super::patience;
use crate::case::Failure;

/// Sends `octets` to who listens on `path`, and reads until the end of the stream.
pub(crate) fn ask_unix(path: &Path, octets: &[u8]) -> Result<Vec<u8>, Failure> {
    let exchange = || -> io::Result<Vec<u8>> {
        let mut stream = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        stream.connect(&SockAddr::unix(path)?)?;
        stream.set_read_timeout(Some(patience()))?;
        stream.write_all(octets)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    exchange().map_err(|error| Failure(format!("no answer over a Unix-domain socket: {error}")))
}
