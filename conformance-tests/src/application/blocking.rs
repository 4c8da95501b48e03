//! The blocking face: a script that begins with the step `blocking` runs as a blocking application.
//!
//! Its steps: `read`, `read?`, `chunk` (through `std::io::Read`), `length`, `gate`, `sleep`, `disconnected?`, `error`,
//! `error-chain`, `panic`, `echo`, and those of `draft` and `takeover`.

use std::io::Read;
use std::time::Duration;

use adapter_core::{BlockingBody, Body, Environ, Error, Request, RequestBodyError, Response};

use super::draft::Draft;
use super::handler::{self, Sum};
use super::records::{Dropped, Log};
use super::script;
use super::takeover::{self, Taken};

/// Serves one request on a thread that may block.
pub(super) fn run(mut request: Request<BlockingBody>, environ: Environ) -> Result<Response, Error> {
    let log = request.extensions_mut().remove::<Log>().ok_or("conformance: a blocking call without its log")?;
    let mut guard = Dropped::new(&log, "handler-panicked");
    let steps = script::parse(&super::field(request.headers(), super::DO).unwrap_or_default());
    let mut draft = Draft::new();
    for step in &steps {
        match step.name.as_str() {
            "bare" => {}
            "blocking" => log.record("blocking"),
            "read" => drop(read(request.body_mut(), &log, usize::MAX)),
            "read?" => read(request.body_mut(), &log, usize::MAX)?,
            "chunk" => drop(read(request.body_mut(), &log, 1)),
            "length" => handler::length(&log, request.body().len()),
            "gate" => log.gate_blocking(&step.text(0)),
            "sleep" => std::thread::sleep(Duration::from_millis(step.number(0))),
            "disconnected?" => log.record(format!("flag {}", environ.is_disconnected())),
            "until-disconnected" => {
                // The flag is what blocking code has; asking it now and then is how it is used.
                while !environ.is_disconnected() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                log.record("flag true");
            }
            "error" => {
                guard.becomes("handler-returned");
                return Err(Error::new(step.text(0)));
            }
            "error-chain" => {
                guard.becomes("handler-returned");
                return Err(Error::new(handler::Caused::chain(step)));
            }
            "panic" => super::panic(&step.text(0)),
            "echo" => draft.set_body(Body::from(std::mem::take(request.body_mut()))),
            _ if draft.step(step, &log, &environ)? => {}
            unknown => match takeover::step(step, &log, &request, &environ, &mut draft)? {
                Taken::Answer(response) => {
                    guard.becomes("handler-returned");
                    return Ok(response);
                }
                Taken::GoOn => {}
                Taken::No => super::panic(&format!("unknown blocking step {unknown}")),
            },
        }
    }
    guard.becomes("handler-returned");
    Ok(draft.finish())
}

/// Reads with `std::io::Read` up to the end or `limit` octets, recording it.
fn read(body: &mut BlockingBody, log: &Log, limit: usize) -> Result<(), Error> {
    let mut sum = Sum::new();
    let mut buffer = vec![0; 16 * 1024];
    let mut total = 0;
    while total < limit {
        let room = buffer.len().min(limit - total);
        match body.read(&mut buffer[..room]) {
            Ok(0) => {
                sum.end(log);
                return Ok(());
            }
            Ok(count) => {
                sum.add(&buffer[..count]);
                total += count;
            }
            Err(error) => {
                sum.record(log);
                let kind = error.get_ref().and_then(|inner| inner.downcast_ref::<RequestBodyError>());
                log.record(format!("read-error {}", kind.map_or("other", handler::kind)));
                return Err(error.into());
            }
        }
    }
    sum.record(log);
    log.record(format!("chunk {total}"));
    Ok(())
}
