//! Each rule by example, and properties over all inputs.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header, request, response};
use proptest::collection::vec;
use proptest::prelude::*;

use super::request::{BodyLength, Facts, check, check_any, check_simple};
use super::response::{Framing, Plan, is_simple, plan, prepare, simple};
use super::{cookies, host, list_members, target, trailers};
use crate::config::Limits;

type Fields<'a> = &'a [(&'static str, &'a str)];

fn headers(fields: Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn request(method: &str, target: &str, version: Version, fields: Fields<'_>) -> request::Parts {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = Method::from_bytes(method.as_bytes()).unwrap();
    head.uri = target.parse().unwrap();
    head.version = version;
    head.headers = headers(fields);
    head
}

/// The facts of, or `STATUS ID` for, a GET with these fields and a good Host.
fn get(version: Version, fields: Fields<'_>) -> Result<Facts, String> {
    let mut head = request("GET", "/", version, fields);
    head.headers.insert(header::HOST, HeaderValue::from_static("a"));
    decide(&head)
}

fn decide(head: &request::Parts) -> Result<Facts, String> {
    check(head, &Limits::default()).map_err(|bad| format!("{} {}", bad.status.as_u16(), bad.requirement))
}

fn refused(fields: Fields<'_>) -> String {
    get(Version::HTTP_11, fields).unwrap_err()
}

#[test]
fn host_is_needed_once_and_well_formed() {
    let decide = |version, fields| decide(&request("GET", "/", version, fields)).map(|_| ());
    assert_eq!(decide(Version::HTTP_11, &[]), Err("400 HDR-06".into()));
    assert_eq!(decide(Version::HTTP_10, &[]), Ok(()));
    assert_eq!(decide(Version::HTTP_2, &[]), Err("400 HDR-06".into()));
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(decide(version, &[("host", "a"), ("host", "a")]), Err("400 HDR-07".into()));
        assert_eq!(decide(version, &[("host", "a/b")]), Err("400 HDR-08a".into()));
        assert_eq!(decide(version, &[("host", "")]), Ok(()));
    }
    for bad in ["[1]", "[::1", "[::1]x", "[v]", "[v1.]", "[]", "[::1%25eth0]", "%", "%4", "a:65536", "a:1:2", "\u{fc}"]
    {
        assert!(!host::is_valid(bad.as_bytes()), "{bad}");
    }
    for good in ["[::ffff:1.2.3.4]:1", "[v1.x:y]", "a:65535", "a:"] {
        assert!(host::is_valid(good.as_bytes()), "{good}");
    }
}

/// \[HDR-24\] RFC 3986 §3.2.2, §3.2.3
#[test]
fn the_same_authority_may_be_written_in_ways() {
    let same = |a: &str, b: &str, scheme| host::is_same(a.as_bytes(), b.as_bytes(), scheme);
    for (a, b, scheme) in [
        ("a.example", "A.Example", None),
        ("a:80", "a", Some("http")),
        ("a:443", "a:", Some("https")),
        ("a:0080", "a:80", None),
        ("[::1]:80", "[::1]", Some("http")),
        ("[::1]:8080", "[::1]:8080", Some("http")),
    ] {
        assert!(same(a, b, scheme) && same(b, a, scheme), "{a} {b}");
    }
    for (a, b, scheme) in [
        ("a", "b", None),
        ("a:80", "a:81", None),
        ("a:12", "a:21", None),
        ("a:80", "a", Some("https")),
        ("a:443", "a", Some("http")),
        ("a:80", "a", None),
        ("[::1]", "[::2]", Some("http")),
        ("[::1]:1", "[::1]", Some("http")),
    ] {
        assert!(!same(a, b, scheme) && !same(b, a, scheme), "{a} {b}");
    }
}

#[test]
fn a_length_is_declared_by_one_number() {
    let declared = |fields| super::declared_length(&headers(fields));
    assert_eq!(declared(&[("content-length", "7")]), Some(7));
    assert_eq!(declared(&[]), None);
    assert_eq!(declared(&[("content-length", "x")]), None);
    assert_eq!(declared(&[("content-length", "7"), ("content-length", "7")]), None);
}

#[test]
fn most_requests_and_responses_are_simple() {
    let fields: Fields<'_> =
        &[("host", "a.example:80"), ("connection", "Keep-Alive"), ("accept", "*/*"), ("cookie", "a=b")];
    let head = request("GET", "/x?y", Version::HTTP_11, fields);
    let facts = check_simple(&http::Request::from_parts(head.clone(), ()), &Limits::default());
    assert!(facts.is_some());
    assert_eq!(facts, check_any(&head, &Limits::default()).ok());
    let tight = Limits { target_bytes: 3, ..Limits::default() };
    assert_eq!(check_simple(&http::Request::from_parts(head.clone(), ()), &tight), None);
    assert_eq!(check(&head, &tight).unwrap_err().requirement, "TGT-24");

    let is_simple = |status, fields: Fields<'_>| {
        is_simple(&http::Response::from_parts(response_head(status, headers(fields)), ()), &facts.unwrap(), 12)
    };
    assert!(is_simple(200, &[("content-type", "text/plain")]));
    assert!(is_simple(404, &[]));
    for status in [100, 101, 204, 205, 304] {
        assert!(!is_simple(status, &[]), "{status}");
    }
    assert!(is_simple(200, &[("content-length", "12")]));
    assert!(!is_simple(200, &[("content-length", "13")]));
    assert!(!is_simple(200, &[("content-length", "12"), ("content-length", "12")]));
    for field in ["content-length", "connection", "upgrade", "te", "keep-alive"] {
        assert!(!is_simple(200, &[(field, "1")]), "{field}");
    }
}

#[test]
fn an_authority_in_the_target_is_checked_as_a_host() {
    let with_host: Fields<'_> = &[("host", "a")];
    let bad = decide(&request("GET", "http://u@a/", Version::HTTP_11, with_host));
    assert_eq!(bad, Err("400 HDR-08a".into()));
    assert!(decide(&request("GET", "http://b/", Version::HTTP_11, with_host)).is_ok());
    assert_eq!(decide(&request("GET", "http://b/", Version::HTTP_11, &[])), Err("400 HDR-06".into()));
    assert!(decide(&request("GET", "http://b/", Version::HTTP_2, &[])).is_ok());
}

#[test]
fn targets_have_the_form_their_method_needs() {
    let decide = |method, target| decide(&request(method, target, Version::HTTP_11, &[("host", "a")])).map(|_| ());
    for (method, good) in [("GET", "/"), ("OPTIONS", "*"), ("CONNECT", "a:1"), ("GET", "http://a"), ("get", "/x")] {
        assert_eq!(decide(method, good), Ok(()), "{method} {good}");
    }
    assert_eq!(decide("GET", "*"), Err("400 TGT-13".into()));
    assert_eq!(decide("GET", "a:1"), Err("400 TGT-14".into()));
    assert_eq!(decide("CONNECT", "/"), Err("400 TGT-14".into()));
    let limits = Limits { target_bytes: 3, ..Limits::default() };
    let long = request("GET", "/four", Version::HTTP_11, &[("host", "a")]);
    assert_eq!(check(&long, &limits).unwrap_err().status, StatusCode::URI_TOO_LONG);
    assert_eq!(target::check_raw(b"/a#b").unwrap_err().requirement, "TGT-17b");
    assert_eq!(target::check_raw(b"/a\x7f").unwrap_err().requirement, "TGT-18");
    assert!(target::check_raw("/\u{fc}".as_bytes()).is_ok());
}

#[test]
fn framing_of_requests_is_decided() {
    let body = |fields| get(Version::HTTP_11, fields).unwrap().body;
    assert_eq!(body(&[]), BodyLength::Sized(0));
    assert_eq!(body(&[("content-length", "007")]), BodyLength::Sized(7));
    assert_eq!(body(&[("content-length", "7"), ("content-length", "07")]), BodyLength::Sized(7));
    assert_eq!(body(&[("transfer-encoding", "Chunked")]), BodyLength::Unknown);
    assert_eq!(body(&[("transfer-encoding", " ,chunked, ")]), BodyLength::Unknown);
    assert_eq!(get(Version::HTTP_2, &[]).unwrap().body, BodyLength::Unknown);
    for both in [("transfer-encoding", "chunked"), ("content-length", "7")].repeat(2).windows(2).chain([
        // [REQ-21] it means nothing behind a transfer coding, so that it may be anything
        &[("transfer-encoding", "chunked"), ("content-length", "x")][..],
    ]) {
        let both = get(Version::HTTP_11, both).unwrap();
        assert_eq!((both.body, both.keep_alive), (BodyLength::Unknown, false));
    }

    assert_eq!(refused(&[("content-length", "7"), ("content-length", "8")]), "400 REQ-22a");
    for bad in ["", "+3", "-3", "0x3", "3, 3", "3 3", "18446744073709551616", "\u{663}"] {
        assert_eq!(refused(&[("content-length", bad)]), "400 REQ-23", "{bad}");
    }
    assert_eq!(refused(&[("transfer-encoding", "gzip, chunked")]), "501 REQ-25a");
    assert_eq!(refused(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]), "400 REQ-25b");
    for bad in ["", "gzip", "chunked, gzip", "chunked;q=1", "xchunked"] {
        assert_eq!(refused(&[("transfer-encoding", bad)]), "400 REQ-24", "{bad}");
    }
    for first in ["\u{fc}", "\u{fc}, gzip"] {
        let fields = [("transfer-encoding", first), ("transfer-encoding", "chunked")];
        assert_eq!(refused(&fields), "400 REQ-24", "no coding is called so");
    }
    assert_eq!(get(Version::HTTP_10, &[("transfer-encoding", "chunked")]), Err("400 REQ-26".into()));
    assert_eq!(refused(&[("content-length", "1073741825")]), "413 LIM-03a");
}

#[test]
fn expectations() {
    let expects = |version, value| {
        get(version, &[("expect", value), ("content-length", "1")]).map(|facts| facts.expects_continue)
    };
    assert_eq!(expects(Version::HTTP_11, "100-Continue"), Ok(true));
    assert_eq!(expects(Version::HTTP_11, ""), Ok(false));
    assert_eq!(expects(Version::HTTP_11, "tea"), Err("417 EXP-04".into()));
    assert_eq!(expects(Version::HTTP_11, "100-continue, tea"), Err("417 EXP-04".into()));
    // [EXP-03a] HTTP/1.0 knows none, and any may stand there
    assert_eq!(expects(Version::HTTP_10, "100-continue"), Ok(false));
    assert_eq!(expects(Version::HTTP_10, "tea"), Ok(false));
    // [EXP-03c]
    assert!(!get(Version::HTTP_11, &[("expect", "100-continue")]).unwrap().expects_continue);
    assert_eq!(refused(&[("expect", "tea"), ("expect", "100-continue")]), "417 EXP-04");
}

#[test]
fn cookies_of_http2_are_one_field() {
    let joined = |fields: Fields<'_>| {
        let mut head = request("GET", "/", Version::HTTP_2, fields);
        cookies::join(&mut head);
        let values = head.headers.get_all("cookie").iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        (values.collect::<Vec<_>>(), head.headers.len())
    };
    assert_eq!(joined(&[("a", "b")]), (vec![], 1));
    assert_eq!(joined(&[("cookie", "a=b; c=d")]), (vec!["a=b; c=d".into()], 1));
    assert_eq!(joined(&[("cookie", "a=b"), ("cookie", "c=d")]), (vec!["a=b; c=d".into()], 1));
    assert_eq!(joined(&[("cookie", "a=b"), ("x", "y"), ("cookie", ""), ("cookie", "c")]), (vec!["a=b; ; c".into()], 2));
    let mut other = request("GET", "/", Version::HTTP_11, &[("cookie", "a"), ("cookie", "b")]);
    cookies::join(&mut other);
    assert_eq!(other.headers.len(), 2, "no HTTP/2");
}

#[test]
fn fields_of_http2_are_counted() {
    let limits = Limits { header_count: 2, ..Limits::default() };
    let fields = [("host", "a"), ("b", "c"), ("b", "d")];
    let decide = |version, fields| check(&request("GET", "/", version, fields), &limits).map_err(|why| why.to_string());
    assert!(decide(Version::HTTP_2, &fields[..2]).is_ok());
    assert!(decide(Version::HTTP_11, &fields).is_ok(), "the parser's business");
    assert_eq!(decide(Version::HTTP_2, &fields).unwrap_err(), "431 [LIM-02] there are too many header fields");
}

#[test]
fn persistence_and_options() {
    let keeps = |version, value| get(version, &[("connection", value)]).unwrap().keep_alive;
    assert!(keeps(Version::HTTP_11, "x") && !keeps(Version::HTTP_11, "x, CLOSE"));
    assert!(keeps(Version::HTTP_10, "Keep-Alive") && !keeps(Version::HTTP_10, "x"));
    assert!(!keeps(Version::HTTP_10, "keep-alive, close"));
    let upgrades =
        |version| get(version, &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]).unwrap().upgrade;
    assert!(upgrades(Version::HTTP_11) && !upgrades(Version::HTTP_10));
    assert!(!get(Version::HTTP_11, &[("upgrade", "websocket")]).unwrap().upgrade);
    assert!(get(Version::HTTP_11, &[("te", "gzip, Trailers")]).unwrap().trailers);
    assert!(!get(Version::HTTP_11, &[("te", "trailersx")]).unwrap().trailers);
}

fn facts(version: Version, method: &str) -> Facts {
    Facts { is_head: method == "HEAD", is_connect: method == "CONNECT", ..get(version, &[]).unwrap() }
}

/// Plan and head of a response to that request.
fn prepared(facts: &Facts, status: u16, fields: Fields<'_>, length: Option<u64>) -> (Plan, HeaderMap) {
    let mut head = response_head(status, headers(fields));
    let plan = prepare(&mut head, length, facts).unwrap();
    (plan, head.headers)
}

fn response_head(status: u16, headers: HeaderMap) -> response::Parts {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = StatusCode::from_u16(status).unwrap();
    head.headers = headers;
    head
}

#[test]
fn responses_are_framed() {
    let new = facts(Version::HTTP_11, "GET");
    let old = facts(Version::HTTP_10, "GET");
    let framing = |facts: &Facts, status, fields, length| prepared(facts, status, fields, length).0.framing;
    assert_eq!(framing(&new, 200, &[], Some(3)), Framing::Length(3));
    assert_eq!(framing(&new, 200, &[("content-length", "2")], Some(3)), Framing::Length(2));
    assert_eq!(framing(&new, 200, &[], None), Framing::Chunked);
    assert_eq!(framing(&old, 200, &[], None), Framing::Close);
    assert_eq!(framing(&new, 204, &[], Some(3)), Framing::None);
    assert_eq!(framing(&new, 304, &[], Some(3)), Framing::None);
    assert_eq!(framing(&new, 205, &[("content-length", "3")], Some(3)), Framing::Length(0));
    let (plan, head) = prepared(&facts(Version::HTTP_11, "HEAD"), 200, &[("content-length", "9")], Some(0));
    assert_eq!(
        (plan.framing, plan.send_body, &head["content-length"]),
        (Framing::Length(9), false, &"9".parse().unwrap())
    );
    assert!(!prepared(&new, 204, &[("content-length", "0")], None).1.contains_key("content-length"));
    assert!(prepared(&new, 304, &[("content-length", "7")], None).1.contains_key("content-length"));
    let (plan, head) = prepared(&facts(Version::HTTP_11, "CONNECT"), 200, &[("content-length", "0")], Some(0));
    assert_eq!((plan.framing, head.len()), (Framing::None, 0));
}

#[test]
fn what_is_the_servers_is_removed() {
    let fields: Fields<'_> = &[
        ("transfer-encoding", "gzip"),
        ("keep-alive", "x"),
        ("te", "x"),
        ("upgrade", "h2c"),
        ("connection", "x-mine, keep-alive"),
        ("x-mine", "stays"),
    ];
    let (plan, head) = prepared(&facts(Version::HTTP_11, "GET"), 200, fields, Some(1));
    assert_eq!((plan.close, head), (false, headers(&[("x-mine", "stays"), ("content-length", "1")])));
}

#[test]
fn connection_says_what_happens() {
    let connection = |version, status, fields: Fields<'_>| {
        let facts = Facts { upgrade: true, ..facts(version, "GET") };
        let (plan, head) = prepared(&facts, status, fields, Some(1));
        (plan.close, head.get("connection").map(|value| value.to_str().unwrap().to_owned()))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(connection(Version::HTTP_11, 200, &[]), (false, None));
    assert_eq!(connection(Version::HTTP_11, 200, &[("connection", "Close")]), (true, some("close")));
    assert_eq!(connection(Version::HTTP_10, 200, &[]), (true, some("close")));
    // [RSP-05a], [RSP-05b] the Upgrade of a 426 keeps its name in Connection, whatever else is said
    let upgrade = &[("upgrade", "websocket"), ("connection", "upgrade, close")];
    assert_eq!(connection(Version::HTTP_11, 426, upgrade), (true, some("upgrade, close")));
    assert_eq!(connection(Version::HTTP_11, 426, &upgrade[..1]), (false, some("upgrade")));
    assert_eq!(connection(Version::HTTP_11, 200, upgrade), (true, some("close")));
    assert_eq!(connection(Version::HTTP_11, 101, upgrade).1, some("upgrade"));
    assert_eq!(connection(Version::HTTP_2, 426, upgrade), (false, None));
}

#[test]
fn what_no_server_can_send_is_refused() {
    let refused = |status, fields: Fields<'_>| {
        prepare(&mut response_head(status, headers(fields)), None, &facts(Version::HTTP_11, "GET")).unwrap_err()
    };
    assert_eq!(refused(100, &[]).requirement, "NOB-08");
    assert_eq!(refused(101, &[]).requirement, "NOB-08");
    assert_eq!(refused(200, &[("content-length", "x")]).requirement, "FRM-06");
    assert_eq!(refused(200, &[("content-length", "1"), ("content-length", "2")]).requirement, "FRM-06");
}

#[test]
fn trailers_are_sanitised_and_announced() {
    let mut fields = headers(&[("x-sum", "1"), ("host", "evil"), ("content-length", "1"), ("etag", "x")]);
    trailers::sanitize(&mut fields);
    assert_eq!(fields, headers(&[("x-sum", "1"), ("etag", "x")]));
    let mut head = HeaderMap::new();
    trailers::announce(&mut head, &headers(&[("x-sum", "1"), ("host", "evil")]));
    assert_eq!(head, headers(&[("trailer", "x-sum")]));
    trailers::announce(&mut head, &headers(&[("x-other", "1")]));
    assert_eq!(head, headers(&[("trailer", "x-sum")]), "what is there stays");
}

// Properties.

fn any_version() -> impl Strategy<Value = Version> {
    prop::sample::select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2])
}

fn any_value() -> impl Strategy<Value = HeaderValue> {
    // Every octet a field value may hold.
    let octet = prop_oneof![Just(b'\t'), 0x20_u8..=0x7e, 0x80_u8..=0xff];
    let any = vec(octet, 0..40).prop_filter_map("not a value", |bytes| HeaderValue::from_bytes(&bytes).ok());
    let near = "[ ,;=:\"0-9a-fA-F/@%\\[\\]]{0,12}".prop_filter_map("not a value", |text| text.parse().ok());
    let known = prop::sample::select(vec![
        "chunked",
        "gzip, chunked",
        "close",
        "upgrade",
        "keep-alive",
        "100-continue",
        "5",
        "trailers",
        "a:80",
        "[::1]",
        "for=1.2.3.4;proto=https",
    ])
    .prop_map(HeaderValue::from_static);
    prop_oneof![any, near, known]
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec![
        "host",
        "transfer-encoding",
        "content-length",
        "connection",
        "expect",
        "te",
        "upgrade",
        "trailer",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "keep-alive",
        "date",
        "x-other",
    ])
    .prop_map(HeaderName::from_static);
    vec((name, any_value()), 0..8).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        headers
    })
}

fn any_uri() -> impl Strategy<Value = Uri> {
    let texts = "(/[a-z/%?.]{0,9}|\\*|[a-z]{1,5}:[0-9]{1,4}|https?://[a-z.]{1,5}(:[0-9]{1,3})?[/?]?[a-z?]{0,5})";
    texts.prop_filter_map("not a target", |text| text.parse().ok())
}

fn any_head() -> impl Strategy<Value = request::Parts> {
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "brew"]);
    (method, any_uri(), any_version(), any_headers()).prop_map(|(method, uri, version, headers)| {
        let mut head = request(method, "/", version, &[]);
        head.uri = uri;
        head.headers = headers;
        head
    })
}

/// The members of all Transfer-Encoding lines, the slow and obvious way.
fn codings(values: &[String]) -> Vec<String> {
    let joined = values.join(",").to_ascii_lowercase();
    joined.split(',').map(str::trim).filter(|member| !member.is_empty()).map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn nothing_panics_and_what_is_accepted_stays_accepted(mut head in any_head(), status in 100_u16..1000,
        response in any_headers(), length in prop::option::of(0_u64..9)) {
                let mut fields = head.headers.clone();
        trailers::sanitize(&mut fields);
        trailers::announce(&mut head.headers.clone(), &fields);
        prop_assert!(fields.keys().all(trailers::is_allowed));
        if let Ok(facts) = check(&head, &Limits::default()) {
            let _ = prepare(&mut response_head(status, response), length, &facts);
            // The lint looks at heads after they were normalised.
            target::normalize(&mut head);
            prop_assert_eq!(check(&head, &Limits::default()), Ok(facts));
        }
    }

    #[test]
    fn the_simple_ways_decide_as_the_others(mut head in any_head(), usual: bool, status in 100_u16..1000,
        response in any_headers(), length in 0_u64..9) {
        if usual {
            head.method = Method::GET;
            head.version = Version::HTTP_11;
            head.headers.insert(header::HOST, HeaderValue::from_static("a"));
        }
        let limits = Limits::default();
        if let Some(facts) = check_simple(&http::Request::from_parts(head.clone(), ()), &limits) {
            prop_assert_eq!(check_any(&head, &limits), Ok(facts));
            let untouched = (head.uri.clone(), head.headers.clone());
            target::normalize(&mut head);
            prop_assert_eq!((head.uri.clone(), head.headers.clone()), untouched);
        }
        if let Ok(facts) = check_any(&head, &limits) {
            let mut answer = response_head(status, response.clone());
            if is_simple(&http::Response::from_parts(answer.clone(), ()), &facts, length) {
                let decided = plan(&mut answer, Some(length), &facts).unwrap();
                prop_assert_eq!((decided.framing, decided.send_body, decided.close), (Framing::Length(length), true, false));
                prop_assert_eq!(simple(&http::Response::from_parts(answer.clone(), ()), &facts, length), Some(decided));
                prop_assert_eq!((answer.headers, answer.version), (response, Version::HTTP_11));
            }
        }
    }

    #[test]
    fn normalising_twice_is_normalising_once(mut head in any_head()) {
        target::normalize(&mut head);
        let (uri, headers) = (head.uri.clone(), head.headers.clone());
        if head.method != Method::CONNECT {
            prop_assert!(uri.scheme().is_none() && uri.authority().is_none());
        }
        target::normalize(&mut head);
        prop_assert_eq!((head.uri, head.headers), (uri, headers));
    }

    #[test]
    fn an_origin_form_target_is_not_touched(path in "/[a-z/%.;]{0,9}(\\?[a-z?&=%]{0,9})?") {
        let mut head = request("GET", &path, Version::HTTP_11, &[("host", "a")]);
        target::normalize(&mut head);
        prop_assert_eq!(head.uri.to_string(), path);
    }

    #[test]
    fn transfer_encoding_is_decided_as_by_the_book(
        values in vec("((chunked|Chunked|gzip|x|)[ ,]{0,2}){0,4}", 1..3), version in any_version()) {
        let fields: Vec<(&'static str, &str)> =
            values.iter().map(|value| ("transfer-encoding", value.as_str())).collect();
        let list = codings(&values);
        let chunked = list.iter().filter(|member| *member == "chunked").count();
        let blanks = values.iter().any(|value| value.trim() != value);
        let expected = if version == Version::HTTP_2 {
            Err(if blanks { "400 HDR-25" } else { "400 REQ-24" })
        } else if version == Version::HTTP_10 {
            Err("400 REQ-26")
        } else if list.last().is_none_or(|last| last != "chunked") {
            Err("400 REQ-24")
        } else if chunked > 1 {
            Err("400 REQ-25b")
        } else if list.len() > 1 {
            Err("501 REQ-25a")
        } else {
            Ok(BodyLength::Unknown)
        };
        let found = get(version, &fields).map(|facts| facts.body);
        prop_assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn content_length_is_one_number(values in vec("[0-9]{0,3}[+, x]?[0-9]{0,2}", 1..3)) {
        let fields: Vec<(&'static str, &str)> = values.iter().map(|value| ("content-length", value.as_str())).collect();
        let numbers: Option<Vec<u64>> = values
            .iter()
            .map(|value| value.chars().all(|digit| digit.is_ascii_digit()).then(|| value.parse().ok()).flatten())
            .collect();
        let expected = numbers.and_then(|numbers| {
            numbers.windows(2).all(|pair| pair[0] == pair[1]).then(|| BodyLength::Sized(numbers[0]))
        });
        prop_assert_eq!(get(Version::HTTP_11, &fields).ok().map(|facts| facts.body), expected);
    }

    #[test]
    fn a_valid_host_is_an_authority_without_a_user(text in "[a-z\\[\\]:@/%.0-9 ,_]{1,12}") {
        // The `http` crate's parser takes no percent-encoded octets in an authority.
        if host::is_valid(text.as_bytes()) && !text.starts_with(':') && !text.contains('%') {
            let authority: http::uri::Authority = text.parse().unwrap();
            prop_assert!(!text.contains(['@', '/', ' ', ',']));
            prop_assert!(authority.port_u16().is_some() || text.ends_with([':', ']']) || !text.contains(':'));
        }
    }

    #[test]
    fn hosts_that_are_right_are_valid(name in "([a-z0-9._~-]|%[0-9a-f]{2}){0,9}", port in prop::option::of(any::<u16>())) {
        let text = port.map_or(name.clone(), |port| format!("{name}:{port}"));
        prop_assert!(host::is_valid(text.as_bytes()), "{}", text);
    }

    #[test]
    fn list_members_are_what_is_between_the_commas(value in any_value()) {
        for member in list_members(&value) {
            prop_assert!(!member.is_empty() && !member.contains(&b','));
            prop_assert_ne!(member[0], b' ');
        }
    }

    #[test]
    fn a_plan_and_its_head_agree(status in 100_u16..1000, fields in any_headers(), length in prop::option::of(0_u64..9),
        version in any_version(), method in prop::sample::select(vec!["GET", "HEAD", "CONNECT"]), keep_alive: bool,
        upgrade: bool) {
        let facts = Facts { keep_alive, upgrade, ..facts(version, method) };
        let mut head = response_head(status, fields);
        let Ok(plan) = prepare(&mut head, length, &facts) else { return Ok(()) };

        // [FRM-05] never both
        prop_assert!(!head.headers.contains_key(header::TRANSFER_ENCODING));
        let said = head.headers.get(header::CONTENT_LENGTH).map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        match plan.framing {
            Framing::Length(length) => prop_assert_eq!(said, Some(length)),
            Framing::None => prop_assert!(said.is_none() || status == 304),
            Framing::Chunked => prop_assert!(said.is_none() && version != Version::HTTP_10),
            Framing::Close => prop_assert!(said.is_none() && version == Version::HTTP_10 && plan.close),
        }
        // [NOB] who sends no body
        if matches!(status, 101 | 204 | 205 | 304) || method == "HEAD" {
            prop_assert!(!plan.send_body);
        }
        // Connection says so exactly where the connection ends
        let connection: Vec<_> = head.headers.get_all(header::CONNECTION).into_iter().flat_map(list_members).collect();
        let says_close = connection.contains(&&b"close"[..]);
        prop_assert_eq!(says_close, plan.close && status != 101);
        prop_assert!(!plan.close || version != Version::HTTP_2);
        prop_assert!(plan.close || keep_alive || version == Version::HTTP_2);
        // [RSP-05a]
        let kept = head.headers.contains_key(header::UPGRADE);
        prop_assert!(!kept || (matches!(status, 101 | 426) && connection.contains(&&b"upgrade"[..])));
        prop_assert!(!head.headers.contains_key("keep-alive") && !head.headers.contains_key(header::TE));

        // Once prepared it stays as it is.
        let before = head.headers.clone();
        let again = prepare(&mut head, length, &facts).unwrap();
        prop_assert_eq!((again.framing, again.send_body, again.close), (plan.framing, plan.send_body, plan.close));
        prop_assert_eq!(head.headers, before);
    }
}
