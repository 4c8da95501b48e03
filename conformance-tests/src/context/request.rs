//! Putting a request together: well-formed unless the case makes it otherwise.

use crate::application::{DO, TOKEN};
use crate::mount;

/// A request under construction.
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    method: String,
    target: String,
    version: &'static str,
    fields: Vec<(String, Vec<u8>)>,
    host: bool,
    body: Vec<u8>,
}

impl RequestBuilder {
    pub(super) fn new(method: &str, target: &str, token: &str) -> Self {
        RequestBuilder {
            method: method.to_owned(),
            target: mount::mounted(target),
            version: "1.1",
            fields: vec![(TOKEN.to_owned(), token.as_bytes().to_vec())],
            host: true,
            body: Vec::new(),
        }
    }

    /// Under a token of no case: what it does is not recorded with the case's own requests.
    #[must_use]
    pub fn aside(mut self) -> Self {
        if let Some((_, token)) = self.fields.first_mut() {
            *token = b"aside".to_vec();
        }
        self
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What the application is to do.
    #[must_use]
    pub fn script(self, script: &str) -> Self {
        self.field(DO, script)
    }

    /// Another target.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        self.target = mount::mounted(target);
        self
    }

    /// Another method.
    #[must_use]
    pub fn method_is(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// As HTTP/1.0, without Host.
    #[must_use]
    pub fn http10(mut self) -> Self {
        self.version = "1.0";
        self.host = false;
        self
    }

    /// One more field line.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// `Connection: close`.
    #[must_use]
    pub fn close(self) -> Self {
        self.field("connection", "close")
    }

    /// A body with its Content-Length.
    #[must_use]
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len().to_string();
        self.field("content-length", length).tail(body)
    }

    /// Chunked, with `chunks` and the last chunk.
    #[must_use]
    pub fn chunked<C: AsRef<[u8]>>(self, chunks: &[C]) -> Self {
        let mut body = Vec::new();
        for chunk in chunks.iter().map(AsRef::as_ref) {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        self.field("transfer-encoding", "chunked").tail(body)
    }

    /// Octets after the head, whatever the fields say.
    #[must_use]
    pub fn tail(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.body.extend_from_slice(bytes.as_ref());
        self
    }

    /// The head alone.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/{}\r\n", self.method, self.target, self.version).into_bytes();
        if self.host {
            bytes.extend_from_slice(b"host: conformance.test\r\n");
        }
        for (name, value) in &self.fields {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}
