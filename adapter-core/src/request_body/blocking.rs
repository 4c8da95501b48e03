//! The request body of a blocking application: `Read`, `BufRead`, chunks. \[REQ-19\]
//!
//! Every method blocks the calling thread, which belongs to the server's blocking pool, until the client has sent
//! something, or [`Timeouts::body_read`](crate::Timeouts::body_read) has passed.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use http::HeaderMap;

use super::{Collector, RequestBody, RequestBodyError};

/// The body of a request in a [`blocking`](crate::blocking()) application.
///
/// Its errors are [`RequestBodyError`], wrapped in [`io::Error`] where a trait asks for that; both keep their status
/// when passed on with `?`.
///
/// ```
/// use std::io::Read;
/// # use adapter_core::{blocking, BlockingBody, Body, Environ, Error, Request, Response};
///
/// fn shout(request: Request<BlockingBody>, _environ: Environ) -> Result<Response, Error> {
///     let mut text = String::new();
///     request.into_body().read_to_string(&mut text)?;
///     Ok(Response::new(Body::from(text.to_uppercase())))
/// }
/// # let answer = adapter_core::testing::Client::new(blocking(shout)).post("/", "hey").send();
/// # assert_eq!(answer.text(), "HEY");
/// ```
#[derive(Debug, Default)]
pub struct BlockingBody {
    body: RequestBody,
    current: Bytes,
}

impl BlockingBody {
    /// The next piece of data, never empty; `None` at the end. Blocks.
    pub fn chunk(&mut self) -> Option<Result<Bytes, RequestBodyError>> {
        if !self.current.is_empty() {
            return Some(Ok(std::mem::take(&mut self.current)));
        }
        loop {
            match self.body.next_frame()? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Some(Ok(data)),
                    _ => {}
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// An iterator of the pieces. Blocks.
    pub fn chunks(self) -> Chunks {
        Chunks(self)
    }

    /// All of the rest, if it is at most `limit` bytes. Blocks.
    ///
    /// # Errors
    /// As [`RequestBody::bytes`].
    pub fn bytes(&mut self, limit: usize) -> Result<Bytes, RequestBodyError> {
        let mut collector = Collector::new(&self.body, limit)?;
        while let Some(chunk) = self.chunk() {
            collector.add(chunk?)?;
        }
        Ok(collector.finish())
    }

    /// All of the rest as text, if it is at most `limit` bytes. Blocks.
    ///
    /// # Errors
    /// As [`RequestBody::text`].
    pub fn text(&mut self, limit: usize) -> Result<String, RequestBodyError> {
        super::utf8(self.bytes(limit)?)
    }

    /// The exact number of bytes still to come, `None` if unknown. \[REQ-06\]
    pub fn len(&self) -> Option<u64> {
        Some(self.body.len()? + self.current.len() as u64)
    }

    /// Whether it is known that nothing comes any more.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty() && self.body.is_empty()
    }

    /// The trailers, once the end has been read. \[TRL-01\]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.body.trailers()
    }

    /// What is still to be read from the server, and what was read but not consumed.
    pub(crate) fn into_parts(self) -> (RequestBody, Bytes) {
        (self.body, self.current)
    }

    /// The async face of the same body. What `BufRead` holds unread is lost.
    pub fn into_inner(self) -> RequestBody {
        self.body
    }
}

impl Read for BlockingBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for BlockingBody {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty()
            && let Some(chunk) = self.chunk()
        {
            self.current = chunk?;
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
    }
}

impl From<RequestBody> for BlockingBody {
    fn from(body: RequestBody) -> Self {
        BlockingBody { body, current: Bytes::new() }
    }
}

/// The iterator of [`BlockingBody::chunks`].
#[derive(Debug)]
pub struct Chunks(BlockingBody);

impl Iterator for Chunks {
    type Item = Result<Bytes, RequestBodyError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.chunk()
    }
}
