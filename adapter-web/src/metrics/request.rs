//! What is asked of the endpoint: a head of HTTP/1, as much of it as is needed. Pure parsing of hostile octets.

use super::text::Format;

/// Octets of a head at most.
pub(super) const MOST: usize = 8 << 10;

/// A request as far as it matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// HEAD: the answer has no body.
    pub(super) is_head: bool,
    /// Without its query.
    pub(super) path: String,
    /// What `Accept` prefers.
    pub(super) format: Format,
}

/// Why there is no answer but an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest,
    MethodNotAllowed,
    TooLarge,
}

/// The request in `octets`, or `None` if there is more to come.
pub(super) fn parse(octets: &[u8]) -> Result<Option<Asked>, Refusal> {
    let Some(end) = octets.windows(4).position(|window| window == b"\r\n\r\n") else {
        // So that one who speaks something else is not waited for.
        return match octets.len() {
            MOST.. => Err(Refusal::TooLarge),
            _ if octets.first().is_some_and(|first| !first.is_ascii_uppercase()) => Err(Refusal::BadRequest),
            _ => Ok(None),
        };
    };
    if end > MOST {
        return Err(Refusal::TooLarge);
    }
    let head = octets.get(..end).and_then(|head| std::str::from_utf8(head).ok()).ok_or(Refusal::BadRequest)?;
    if head.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t')) {
        return Err(Refusal::BadRequest);
    }
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::BadRequest);
    };
    if !target.starts_with('/') || !matches!(version, "HTTP/1.0" | "HTTP/1.1") {
        return Err(Refusal::BadRequest);
    }
    let (mut hosts, mut accepts) = (0, Vec::new());
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Refusal::BadRequest)?;
        if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic()) || value.contains(['\r', '\n']) {
            return Err(Refusal::BadRequest);
        }
        hosts += usize::from(name.eq_ignore_ascii_case("host"));
        if name.eq_ignore_ascii_case("accept") {
            accepts.push(value);
        }
    }
    // RFC 9112 §3.2
    if hosts > 1 || (hosts == 0 && version == "HTTP/1.1") {
        return Err(Refusal::BadRequest);
    }
    match method {
        "GET" | "HEAD" => {}
        method if method.bytes().all(|octet| octet.is_ascii_graphic()) && !method.is_empty() => {
            return Err(Refusal::MethodNotAllowed);
        }
        _ => return Err(Refusal::BadRequest),
    }
    let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
    Ok(Some(Asked { is_head: method == "HEAD", path, format: preferred(&accepts) }))
}

/// OpenMetrics for who says so, and does not like plain text better.
fn preferred(accepts: &[&str]) -> Format {
    let (mut open, mut plain) = (0.0, 0.0);
    for range in accepts.iter().flat_map(|accept| accept.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut weight, mut is_known) = (1.0_f32, true);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim_matches('"');
            match name.to_ascii_lowercase().as_str() {
                "q" => weight = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                "version" => is_known = value == "1.0.0",
                _ => {}
            }
        }
        if kind.eq_ignore_ascii_case("application/openmetrics-text") && is_known {
            open = weight.max(open);
        } else if kind.eq_ignore_ascii_case("text/plain") {
            plain = weight.max(plain);
        }
    }
    if open > 0.0 && open >= plain { Format::OpenMetrics } else { Format::Prometheus }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn format(accept: &str) -> Format {
        parse(format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{accept}\r\n").as_bytes()).unwrap().unwrap().format
    }

    #[test]
    fn the_format_is_what_accept_prefers() {
        assert_eq!(format(""), Format::Prometheus);
        assert_eq!(format("Accept: */*\r\n"), Format::Prometheus);
        // Prometheus 2.
        let scraper = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                       text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(format(&format!("Accept: {scraper}\r\n")), Format::OpenMetrics);
        assert_eq!(format("accept: application/openmetrics-text; version=0.0.1\r\n"), Format::Prometheus);
        assert_eq!(format("Accept: text/plain\r\nAccept: Application/OpenMetrics-Text; q=0.9\r\n"), Format::Prometheus);
        assert_eq!(format("Accept: application/openmetrics-text;q=0\r\n"), Format::Prometheus);
        assert_eq!(format("Accept: application/openmetrics-text;q=nan\r\n"), Format::Prometheus);
        assert_eq!(format("Accept: application/openmetrics-text; version=\"1.0.0\"\r\n"), Format::OpenMetrics);
    }

    #[test]
    fn only_requests_are_answered() {
        let asked = |text: &str| parse(text.as_bytes());
        for (text, refusal) in [
            ("GET /metrics\r\n\r\n", Refusal::BadRequest),
            ("GET  /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BadRequest),
            ("GET /metrics HTTP/2.0\r\nHost: a\r\n\r\n", Refusal::BadRequest),
            ("GET /metrics HTTP/1.1\r\n\r\n", Refusal::BadRequest),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::BadRequest),
            ("GET /metrics HTTP/1.1\r\nHost : a\r\n\r\n", Refusal::BadRequest),
            ("GET /metrics HTTP/1.1\r\nHost: a\nb: c\r\n\r\n", Refusal::BadRequest),
            ("GET /metrics HTTP/1.1\r\nHost: \u{0}\r\n\r\n", Refusal::BadRequest),
            ("GET metrics HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BadRequest),
            (" GET", Refusal::BadRequest),
            ("\u{16}\u{3}\u{1}", Refusal::BadRequest),
            ("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodNotAllowed),
            ("get /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodNotAllowed),
        ] {
            assert_eq!(asked(text), Err(refusal), "{text:?}");
        }
        assert_eq!(asked("GET /"), Ok(None));
        assert_eq!(asked(&format!("GET /{}", "x".repeat(MOST))), Err(Refusal::TooLarge));
        assert_eq!(asked(&format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(MOST))), Err(Refusal::TooLarge));
        let found = asked("HEAD /readyz?a=b HTTP/1.0\r\n\r\nrest").unwrap().unwrap();
        assert_eq!(found, Asked { is_head: true, path: "/readyz".into(), format: Format::Prometheus });
    }

    proptest! {
        #[test]
        fn no_octets_are_too_much(octets in prop::collection::vec(any::<u8>(), 0..200), line in "[A-Z]{0,5} /\\PC{0,30} HTTP/1\\.[01]\r\n\\PC{0,40}\r\n\r\n") {
            let _ = parse(&octets);
            let _ = parse(line.as_bytes());
            // What is whole stays what it is with more behind it.
            if let Ok(Some(asked)) = parse(line.as_bytes()) {
                let more = [line.as_bytes(), &octets].concat();
                prop_assert_eq!(parse(&more), Ok(Some(asked)));
            }
        }
    }
}
