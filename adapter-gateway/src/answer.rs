//! The head of a response in the form of CGI, RFC 3875 §6, or nearly in that of HTTP.

use adapter_core::rules::response::{Framing, Plan};
use http::{header, response};

use crate::framing::Form;

/// Appends `head`, which is sendable, as `plan` has its body sent.
pub(crate) fn encode(form: Form, head: &response::Parts, plan: &Plan, out: &mut Vec<u8>) {
    // Without a phrase nginx leaves out the space before it, which RFC 9112 §4 wants.
    let reason = head.status.canonical_reason().unwrap_or("Unknown");
    let begin = if form == Form::Cgi { "Status:" } else { "HTTP/1.1" };
    out.extend_from_slice(format!("{begin} {} {reason}\r\n", head.status.as_u16()).as_bytes());
    for (name, value) in &head.headers {
        // RFC 3875 §6.3.3: it would be the status, for nginx in either form
        if name == "status" {
            tracing::error!(target: "adapter", "a field called Status can't be sent through a gateway (RFC 3875 6.3.3)");
            continue;
        }
        // What is between the web server and its client is its own.
        if *name == header::CONNECTION || *name == header::TRANSFER_ENCODING || *name == header::CONTENT_LENGTH {
            continue;
        }
        field(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    let declared = head.headers.get(header::CONTENT_LENGTH).filter(|_| !plan.send_body);
    match (plan.framing, declared) {
        (Framing::Length(length), _) => field(b"content-length", length.to_string().as_bytes(), out),
        // [NOB-06] of a 304, or an answer to HEAD
        (_, Some(length)) => field(b"content-length", length.as_bytes(), out),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
}

fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
