//! The async face: runs the steps of a script in order, then answers.
//!
//! Reading: `read` (to the end or an error), `read?` (an error becomes the handler's), `chunk` (one piece),
//! `chunks N` (until N octets), `length`, `drop-request`. Ending: `error TEXT`, `error-chain TEXT…`, `error-status CODE TEXT`, `panic`,
//! `drop-panic` (the drop of the handler panics), `pending`. The rest is in `draft`, `takeover` and `services`.

use adapter_core::{Body, Environ, Error, Request, RequestBody, RequestBodyError, Response};
use http::StatusCode;

use super::draft::Draft;
use super::records::{Dropped, Log};
use super::script::Step;
use super::takeover::{self, Taken};
use super::{script, services};
use crate::text;

/// Octets of a body that are recorded as they are; of longer ones only length and checksum.
const RECORDED: usize = 512;

/// A body seen piece by piece.
pub(super) struct Sum {
    length: u64,
    sum: u32,
    first: Vec<u8>,
}

impl Sum {
    pub(super) fn new() -> Self {
        Sum { length: 0, sum: 0, first: Vec::new() }
    }

    pub(super) fn add(&mut self, chunk: &[u8]) {
        self.length += chunk.len() as u64;
        self.sum = text::checksum(self.sum, chunk);
        let room = RECORDED.saturating_sub(self.first.len());
        self.first.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }

    /// Records what was read.
    pub(super) fn record(&self, log: &Log) {
        log.record(format!("read-data {}", text::encode(&self.first)));
    }

    /// Records what was read, and that it was all.
    pub(super) fn end(&self, log: &Log) {
        self.record(log);
        log.record(format!("read-end {} {:08x}", self.length, self.sum));
    }
}

/// The name of the kind of a read error.
pub(super) fn kind(error: &RequestBodyError) -> &'static str {
    match error {
        RequestBodyError::Disconnected => "disconnected",
        RequestBodyError::Malformed(_) => "malformed",
        RequestBodyError::TooLarge { .. } => "too-large",
        RequestBodyError::TimedOut => "timed-out",
        _ => "other",
    }
}

/// Reads to the end, recording it.
pub(super) async fn read(body: &mut RequestBody, log: &Log) -> Result<(), RequestBodyError> {
    let mut sum = Sum::new();
    while let Some(chunk) = body.chunk().await {
        match chunk {
            Ok(chunk) => sum.add(&chunk),
            Err(error) => {
                sum.record(log);
                log.record(format!("read-error {}", kind(&error)));
                return Err(error);
            }
        }
    }
    sum.end(log);
    for (name, value) in body.trailers().into_iter().flatten() {
        log.record(format!("trailer {} {}", text::encode(name), text::encode(value)));
    }
    Ok(())
}

/// Reads pieces until `wanted` octets came, an end or an error; at least one piece.
async fn chunks(body: &mut RequestBody, wanted: u64, log: &Log) {
    let mut sum = Sum::new();
    loop {
        match body.chunk().await {
            Some(Ok(chunk)) => sum.add(&chunk),
            Some(Err(error)) => return log.record(format!("read-error {}", kind(&error))),
            None => return sum.end(log),
        }
        if sum.length >= wanted {
            sum.record(log);
            return log.record(format!("chunk {}", sum.length));
        }
    }
}

/// Serves one request.
pub(super) async fn run(log: Log, mut request: Request, environ: Environ) -> Result<Response, Error> {
    let mut guard = Dropped::new(&log, "handler-cancelled").of(&environ);
    let steps = script::parse(&super::field(request.headers(), super::DO).unwrap_or_default());
    let mut draft = Draft::new();
    for step in &steps {
        match step.name.as_str() {
            "read" => drop(read(request.body_mut(), &log).await),
            "read?" => read(request.body_mut(), &log).await?,
            "chunk" => chunks(request.body_mut(), 1, &log).await,
            "chunks" => chunks(request.body_mut(), step.number(0), &log).await,
            "bare" => {}
            "length" => length(&log, request.body().len()),
            "drop-request" => drop(std::mem::take(request.body_mut())),
            "echo" => draft.set_body(Body::from(std::mem::take(request.body_mut()))),
            "read-later" => {
                let (mut body, log) = (std::mem::take(request.body_mut()), log.clone());
                let gate = step.text(0);
                let later = async move {
                    log.gate(&gate).await;
                    let _ = read(&mut body, &log).await;
                };
                environ.runtime().spawn(later).detach();
            }
            "error" => return Err(Error::new(step.text(0))),
            "error-chain" => return Err(Error::new(Caused::chain(step))),
            "error-status" => {
                let status = StatusCode::from_bytes(&step.bytes(0))?;
                return Err(Error::new(step.text(1)).with_status(status));
            }
            "panic" => super::panic(&step.text(0)),
            "drop-panic" => guard.panics(),
            "pending" => std::future::pending().await,
            "middleware" => {
                let value = request.extensions().get::<super::MiddlewareValue>().map_or("none", |value| value.0);
                log.record(format!("middleware-value {value}"));
            }
            "extension" => {
                request.extensions_mut().insert(crate::setting::Deployed("left behind".into()));
            }
            _ if draft.step(step, &log, &environ)? => {}
            _ => {
                let taken = takeover::step(step, &log, &request, &environ, &mut draft)?;
                if let Taken::Answer(response) = taken {
                    guard.becomes("handler-returned");
                    return Ok(response);
                }
                if matches!(taken, Taken::No) && !services::step(step, &log, &environ).await? {
                    super::panic(&format!("unknown step {}", step.name))
                }
            }
        }
    }
    guard.becomes("handler-returned");
    Ok(draft.finish())
}

/// An error with a chain of causes.
#[derive(Debug)]
pub(super) struct Caused {
    text: String,
    cause: Option<Box<Caused>>,
}

impl Caused {
    /// One error for each argument, caused by the next.
    pub(super) fn chain(step: &Step) -> Box<dyn std::error::Error + Send + Sync> {
        let mut chain: Option<Box<Caused>> = None;
        for index in (0..step.len()).rev() {
            chain = Some(Box::new(Caused { text: step.text(index), cause: chain.take() }));
        }
        chain.map_or_else(|| "conformance: an error without a text".into(), |error| error as _)
    }
}

impl std::fmt::Display for Caused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Caused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

/// Records a length.
pub(super) fn length(log: &Log, length: Option<u64>) {
    log.record(length.map_or("length unknown".to_owned(), |length| format!("length {length}")));
}
