//! A cookie for what is worth remembering and no secret. Percent-encoded as forms are, for cookies are ASCII.

use adapter_web::http::{HeaderMap, header};

/// The value of the cookie of that name.
pub(crate) fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let (_, value) = cookies.split("; ").filter_map(|cookie| cookie.split_once('=')).find(|(key, _)| *key == name)?;
    form_urlencoded::parse(format!("{name}={value}").as_bytes()).next().map(|(_, value)| value.into_owned())
}

/// What `Set-Cookie` says.
pub(crate) fn written(name: &str, value: &str) -> String {
    let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
    format!("{pair}; Max-Age=31536000; HttpOnly; SameSite=Lax")
}
