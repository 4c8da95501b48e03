//! What the application returns: the response head, and what its body says of itself. \[RSP\], \[NOB\], \[FRM\]

use std::time::SystemTime;

use http::header::{self, HeaderName};
use http::{HeaderMap, Method, StatusCode, Version, request, response};

use super::{Findings, Side, Violation};
use crate::body::Body;
use crate::rules::request::parse_length;
use crate::rules::response::is_hop_by_hop;
use crate::rules::{list_members, trailers};

/// What the response answers.
pub(super) struct Asked {
    head: bool,
    connect: bool,
    upgrade: bool,
}

impl Asked {
    pub(super) fn of(head: &request::Parts) -> Self {
        Asked {
            head: head.method == Method::HEAD,
            connect: head.method == Method::CONNECT,
            upgrade: head.version == Version::HTTP_11 && head.headers.contains_key(header::UPGRADE),
        }
    }

    /// The rule by which no byte of the body goes out and the body is not asked for one.
    pub(super) fn withheld(&self, status: StatusCode) -> Option<&'static str> {
        match status.as_u16() {
            204 => Some("NOB-05"),
            205 => Some("NOB-10"),
            304 => Some("NOB-06a"),
            100..=199 => Some("UPG-18"),
            200..=299 if self.connect => Some("TGT-15b"),
            _ if self.head => Some("NOB-03"),
            _ => None,
        }
    }
}

/// All violations of the application that can be seen before its body is pulled.
pub(super) fn check(head: &response::Parts, body: &Body, asked: &Asked) -> Vec<Violation> {
    let mut findings = Findings::of(Side::Application);
    check_status(&mut findings, head, body, asked);
    check_length(&mut findings, head, body, asked);
    check_fields(&mut findings, head.status, &head.headers);
    check_trailers(&mut findings, &head.headers, body);
    findings.found
}

fn check_status(findings: &mut Findings, head: &response::Parts, body: &Body, asked: &Asked) {
    let status = head.status.as_u16();

    // [NOB-08] A 1xx status is no final status, except the 101 of an upgrade.
    let switching = status == 101 && asked.upgrade;
    findings.check(status >= 200 || switching, "NOB-08", || format!("{status} as the final status"));

    // [NOB-05], [NOB-06a], [NOB-10] A 204, 304 or 205 has no body.
    let bodiless = match status {
        204 => Some("NOB-05"),
        205 => Some("NOB-10"),
        304 => Some("NOB-06a"),
        _ => None,
    };
    if let Some(requirement) = bodiless {
        let has_body = body.len().is_some_and(|length| length > 0);
        findings.check(!has_body, requirement, || format!("a {status} with a body; it is not sent"));
    }

    // [NOB-05] A 204 has no Content-Length.
    let has_length = head.headers.contains_key(header::CONTENT_LENGTH);
    findings.check(status != 204 || !has_length, "NOB-05", || "a 204 with Content-Length; it is not sent".into());

    // [NOB-09] A Content-Type on a 204 or 304 response is reported.
    let has_type = head.headers.contains_key(header::CONTENT_TYPE);
    findings.check(!matches!(status, 204 | 304) || !has_type, "NOB-09", || format!("a {status} with Content-Type"));
}

/// Content-Length, if it is one number.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).into_iter();
    let length = parse_length(values.next()?.as_bytes())?;
    values.next().is_none().then_some(length)
}

fn check_length(findings: &mut Findings, head: &response::Parts, body: &Body, asked: &Asked) {
    let count = head.headers.get_all(header::CONTENT_LENGTH).into_iter().count();
    if count == 0 {
        return;
    }
    // [FRM-06] Content-Length is one number.
    let Some(declared) = declared_length(&head.headers) else {
        findings.check(false, "FRM-06", || format!("{count} Content-Length fields, or one that is no number"));
        return;
    };
    if asked.withheld(head.status).is_some() {
        return; // [NOB-06b], [NOB-11] says what another response would have
    }
    // [FRM-03a], [FRM-04a] A body is as long as its Content-Length.
    if let Some(length) = body.len() {
        let text = || format!("Content-Length is {declared} and the body has {length} bytes");
        findings.check(length <= declared, "FRM-03a", text);
        findings.check(length >= declared, "FRM-04a", text);
    }
}

fn check_fields(findings: &mut Findings, status: StatusCode, headers: &HeaderMap) {
    // [RSP-05a] Transfer-Encoding, Keep-Alive, Proxy-Connection and TE are the server's, and Upgrade too, except with
    // status 101 or 426.
    let upgrades = matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED);
    for name in headers.keys().filter(|name| is_hop_by_hop(name) && **name != header::CONNECTION) {
        findings.check(upgrades && *name == header::UPGRADE, "RSP-05a", || format!("the application set {name}"));
    }

    // [RSP-05b] Of Connection the application may set `close`, and `upgrade` with status 101 or 426.
    for option in headers.get_all(header::CONNECTION).into_iter().flat_map(list_members) {
        let allowed = option.eq_ignore_ascii_case(b"close") || (upgrades && option.eq_ignore_ascii_case(b"upgrade"));
        findings.check(allowed, "RSP-05b", || {
            format!("the application set the connection option {}", String::from_utf8_lossy(option))
        });
    }

    // [RSP-06] There is one Date, the application's own where it set one; it is an IMF-fixdate.
    let dates = || headers.get_all(header::DATE).into_iter();
    findings.check(dates().count() <= 1, "RSP-06", || "more than one Date".into());
    for date in dates() {
        findings.check(date.to_str().is_ok_and(is_imf_fixdate), "RSP-06", || format!("Date is {date:?}"));
    }

    // [RSP-03] Repeated fields are separate lines, Set-Cookie above all.
    for cookie in headers.get_all(header::SET_COOKIE) {
        findings.check(!holds_two_cookies(cookie.as_bytes()), "RSP-03", || "two cookies in one Set-Cookie".into());
    }

    // [RSP-04] A value is what is sent: no white space around it, no control character in it.
    for (name, value) in headers {
        let bytes = value.as_bytes();
        let padded = bytes.trim_ascii() != bytes;
        let controls = bytes.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f);
        findings.check(!padded && !controls, "RSP-04", || format!("the value of {name} is {value:?}"));
    }
}

/// RFC 9110 §5.6.7. The two obsolete forms are for reading only.
fn is_imf_fixdate(text: &str) -> bool {
    let parsed: Result<SystemTime, _> = httpdate::parse_http_date(text);
    parsed.is_ok_and(|time| httpdate::fmt_http_date(time) == text)
}

/// Whether a comma outside of `Expires` is followed by what looks like another cookie (RFC 6265 §3).
fn holds_two_cookies(value: &[u8]) -> bool {
    value.split(|byte| *byte == b';').any(|part| {
        let mut pieces = part.split(|byte| *byte == b',');
        // A comma can't stand in a cookie's value (RFC 6265 §4.1.1); in an attribute only a date has one, and no "=".
        pieces.next();
        pieces.any(|piece| {
            let name = piece.trim_ascii().split(|byte| *byte == b'=').next().unwrap_or_default();
            piece.contains(&b'=') && HeaderName::from_bytes(name).is_ok()
        })
    })
}

fn check_trailers(findings: &mut Findings, headers: &HeaderMap, body: &Body) {
    // [TRL-04] Trailers are named in Trailer, and are fields that may stand there.
    for member in headers.get_all(header::TRAILER).into_iter().flat_map(list_members) {
        let allowed = HeaderName::from_bytes(member).is_ok_and(|name| trailers::is_allowed(&name));
        findings.check(allowed, "TRL-04", || format!("Trailer names {}", String::from_utf8_lossy(member)));
    }
    for name in body.trailers().into_iter().flat_map(HeaderMap::keys) {
        findings.check(trailers::is_allowed(name), "TRL-04", || format!("{name} in the trailers; it is not sent"));
    }
}
