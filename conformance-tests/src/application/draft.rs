//! The response a script puts together, step by step; the same steps for the async and the blocking face.

use std::io::{Seek, SeekFrom, Write};

use adapter_core::observe::Route;
use adapter_core::{Body, Environ, Error, Outcome, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use http_body::SizeHint;

use super::items::{Items, Stream};
use super::records::{Dropped, Log};
use super::script::Step;
use crate::text;

/// A response under construction.
pub(super) struct Draft {
    response: Response,
    /// The next body made of items panics when it is dropped.
    panic_on_drop: bool,
}

impl Draft {
    pub(super) fn new() -> Self {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(super::MARK, HeaderValue::from_static("1"));
        Draft { response, panic_on_drop: false }
    }

    pub(super) fn finish(self) -> Response {
        self.response
    }

    /// The response so far.
    pub(super) fn response(&mut self) -> &mut Response {
        &mut self.response
    }

    /// Uses `body` for the body.
    pub(super) fn set_body(&mut self, body: Body) {
        *self.response.body_mut() = body;
    }

    fn map_body(&mut self, change: impl FnOnce(Body) -> Body) {
        let body = std::mem::take(self.response.body_mut());
        self.set_body(change(body));
    }

    /// Does `step` if it is about the response; `false` if it is not.
    pub(super) fn step(&mut self, step: &Step, log: &Log, environ: &Environ) -> Result<bool, Error> {
        match step.name.as_str() {
            "status" => *self.response.status_mut() = StatusCode::from_bytes(&step.bytes(0))?,
            "header" => {
                let name = HeaderName::from_bytes(&step.bytes(0))?;
                self.response.headers_mut().append(name, HeaderValue::from_bytes(&step.bytes(1))?);
            }
            "route" => {
                self.response.extensions_mut().insert(Route::from(step.text(0)));
            }
            "version" => {
                *self.response.version_mut() = if step.text(0) == "1.0" { Version::HTTP_10 } else { Version::HTTP_2 };
            }
            "body" => self.set_body(Bytes::from(step.bytes(0)).into()),
            "size" => self.set_body(text::pattern(step.number(0) as usize).into()),
            "iter" => {
                let items = self.items(log, step.rest(0));
                self.set_body(Body::from_iterator(items));
            }
            "stream" => {
                let items = self.items(log, step.rest(0));
                self.set_body(Body::from_http_body(Stream::new(items, environ.runtime().clone())));
            }
            "hinted" => {
                let mut size = SizeHint::new();
                if step.text(1) != "-" {
                    size.set_upper(step.number(1));
                }
                size.set_lower(step.number(0));
                let items = self.items(log, step.rest(2));
                self.set_body(Body::from_http_body(Stream::new(items, environ.runtime().clone()).hint(size)));
            }
            "trailed" => {
                // Its own trailers behind its items: HINT NAME VALUE ITEM...
                let mut trailers = HeaderMap::new();
                trailers.append(HeaderName::from_bytes(&step.bytes(1))?, HeaderValue::from_bytes(&step.bytes(2))?);
                let size = if step.text(0) == "-" { SizeHint::new() } else { SizeHint::with_exact(step.number(0)) };
                let items = self.items(log, step.rest(3));
                let stream = Stream::new(items, environ.runtime().clone()).hint(size).trailers(trailers);
                self.set_body(Body::from_http_body(stream));
            }
            "counted" => {
                // A stream whose hint counts items, not octets: [BOD-17b].
                let items: Vec<Bytes> = vec![Bytes::from_static(b"0123456789"); step.number(0) as usize];
                self.set_body(Body::from_stream(Counted(items.into_iter())));
            }
            "channel" => self.channel(step, log, environ),
            "file" => self.file(step)?,
            "path" => self.set_body(Body::from_path(step.text(0))?),
            "trailers" => {
                let mut trailers = HeaderMap::new();
                for pair in (0..step.len()).step_by(2) {
                    let name = HeaderName::from_bytes(&step.bytes(pair))?;
                    trailers.append(name, HeaderValue::from_bytes(&step.bytes(pair + 1))?);
                }
                self.map_body(|body| body.with_trailers(trailers));
            }
            "hook" => {
                let log = log.clone();
                self.map_body(|body| {
                    body.on_finish(move |outcome, bytes| {
                        let outcome = if outcome == Outcome::Complete { "complete" } else { "aborted" };
                        log.record(format!("hook {outcome} {bytes}"));
                    })
                });
            }
            "hook-panic" => self.map_body(|body| body.on_finish(|_, _| super::panic("in a hook"))),
            "body-drop-panic" => self.panic_on_drop = true,
            "extension-drop-panic" => {
                let mut guard = Dropped::new(log, "extension-dropped");
                guard.panics();
                self.response.extensions_mut().insert(std::sync::Arc::new(guard));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn items(&mut self, log: &Log, words: &[String]) -> Items {
        let mut items = Items::new(log, words);
        if std::mem::take(&mut self.panic_on_drop) {
            items.panic_on_drop();
        }
        items
    }

    /// `channel CAPACITY thread|task ITEMS`: fed by a thread of nobody's, or by a spawned task.
    fn channel(&mut self, step: &Step, log: &Log, environ: &Environ) {
        let (sender, body) = Body::channel(step.number(0) as usize);
        let items = self.items(log, step.rest(2));
        if step.text(1) == "thread" {
            // The thread ends with its items, or when the body is dropped.
            std::thread::spawn(move || items.feed_blocking(sender));
        } else {
            environ.runtime().spawn(items.feed(sender, environ.clone())).detach();
        }
        self.set_body(body);
    }

    /// `file SIZE OFFSET START END [NAME]`: a file of the pattern with its offset at OFFSET, and the range START..END of
    /// it, `-` for unbounded. With a name, the file is to be found by it among the open files of the process.
    fn file(&mut self, step: &Step) -> Result<(), Error> {
        let named = if step.len() > 4 { format!("conformance-{}-", step.text(4)) } else { "conformance-".into() };
        let mut file = tempfile::Builder::new().prefix(&named).tempfile()?.into_file();
        file.write_all(&text::pattern(step.number(0) as usize))?;
        file.seek(SeekFrom::Start(step.number(1)))?;
        let body = match (step.text(2).parse::<u64>(), step.text(3).parse::<u64>()) {
            (Ok(start), Ok(end)) => Body::from_file(file, start..end),
            (Ok(start), Err(_)) => Body::from_file(file, start..),
            (Err(_), Ok(end)) => Body::from_file(file, ..end),
            (Err(_), Err(_)) => Body::from_file(file, ..),
        }?;
        self.set_body(body);
        Ok(())
    }
}

/// A stream whose `size_hint` is exact and counts items.
struct Counted(std::vec::IntoIter<Bytes>);

impl futures_lite::Stream for Counted {
    type Item = Bytes;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Bytes>> {
        std::task::Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
