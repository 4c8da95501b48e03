//! The cookies of HTTP/2. RFC 9113 §8.2.3

use http::{HeaderMap, HeaderValue, header};

/// Joins the Cookie fields of an HTTP/2 request, which a client may split into crumbs, into the one field an application
/// expects. \[HDR-20\]
///
/// ```
/// use adapter_core::{http::{HeaderMap, HeaderValue, header::COOKIE}, rules::cookies};
/// let mut headers = HeaderMap::new();
/// headers.append(COOKIE, HeaderValue::from_static("a=b"));
/// headers.append(COOKIE, HeaderValue::from_static("c=d"));
/// cookies::join(&mut headers);
/// assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=b; c=d"]);
/// ```
pub fn join(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    // What is made of valid values and "; " is one.
    if let Ok(mut whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        whole.set_sensitive(headers.get_all(header::COOKIE).iter().any(HeaderValue::is_sensitive));
        headers.insert(header::COOKIE, whole);
    }
}
