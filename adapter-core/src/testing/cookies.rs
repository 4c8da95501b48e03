//! Cookies that the client keeps, as a browser does. RFC 6265 §5. Feature `testing`.
//!
//! There is one site, so that Domain and Secure tell nothing here, and Expires and Max-Age only whether a cookie goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cookie::Cookie;
use cookie::time::{Duration, OffsetDateTime};
use http::{HeaderMap, HeaderValue, Uri, header};

use super::client::{Client, RequestBuilder};

/// The cookies of a client and its clones.
#[derive(Clone, Default)]
pub(super) struct Jar(Arc<Mutex<Vec<Kept>>>);

struct Kept {
    name: String,
    value: String,
    path: String,
}

impl Jar {
    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Cookie field of a request for `path`, the longest path first. RFC 6265 §5.4
    pub(super) fn field(&self, path: &str) -> Option<HeaderValue> {
        let kept = self.lock();
        let mut fitting: Vec<_> = kept.iter().filter(|cookie| is_below(path, &cookie.path)).collect();
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<_> = fitting.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        if pairs.is_empty() { None } else { HeaderValue::from_str(&pairs.join("; ")).ok() }
    }

    /// Takes what the answer to a request for `path` sets. RFC 6265 §5.3
    pub(super) fn take(&self, path: &str, headers: &HeaderMap) {
        for field in headers.get_all(header::SET_COOKIE) {
            let Some(cookie) = field.to_str().ok().and_then(|text| Cookie::parse(text).ok()) else { continue };
            let path = cookie.path().filter(|path| path.starts_with('/')).unwrap_or_else(|| default_path(path));
            let mut kept = self.lock();
            kept.retain(|other| other.name != cookie.name() || other.path != path);
            if !has_gone(&cookie) {
                kept.push(Kept { name: cookie.name().into(), value: cookie.value().into(), path: path.into() });
            }
        }
    }
}

/// RFC 6265 §5.1.4
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => path.get(..end).unwrap_or("/"),
    }
}

/// RFC 6265 §5.1.4
fn is_below(path: &str, of_cookie: &str) -> bool {
    path.strip_prefix(of_cookie)
        .is_some_and(|rest| rest.is_empty() || of_cookie.ends_with('/') || rest.starts_with('/'))
}

/// Max-Age counts before Expires. RFC 6265 §5.3
fn has_gone(cookie: &Cookie<'_>) -> bool {
    match (cookie.max_age(), cookie.expires_datetime()) {
        (Some(age), _) => age <= Duration::ZERO,
        (None, Some(at)) => at <= OffsetDateTime::now_utc(),
        (None, None) => false,
    }
}

impl RequestBuilder {
    /// Adds the cookies that are kept for it; gives where those that the answer sets belong: the jar, and its path.
    pub(super) fn with_cookies(&mut self) -> Option<(Jar, String)> {
        let jar = self.client.jar.clone()?;
        let path = self.outbound.target.as_ref().map_or("/", Uri::path).to_owned();
        let headers = &mut self.outbound.head.headers;
        if let Some(field) = jar.field(&path).filter(|_| !headers.contains_key(header::COOKIE)) {
            headers.insert(header::COOKIE, field);
        }
        Some((jar, path))
    }
}

impl Client {
    /// Keeps the cookies that answers set, and sends them with later requests, those of clones from now on included; not with one
    /// that has a Cookie field of its own. Off by default.
    ///
    /// ```
    /// # use adapter_core::{Body, Environ, Error, Request, Response, testing::Client};
    /// async fn count(request: Request, _environ: Environ) -> Result<Response, Error> {
    ///     let cookie = request.headers().get("cookie").and_then(|cookie| cookie.to_str().ok()).unwrap_or("visits=0");
    ///     let visits = cookie.trim_start_matches("visits=").parse::<u32>()? + 1;
    ///     let mut response = Response::new(Body::empty());
    ///     response.headers_mut().insert("set-cookie", format!("visits={visits}; Path=/; HttpOnly").parse()?);
    ///     Ok(response)
    /// }
    ///
    /// let client = Client::new(count).keep_cookies();
    /// client.get("/").send();
    /// client.get("/").send();
    /// assert_eq!(client.cookie("visits").as_deref(), Some("2"));
    /// ```
    #[must_use]
    pub fn keep_cookies(mut self) -> Self {
        self.jar.get_or_insert_default();
        self
    }

    /// The value of a cookie that is kept.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let kept = self.jar.as_ref()?.lock();
        kept.iter().rev().find(|cookie| cookie.name == name).map(|cookie| cookie.value.clone())
    }

    /// Puts a cookie among those that are kept, for every path.
    ///
    /// # Panics
    /// If the client does not [keep cookies](Self::keep_cookies).
    pub fn set_cookie(&self, name: &str, value: &str) {
        let jar = self.jar.as_ref().expect("a client with `keep_cookies`");
        let mut kept = jar.lock();
        kept.retain(|other| other.name != name || other.path != "/");
        kept.push(Kept { name: name.into(), value: value.into(), path: "/".into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(jar: &Jar, path: &str) -> String {
        jar.field(path).map(|field| field.to_str().unwrap_or_default().to_owned()).unwrap_or_default()
    }

    fn set(jar: &Jar, path: &str, fields: &[&str]) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::SET_COOKIE, field.parse().expect("a value"));
        }
        jar.take(path, &headers);
    }

    #[test]
    fn cookies_go_where_their_path_says() {
        let jar = Jar::default();
        set(&jar, "/shop/items/7", &["a=1", "b=2; Path=/", "c=3; Path=/shop", "d=4; Path=relative"]);
        assert_eq!(sent(&jar, "/shop/items/8"), "a=1; d=4; c=3; b=2");
        assert_eq!(sent(&jar, "/shop"), "c=3; b=2");
        assert_eq!(sent(&jar, "/shopping"), "b=2");
        assert_eq!(sent(&jar, "/"), "b=2");
    }

    #[test]
    fn cookies_are_replaced_and_removed() {
        let jar = Jar::default();
        set(&jar, "/", &["a=1", "b=2", "c=3", "not a cookie"]);
        set(&jar, "/", &["a=4; Max-Age=100", "b=; Max-Age=0", "c=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
        assert_eq!(sent(&jar, "/"), "a=4");
        set(&jar, "/", &["a=5; Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
        assert_eq!(sent(&jar, "/"), "a=5", "Max-Age counts");
    }
}
