//! Informational responses before the final one: 103 Early Hints (RFC 8297). \[INF-01\] to \[INF-03\]

use std::sync::Arc;

use http::HeaderMap;

/// Sends 103 responses; cheap to clone.
#[derive(Clone)]
pub struct EarlyHints(Arc<dyn Sink>);

/// What a server implements to provide [`EarlyHints`].
pub trait Sink: Send + Sync {
    /// Sends a 103 with `headers` at once. Does not block longer than the server's write timeout.
    ///
    /// # Errors
    /// See [`HintError`].
    fn send(&self, headers: &HeaderMap) -> Result<(), HintError>;
}

/// Why hints were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HintError {
    /// The final response head is committed already (\[INF-03\]).
    #[error("the final response has begun")]
    TooLate,
    /// A field that must not be in an informational response: framing or connection control.
    #[error("a field that is not allowed in an informational response")]
    InvalidField,
    /// The client is gone.
    #[error("the client is gone")]
    Disconnected,
}

impl EarlyHints {
    /// Hints that go to `sink`. For servers.
    pub fn new(sink: impl Sink + 'static) -> Self {
        EarlyHints(Arc::new(sink))
    }

    /// Sends a 103 with `headers` at once; may be called several times before the response is returned. \[INF-02\]
    ///
    /// ```
    /// # use adapter_core::http::{HeaderMap, HeaderValue};
    /// # use adapter_core::{Environ, Error, Request, Response};
    /// async fn page(_request: Request, environ: Environ) -> Result<Response, Error> {
    ///     let mut fields = HeaderMap::new();
    ///     fields.insert("link", HeaderValue::from_static("</style.css>; rel=preload; as=style"));
    ///     if let Some(hints) = environ.early_hints() {
    ///         let _ = hints.send(&fields);
    ///     }
    ///     Ok(Response::default())
    /// }
    /// # let answer = adapter_core::testing::Client::new(page).get("/").send();
    /// # assert_eq!(answer.early_hints().len(), 1);
    /// ```
    ///
    /// # Errors
    /// See [`HintError`]. Nothing was sent then; the final response is not affected.
    pub fn send(&self, headers: &HeaderMap) -> Result<(), HintError> {
        // [INF-02] RFC 9110 §15.2, §8.6: no framing and no connection control in a 1xx.
        if headers.keys().any(|name| {
            crate::rules::response::is_hop_by_hop(name)
                || *name == http::header::CONTENT_LENGTH
                || *name == http::header::TRAILER
        }) {
            return Err(HintError::InvalidField);
        }
        self.0.send(headers)
    }
}

/// Hints that go to a sink the server keeps hold of.
impl<S: Sink + 'static> From<Arc<S>> for EarlyHints {
    fn from(sink: Arc<S>) -> Self {
        EarlyHints(sink)
    }
}

impl std::fmt::Debug for EarlyHints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EarlyHints")
    }
}
