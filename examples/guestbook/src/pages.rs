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
    name: &'a str,
    problem: Option<&'a str>,
}

pub(crate) fn guestbook(prefix: &str, entries: &[Entry], name: &str, problem: Option<&str>) -> Result<Response, Error> {
    let page = Page { prefix, entries, name, problem }.render()?;
    Ok(response(StatusCode::OK, "text/html; charset=utf-8", page))
}

/// A response that says no more than its status.
pub(crate) fn status(status: StatusCode, text: &'static str) -> Response {
    response(status, "text/plain; charset=utf-8", text)
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
