//! What a broken server does with interim responses of HTTP/2.

use std::future::poll_fn;
use std::task::Poll;

use adapter_core::Application;

use crate::fault::{Base, Fault};
use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2Frame};
use crate::http2_faults::down;
use crate::proxy::{Flow, has};
use crate::upload_faults::poll;

/// A field that is not in a table and does not get there (RFC 7541 §6.2.2): ":status" is number 8.
const CONTINUE: &[u8] = b"\x08\x03100";
const HINT: &[u8] = b"\x08\x03103";

/// Whether a frame is the head of a response that is no interim one: those have no Date, and are short.
fn is_final(frame: &Http2Frame) -> bool {
    frame.kind == HEADERS && frame.payload.len() > 30
}

/// Puts an interim response in front of each final one.
fn precede(flow: &mut Flow, data: &mut Vec<u8>, block: &[u8]) {
    down(flow, data, |frames| {
        if is_final(&frames[0]) {
            frames.insert(0, Http2Frame::new(HEADERS, END_HEADERS, frames[0].stream, block));
        }
    });
}

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new("http2_continue_is_lost", &["http2_interim::continue_on_first_read"]).on(Base::Hyper).down(
        |flow, data| {
            down(flow, data, |frames| {
                if frames[0].kind == HEADERS && frames[0].flags & END_STREAM == 0 && !is_final(&frames[0]) {
                    frames.clear();
                }
            });
        },
    ),
    Fault::new(
        "http2_bodies_are_read_unasked",
        &["http2_interim::continue_on_first_read", "http2_interim::no_continue_without_a_read"],
    )
    .on(Base::Hyper)
    .call(|application, mut request, environ| {
        Box::pin(async move {
            // What has come is lost, which nobody has to notice here.
            poll_fn(|cx| Poll::Ready(poll(request.body_mut(), cx).is_ready())).await;
            application.call(request, environ).await
        })
    }),
    Fault::new(
        "http2_always_says_continue",
        &["http2_interim::no_continue_after_the_body_came", "http2_interim::no_continue_without_a_read"],
    )
    .on(Base::Hyper)
    .down(|flow, data| precede(flow, data, CONTINUE)),
    Fault::new("http2_hints_have_lengths", &["http2_interim::fields_of_hints_are_checked"]).on(Base::Hyper).down(
        |flow, data| {
            if has(&flow.sent, b"hints content-length") {
                precede(flow, data, &[HINT, b"\0\x0econtent-length\x015"].concat());
            }
        },
    ),
    Fault::new("http2_hints_come_late", &["http2_interim::late_hints_are_nothing"]).on(Base::Hyper).down(
        |flow, data| {
            if has(&flow.sent, b"spawn-hints") {
                down(flow, data, |frames| {
                    if frames[0].kind == DATA && frames[0].payload == b"a" {
                        frames.push(Http2Frame::new(HEADERS, END_HEADERS, frames[0].stream, HINT));
                    }
                });
            }
        },
    ),
];
