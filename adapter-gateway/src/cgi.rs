//! CGI: a process for each request, RFC 3875. Variables in its environment, the body on its input, the response on its output.
//!
//! The process is a web server to itself: it says to a server of [`Scgi`](crate::scgi::Scgi), on a socket in a folder that nobody else can
//! open, what was said to it, and hands on what that answers. So a request is served by the same code as elsewhere, and reads and writes of
//! input and output, which may be pipes, sockets or files, block threads of their own and nothing else.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use adapter_core::rules::Rejection;
use adapter_core::rules::request::Facts;
use adapter_core::{ShutdownTrigger, dispatch};
use http::{Request, StatusCode};

use crate::answer;
use crate::framing::Form;
use crate::variables::Variables;

/// Octets copied at a time.
const PIECE: usize = 16 * 1024;

/// A folder that only this user can look into, with the socket in it; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// Makes one.
    ///
    /// # Errors
    /// There is no room for it where temporary files are.
    pub(crate) fn new() -> io::Result<Place> {
        let (parent, process) = (std::env::temp_dir(), std::process::id());
        // Somebody may have left one there, or made it on purpose.
        for number in 0..u16::MAX {
            let folder = parent.join(format!("adapter-cgi-{process}-{number}"));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Place(folder)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where the socket is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The request as SCGI has it, of the variables in `environment`, and how long its body is.
///
/// # Errors
/// There is a body, and nobody says how long it is: "a request-body is supplied with the request if the CONTENT_LENGTH is not NULL"
/// (RFC 3875 §4.2), which httpd does otherwise for one that is chunked. It must not be taken for none.
pub(crate) fn request(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Vec<u8>, u64), Rejection> {
    let pairs: Vec<_> = environment.into_iter().map(|(name, value)| (name.into_vec(), value.into_vec())).collect();
    let variables = Variables::new(pairs);
    let length = match variables.content_length() {
        Some(length) => length,
        None if variables.get("HTTP_TRANSFER_ENCODING").is_some_and(|coding| !coding.is_empty()) => {
            return Err(Rejection::new(StatusCode::LENGTH_REQUIRED, "RFC 3875 4.2", "a body needs a length"));
        }
        None => 0,
    };
    let mut block = format!("CONTENT_LENGTH\0{length}\0").into_bytes();
    for (name, value) in variables.iter().filter(|(name, _)| *name != b"CONTENT_LENGTH") {
        for part in [name, value] {
            // No part of an environment has a NUL.
            block.extend_from_slice(part);
            block.push(0);
        }
    }
    let mut request = format!("{}:", block.len()).into_bytes();
    request.extend_from_slice(&block);
    request.push(b',');
    Ok((request, length))
}

/// Hands on to `output` what answers a request that is none, and triggers the shutdown.
///
/// # Errors
/// Nobody takes it.
pub(crate) fn refuse(rejection: &Rejection, mut output: impl Write, trigger: &ShutdownTrigger) -> io::Result<()> {
    let (head, ()) = Request::new(()).into_parts();
    let (head, body, plan) = dispatch::prepare(rejection.response(), &Facts::of_rejected(&head), false);
    let mut octets = Vec::new();
    answer::encode(Form::Cgi, &head, &plan, &mut octets);
    octets.extend_from_slice(&body.try_into_bytes().unwrap_or_default());
    trigger.drain();
    output.write_all(&octets)?;
    output.flush()
}

/// Says `request` and `length` octets of `input` to the server at `socket`, and hands on to `output` what it answers. Then triggers the
/// shutdown, whatever became of it. The thread ends with the response; one that waits for input no more than the process does.
///
/// # Errors
/// Nobody listens there, or there is no thread to be had.
pub(crate) fn converse(
    socket: &Path,
    request: Vec<u8>,
    length: u64,
    mut input: impl Read + Send + 'static,
    mut output: impl Write + Send + 'static,
    trigger: ShutdownTrigger,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let mut heard = UnixStream::connect(socket)?;
    let mut said = heard.try_clone()?;
    thread::Builder::new().name("adapter-cgi-input".into()).spawn(move || {
        // An input that ends early is a client that is gone, and so is one that fails: the end of the stream says that.
        let is_whole =
            said.write_all(&request).is_ok() && copy(&mut input, &mut said, length).is_ok_and(|left| left == 0);
        if !is_whole {
            let _ = said.shutdown(Shutdown::Write);
        }
    })?;
    thread::Builder::new().name("adapter-cgi-output".into()).spawn(move || {
        // At once, piece by piece: the web server may have a client that waits for what is there.
        let copied = copy(&mut heard, &mut output, u64::MAX).map(drop);
        if copied.is_err() {
            // Nobody takes it: for the application the client is gone.
            let _ = heard.shutdown(Shutdown::Both);
        }
        trigger.drain();
        copied
    })
}

/// Copies at most `most` octets, each piece as it comes, and says how many are left where it ends before.
fn copy(from: &mut impl Read, to: &mut impl Write, most: u64) -> io::Result<u64> {
    let mut piece = [0; PIECE];
    let mut left = most;
    while left > 0 {
        let room = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = match from.read(piece.get_mut(..room).unwrap_or_default()) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(piece.get(..count).unwrap_or_default())?;
        to.flush()?;
        left -= count as u64;
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Event, Framing};
    use crate::scgi::Scgi;

    /// \[GWY-04\]
    #[test]
    fn an_environment_is_a_request() {
        let environment = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "5"), ("HTTP_X_A", "1"), ("PATH", "/bin")];
        let (request, length) = super::request(environment.map(|(name, value)| (name.into(), value.into()))).unwrap();
        assert_eq!(length, 5);
        let mut events = Vec::new();
        Scgi::new(1000).receive(&request, &mut |event| events.push(event)).unwrap();
        let [Event::Request { variables, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(variables.get("HTTP_X_A"), Some(&b"1"[..]));
        assert_eq!(variables.content_length(), Some(5));
        let (_, length) = super::request([("CONTENT_LENGTH".into(), "".into())]).unwrap();
        assert_eq!(length, 0, "RFC 3875 §4.1.2: empty is none");
        let chunked = super::request([("HTTP_TRANSFER_ENCODING".into(), "chunked".into())]).unwrap_err();
        let mut told = Vec::new();
        refuse(&chunked, &mut told, &ShutdownTrigger::new()).unwrap();
        assert!(told.starts_with(b"Status: 411 Length Required\r\n"));
    }

    #[test]
    fn no_more_is_copied_than_is_said() {
        let mut to = Vec::new();
        assert_eq!(copy(&mut &b"hello, and more"[..], &mut to, 5).unwrap(), 0);
        assert_eq!(to, b"hello");
        assert_eq!(copy(&mut &b"hel"[..], &mut to, 5).unwrap(), 2);
    }

    #[test]
    fn places_are_ones_own_and_go() {
        let (first, second) = (Place::new().unwrap(), Place::new().unwrap());
        assert_ne!(first.0, second.0);
        let path = first.0.clone();
        drop(first);
        assert!(!path.exists());
    }
}
