//! Responses; the page is a template that askama has checked and escapes by itself.

use adapter_web::http::{HeaderValue, StatusCode, header};
use adapter_web::{Body, Error, Response};
use askama::Template;

use crate::store::Entry;

#[derive(Template)]
#[template(path = "guestbook.html")]
struct Page<'a> {
    prefix: &'a str,
    entries: &'a [Entry],
    draft: Draft<'a>,
}

/// What is in the form.
#[derive(Default)]
pub(crate) struct Draft<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    /// Why it was not taken.
    pub(crate) problem: Option<&'static str>,
}

pub(crate) fn guestbook(prefix: &str, entries: &[Entry], draft: Draft<'_>) -> Result<Response, Error> {
    let page = Page { prefix, entries, draft }.render()?;
    Ok(response(StatusCode::OK, "text/html; charset=utf-8", page))
}

/// A response that says no more than its status.
pub(crate) fn status(status: StatusCode, text: &'static str) -> Response {
    response(status, "text/plain; charset=utf-8", text)
}

/// The path is right, and these are its methods.
pub(crate) fn not_allowed(methods: &'static str) -> Response {
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    // RFC 9110 §15.5.6
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
