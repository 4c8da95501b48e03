//! What the server delivers of the request body. \[REQ\], \[TRL-02\]

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::request;
use http_body::{Body as _, Frame, SizeHint};

use super::request::declared_length;
use super::{Findings, Side, Sink};
use crate::request_body::{RequestBody, RequestBodyError, Source};
use crate::rules::trailers;

/// `body`, with each frame looked at.
pub(super) fn watch(body: RequestBody, head: &request::Parts, sink: Sink) -> RequestBody {
    // Without a Content-Length nothing is owed: a head that had Transfer-Encoding may have lost it, to a server that
    // delivers no hop-by-hop fields or to middleware. [HDR-15]
    RequestBody::from_source(Watched { body, sink, owed: declared_length(head), trailers: false })
}

struct Watched {
    body: RequestBody,
    sink: Sink,
    /// Bytes that are to come, where the head says so.
    owed: Option<u64>,
    /// Trailers have come.
    trailers: bool,
}

type Next = Option<Result<Frame<Bytes>, RequestBodyError>>;

impl Watched {
    fn look(&mut self, next: Next) -> Next {
        let mut findings = Findings::of(Side::Server);
        match &next {
            Some(Ok(frame)) => self.look_at(&mut findings, frame),
            // [REQ-10] A body that ends before its Content-Length gives an error, not an end.
            None => {
                let missing = self.owed.unwrap_or(0);
                findings.check(missing == 0, "REQ-10", || {
                    format!("the request body ended {missing} bytes before its Content-Length")
                });
                self.owed = None;
            }
            Some(Err(_)) => {}
        }
        match self.sink.report(findings.found) {
            Ok(()) => next,
            Err(violation) => Some(Err(RequestBodyError::ServerFault(violation.to_string()))),
        }
    }

    fn look_at(&mut self, findings: &mut Findings, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            // [TRL-01] Trailers come after the end of the body.
            findings.check(!self.trailers, "TRL-01", || "data of the request body after its trailers".into());
            // [REQ-03] The body ends where its Content-Length says, whatever follows on the connection.
            if let Some(owed) = &mut self.owed {
                match owed.checked_sub(data.len() as u64) {
                    Some(rest) => *owed = rest,
                    None => {
                        findings.check(false, "REQ-03", || "the request body is longer than its Content-Length".into());
                        self.owed = None;
                    }
                }
            }
        }
        if let Some(fields) = frame.trailers_ref() {
            self.trailers = true;
            // [TRL-02] Trailer fields for framing, routing, authentication or request control are not delivered.
            for name in fields.keys() {
                findings.check(trailers::is_allowed(name), "TRL-02", || format!("{name} in the request trailers"));
            }
        }
    }
}

impl Source for Watched {
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(self.look(next))
    }

    fn next_frame(mut self: Pin<&mut Self>, _within: Option<Duration>) -> Next {
        // It has a pace of its own.
        let next = self.body.next_frame();
        self.look(next)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
