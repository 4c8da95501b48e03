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

#[cfg(test)]
mod tests {
    use adapter_core::http::{Method, Request, StatusCode, header};
    use adapter_core::rules::request::{Facts, check};
    use adapter_core::rules::response::plan;
    use adapter_core::{Limits, Response};

    use super::*;

    fn encoded(
        status: StatusCode,
        method: Method,
        length: Option<u64>,
        fields: &[(&'static str, &'static str)],
    ) -> String {
        let request = Request::builder().method(method).uri("/").header(header::HOST, "a").body(()).unwrap();
        let facts: Facts = check(&request.into_parts().0, &Limits::default()).unwrap();
        let (mut head, _) = Response::new(adapter_core::Body::empty()).into_parts();
        head.status = status;
        let planned = plan(&mut head, length, &facts).unwrap();
        for (name, value) in fields {
            head.headers.append(*name, header::HeaderValue::from_static(value));
        }
        let mut out = Vec::new();
        encode(Form::Cgi, &head, &planned, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Of a response there is one length, and nothing of the connection, which is the web server's.
    #[test]
    fn the_connection_is_the_web_servers() {
        for own in [("connection", "close"), ("transfer-encoding", "chunked"), ("status", "404")] {
            let said = encoded(StatusCode::OK, Method::GET, Some(3), &[own, ("x-other", "a")]);
            assert_eq!(said, "Status: 200 OK\r\nx-other: a\r\ncontent-length: 3\r\n\r\n");
        }
        let open = encoded(StatusCode::OK, Method::GET, None, &[("content-length", "5")]);
        assert_eq!(open, "Status: 200 OK\r\n\r\n", "a body is as long as it is");
    }

    /// \[NOB-06\]
    #[test]
    fn the_length_of_what_is_not_sent_is_told() {
        for (status, method) in [(StatusCode::NOT_MODIFIED, Method::GET), (StatusCode::OK, Method::HEAD)] {
            let said = encoded(status, method, None, &[("content-length", "5")]);
            assert!(said.ends_with("\r\ncontent-length: 5\r\n\r\n"), "{said}");
        }
    }
}
