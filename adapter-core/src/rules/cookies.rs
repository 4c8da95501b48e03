//! The cookies of HTTP/2. RFC 9113 §8.2.3

use http::{HeaderValue, Version, header, request};

/// Joins the Cookie fields of an HTTP/2 request, which a client may split into crumbs, into the one field an application
/// expects. For the head of any request, before [`request::check`](super::request::check); those of other versions stay
/// as they are. \[HDR-20\]
///
/// ```
/// use adapter_core::{http::{Request, Version, header::COOKIE}, rules::cookies};
/// let request = Request::get("/").version(Version::HTTP_2).header(COOKIE, "a=b").header(COOKIE, "c=d");
/// let (mut head, ()) = request.body(()).unwrap().into_parts();
/// cookies::join(&mut head);
/// assert_eq!(head.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=b; c=d"]);
/// ```
pub fn join(head: &mut request::Parts) {
    if head.version < Version::HTTP_2 {
        return;
    }
    let headers = &mut head.headers;
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
