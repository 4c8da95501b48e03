//! What the server delivers: request head and environ. \[TGT\], \[HDR\], \[ENV\], \[INF-01\]

use http::uri::Scheme;
use http::{Method, Version, header, request};

use super::{Findings, Side, Violation};
use crate::config::{Limits, ListenAddr};
use crate::environ::{Environ, INTERFACE_VERSION};
use crate::request_body::RequestBody;
use crate::rules;

/// All violations of the server that can be seen before the application is called.
pub(super) fn check(head: &request::Parts, body: &RequestBody, environ: &Environ) -> Vec<Violation> {
    let mut findings = Findings::of(Side::Server);
    check_head(&mut findings, head, body);
    check_connection(&mut findings, environ);
    check_services(&mut findings, head, environ);
    findings.found
}

fn check_head(findings: &mut Findings, head: &request::Parts, body: &RequestBody) {
    // [ENV-04] The server reports the HTTP version of the request.
    let known = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];
    findings.check(known.contains(&head.version), "ENV-04", || format!("the version is {:?}", head.version));

    // [TGT-27] The target is in origin-form or asterisk-form, save for CONNECT in authority-form.
    let bare = head.uri.scheme().is_none() && head.uri.authority().is_none();
    findings.check(bare || head.method == Method::CONNECT, "TGT-27", || {
        format!("the target {} has scheme or authority", head.uri)
    });

    // [HDR-06] to [HDR-08a], [TGT-13] to [TGT-16], [REQ-22a] to [REQ-26], [EXP-04]: what must be refused is not
    // delivered. Limits are the server's own and not known here.
    let limits = Limits { target_bytes: usize::MAX, header_count: usize::MAX, body_bytes: None, ..Limits::default() };
    // An extended CONNECT (RFC 8441 §4) is delivered like any other request, without the authority that CONNECT needs.
    if bare && head.method != Method::CONNECT {
        let refused = rules::request::check(head, &limits).err();
        if let Some(rejection) = refused {
            findings.check(false, rejection.requirement, || format!("delivered, though {}", rejection.reason));
        }
    }

    // [HDR-20] The crumbs of HTTP/2 are one field.
    let cookies = head.headers.get_all(header::COOKIE).iter().count();
    findings.check(head.version < Version::HTTP_2 || cookies < 2, "HDR-20", || format!("{cookies} Cookie fields"));

    // [REQ-06] A known length of the request body is reported as a number. With Transfer-Encoding it is not known.
    let declared = declared_length(head);
    findings.check(declared.is_none() || declared == body.len(), "REQ-06", || {
        format!("Content-Length is {declared:?} and the body says {:?}", body.len())
    });
}

/// The length the head gives the body, if it does.
pub(super) fn declared_length(head: &request::Parts) -> Option<u64> {
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    rules::request::parse_length(head.headers.get(header::CONTENT_LENGTH)?.as_bytes())
}

fn check_connection(findings: &mut Findings, environ: &Environ) {
    // What a trusted proxy said need not agree with the connection. [HDR-17b]
    let own = !environ.is_forwarded() && !environ.is_announced();
    let (scheme, tls) = (environ.scheme(), environ.tls().is_some());

    // [ENV-01] The scheme is that of the last hop: https under TLS and http otherwise.
    let expected = if tls { Scheme::HTTPS } else { Scheme::HTTP };
    findings.check(*scheme == Scheme::HTTP || *scheme == Scheme::HTTPS, "ENV-01", || format!("the scheme is {scheme}"));
    findings.check(!tls || !own || *scheme == expected, "ENV-01", || format!("the scheme is {scheme} under TLS"));

    // [ENV-12] Facts about TLS are absent for a connection without TLS.
    findings.check(!tls || !own || *scheme != Scheme::HTTP, "ENV-12", || "TLS facts without TLS".into());

    let peer = environ.peer_addr();
    match environ.local_addr() {
        ListenAddr::Tcp(local) => {
            // [ENV-02a] The address and port of the peer of a TCP connection are reported.
            let known = peer.is_some_and(|peer| peer.port() != 0 && !peer.ip().is_unspecified());
            findings.check(known || !own, "ENV-02a", || format!("the peer of a TCP connection is {peer:?}"));
            // [ENV-03] The local address of the connection is reported with its actual port.
            let actual = local.port() != 0 && !local.ip().is_unspecified();
            findings.check(actual || environ.is_announced(), "ENV-03", || format!("the local address is {local}"));
        }
        // [ENV-02b] No peer address for a connection over a Unix-domain socket.
        ListenAddr::Unix(_) => {
            findings.check(peer.is_none() || !own, "ENV-02b", || format!("the peer of a Unix socket is {peer:?}"));
        }
    }
}

fn check_services(findings: &mut Findings, head: &request::Parts, environ: &Environ) {
    // [ENV-05a] The mount prefix is empty, or begins with "/" and does not end with it.
    let prefix = environ.mount_prefix();
    let formed = prefix.is_empty() || (prefix.starts_with('/') && !prefix.ends_with('/'));
    findings.check(formed, "ENV-05a", || format!("the mount prefix is {prefix:?}"));

    // [ENV-05b] Prefix and rest, put together, are the raw path where it lies below the prefix.
    let path = head.uri.path();
    let rest = environ.path_info(path);
    findings.check(rest == path || format!("{prefix}{rest}") == path, "ENV-05b", || {
        format!("{prefix:?} and {rest:?} are not {path:?}")
    });

    // [ENV-06] The version of the interface, the server's name and its capabilities are reported.
    findings.check(!environ.server().name.is_empty(), "ENV-06", || "the server has no name".into());
    findings.check(environ.interface_version() == INTERFACE_VERSION, "ENV-06", || {
        format!("the interface is {}", environ.interface_version())
    });
    // [LIF-05] The bound addresses are known, and so is the runtime.
    findings
        .check(environ.server().runtime.is_some(), "LIF-05", || "`server()` is not the server as it listens".into());

    // [ENV-11] The instant lies between the arrival of the head and the call of the application.
    findings
        .check(environ.received_at() <= environ.runtime().now(), "ENV-11", || "the request began in the future".into());

    // [INF-01] Early hints are there exactly where the capability is declared for the request's version.
    let there = environ.early_hints().is_some();
    let capabilities = environ.server().capabilities;
    let declared = match head.version {
        Version::HTTP_11 => capabilities.early_hints,
        Version::HTTP_2 => capabilities.early_hints_http2,
        _ => false,
    };
    findings.check(there == declared, "INF-01", || format!("early_hints() is there: {there}, declared: {declared}"));
}
