//! From a parsed head to a call of the application. \[ENV-08\], \[ENV-11\], \[INF-01\], \[REQ-04\]

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use adapter_core::dispatch::Exchange;
use adapter_core::refused::Asked;
use adapter_core::rules::Rejection;
use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::{Environ, RequestBody};
use adapter_http1::buffers::COPY;
use adapter_http1::head::Head;
use bytes::Bytes;
use http::{Request, StatusCode, Version};

use super::drive::{Flow, Handling, Phase, Task};
use super::hints::Template;
use super::io::Scratch;
use super::request_body::{BodySource, Incoming};
use super::{Conn, bit, response, upgrade};
use crate::engine::lock;

/// Calls the application with the request that has waited for a permit.
pub(super) fn call_ready(conn: &Arc<Conn>, task: &mut Task, scratch: &mut Scratch) -> Flow {
    match std::mem::replace(&mut task.phase, Phase::Head) {
        Phase::Ready(slot) => call(conn, task, scratch, slot),
        _ => Flow::Next,
    }
}

/// Calls the application and polls it once: most handlers are ready then. Needs a permit.
#[inline]
pub(super) fn call(conn: &Arc<Conn>, task: &mut Task, scratch: &mut Scratch, mut slot: Box<Option<Head>>) -> Flow {
    let Some(head) = slot.take() else { return Flow::Next };
    scratch.slot = Some(slot);
    let engine = &conn.engine;
    let facts = head.facts;
    let mut io = lock(&conn.io);
    io.request += 1;
    io.committed = false;
    let number = io.request;
    let body = match facts.body {
        // [REQ-04]
        BodyLength::Sized(0) => RequestBody::empty(),
        // All of it is here: most bodies of forms and calls.
        BodyLength::Sized(length)
            if !facts.expects_continue && length <= COPY as u64 && length <= io.input.bytes().len() as u64 =>
        {
            let length = length as usize;
            let data = Bytes::copy_from_slice(io.input.bytes().get(..length).unwrap_or_default());
            io.input.consume(length);
            RequestBody::from(data)
        }
        length => {
            let limit = engine.settings.limits.body_bytes;
            io.incoming = Some(Box::new(Incoming::new(length, limit, facts.expects_continue)));
            conn.set(bit::BODY_OPEN);
            RequestBody::from_source(BodySource::new(conn.clone(), number, length))
        }
    };
    if !io.output.is_empty() {
        // Answers to earlier requests of a pipeline.
        conn.cork();
    }
    drop(io);

    let received_at = task.clock.take().unwrap_or_else(Instant::now);
    // [INF-01], [INF-02] RFC 9110 §15.2: no 1xx to a 1.0 client
    let environ = if facts.version == Version::HTTP_11 {
        Template::environ(&mut task.template, conn, number, received_at)
    } else {
        Environ::new(conn.environ.clone(), received_at)
    };
    let mut environ = environ.with_forwarded(&head.parts.headers);
    if let Some(offer) = upgrade::offer(task, &facts) {
        environ = environ.with_upgrade(offer);
    }
    let request = Request::from_parts(head.parts, body);
    let limit = engine.settings.timeouts.handler;
    let mut exchange = Exchange::begin(&engine.application, request, environ, facts, limit, received_at);
    let waker = Waker::from(conn.clone());
    let mut answer = None;
    if exchange.poll(&mut Context::from_waker(&waker), Instant::now, &mut answer).is_pending() {
        task.phase = Phase::Handling(Box::new(Handling { exchange, woken: false }));
        return Flow::Next;
    }
    drop(exchange);
    response::begin(conn, task, scratch, answer.expect("invariant: ready means that there is an answer"), facts);
    Flow::Next
}

impl Conn {
    /// \[CON-05\] there is no thread for its request, and no place in the line: 503. Called instead of a run.
    pub(crate) fn refuse(self: &Arc<Self>, scratch: &mut Scratch) {
        const BUSY: Rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "CON-05", "the server is busy");
        let mut task = lock(&self.task);
        if let Phase::Ready(slot) = &task.phase
            && let Some(head) = &**slot
        {
            tracing::warn!(target: "adapter", "no thread is free and no place to wait; answered 503");
            self.environ.refused(&BUSY, Asked::Head(&head.parts));
            let facts = Facts::of_rejected(&head.parts);
            task.phase = Phase::Head;
            response::begin(self, &mut task, scratch, BUSY.response(), facts);
        }
        lock(&self.io).settle(scratch);
        drop(task);
        // It is marked as queued, but is not.
        self.clear(bit::QUEUED | bit::UNBEGUN);
        self.wake_up(0);
    }
}
