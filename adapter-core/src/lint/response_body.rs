//! How the application fills its body, and how the server pulls it. \[BOD\], \[FRM-03a\], \[FRM-04a\], \[TRL-04\]

use bytes::Bytes;
use http::{HeaderMap, header, response};
use http_body::Frame;

use super::response::{Asked, declared_length};
use super::{Findings, Side, Sink};
use crate::body::{Body, Inspect};
use crate::error::Error;
use crate::rules::{list_members, trailers};

/// `body`, of the same kind, with each frame looked at.
pub(super) fn watch(body: Body, head: &response::Parts, asked: &Asked, sink: Sink) -> Body {
    let withheld = asked.withheld(head.status);
    let promised = body.len();
    // What is known to disagree has been reported with the head.
    let declared = declared_length(&head.headers).filter(|_| promised.is_none());
    let announced = announced(&head.headers, body.trailers());
    body.inspect(Watched { sink, withheld, declared, promised, announced, count: 0, over: false })
}

/// The trailers the client is told of: the names in Trailer, and those the server can see and announce itself.
fn announced(headers: &HeaderMap, known: Option<&HeaderMap>) -> Vec<Vec<u8>> {
    let members = headers.get_all(header::TRAILER).into_iter().flat_map(list_members);
    let known = known.into_iter().flat_map(HeaderMap::keys).map(|name| name.as_str().as_bytes());
    members.chain(known).map(<[u8]>::to_ascii_lowercase).collect()
}

struct Watched {
    sink: Sink,
    /// The rule by which the body is not asked for anything.
    withheld: Option<&'static str>,
    /// Content-Length.
    declared: Option<u64>,
    /// What the body said it would give.
    promised: Option<u64>,
    announced: Vec<Vec<u8>>,
    count: u64,
    /// An end or an error has come.
    over: bool,
}

impl Inspect for Watched {
    fn seen(&mut self, next: Option<&Result<Frame<Bytes>, Error>>) -> Result<(), Error> {
        let mut server = Findings::of(Side::Server);
        let mut application = Findings::of(Side::Application);

        // [BOD-13] A body is not asked for an item after it has ended or failed.
        server.check(!self.over, "BOD-13", || "the body was asked for an item after its end".into());
        // [NOB-03], [NOB-05], [NOB-06a], [NOB-10] A body that is not sent is dropped unread. Told once.
        if let Some(requirement) = self.withheld.take() {
            server.check(false, requirement, || "a body that is not sent was asked for an item".into());
        }

        match next {
            Some(Ok(frame)) => self.look_at(&mut application, frame),
            Some(Err(_)) => self.over = true,
            None if !self.over => {
                self.over = true;
                self.look_at_end(&mut application);
            }
            None => {}
        }
        server.found.append(&mut application.found);
        self.sink.report(server.found).map_err(|violation| {
            self.over = true;
            Error::new(violation)
        })
    }
}

impl Watched {
    fn look_at(&mut self, findings: &mut Findings, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.count += data.len() as u64;
            let count = self.count;
            // [FRM-03a] Not more octets than Content-Length says. Told once.
            if self.declared.is_some_and(|declared| count > declared) {
                self.declared = None;
                findings.check(false, "FRM-03a", || "the body is longer than its Content-Length".into());
            }
            // [BOD-17b] A length that a body gives as exact is exact. Told once.
            if self.promised.is_some_and(|promised| count > promised) {
                self.promised = None;
                findings.check(false, "BOD-17b", || "the body is longer than the length it gave as exact".into());
            }
        }
        // [TRL-04] Trailers are named in Trailer, and are fields that may stand there.
        for name in frame.trailers_ref().into_iter().flat_map(HeaderMap::keys) {
            findings.check(trailers::is_allowed(name), "TRL-04", || format!("{name} in the trailers; it is not sent"));
            let announced = self.announced.iter().any(|known| known == name.as_str().as_bytes());
            findings.check(announced, "TRL-04", || format!("the trailer {name} is not named in Trailer"));
        }
    }

    fn look_at_end(&mut self, findings: &mut Findings) {
        let count = self.count;
        // [FRM-04a] Not fewer octets than Content-Length says.
        findings.check(self.declared.is_none_or(|declared| count >= declared), "FRM-04a", || {
            "the body is shorter than its Content-Length".into()
        });
        // [BOD-17b]
        findings.check(self.promised.is_none_or(|promised| count >= promised), "BOD-17b", || {
            "the body is shorter than the length it gave as exact".into()
        });
    }
}
