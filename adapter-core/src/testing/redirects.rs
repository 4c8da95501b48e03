//! Redirects that the client follows. RFC 9110 §15.4. Feature `testing`.

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::answer::Answer;
use super::client::RequestBuilder;
use super::exchange::Outbound;
use crate::request_body::RequestBody;

impl RequestBuilder {
    /// Follows so many redirects at most, within the site; the answer of [`send`](Self::send) is the last one. After 303, and
    /// after 301 and 302 to a POST, it asks by GET and without the body, else as before. A request whose body is not in memory
    /// follows none. Default: none.
    ///
    /// ```
    /// # use adapter_core::{Body, Environ, Error, Request, Response, testing::Client};
    /// async fn login(request: Request, _environ: Environ) -> Result<Response, Error> {
    ///     if request.method() == "GET" {
    ///         return Ok(Response::new(Body::from("welcome")));
    ///     }
    ///     Ok(Response::builder().status(303).header("location", "/home").body(Body::empty())?)
    /// }
    ///
    /// let answer = Client::new(login).post("/login", "name=Ann").follow_redirects(10).send();
    /// assert_eq!(answer.text(), "welcome");
    /// ```
    pub fn follow_redirects(mut self, most: usize) -> Self {
        self.redirects = most;
        self
    }

    /// The answer to it, or to what that sends it on to.
    pub(super) async fn following(mut self) -> Answer {
        while self.redirects > 0 {
            // What may have to be sent once more.
            let Outbound { head, target: Ok(target), body, peer, host } = &self.outbound else { break };
            let Some(data) = body.in_memory() else { break };
            let (client, redirects) = (self.client.clone(), self.redirects - 1);
            let (mut head, target, peer, host) = (head.clone(), target.clone(), *peer, *host);
            let answer = self.exchange().await.0;
            let named = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let Some((method, to)) = next(&head.method, &target, named, &answer) else { return answer };
            let body = if method == head.method {
                data.into()
            } else {
                without_body(&mut head.headers);
                RequestBody::empty()
            };
            head.method = method;
            self = RequestBuilder { client, outbound: Outbound { head, target: Ok(to), body, peer, host }, redirects };
        }
        self.exchange().await.0
    }
}

/// The request that `answer`, which is one to a request with `method` for `target`, sends the client on to; `None` if it sends
/// it nowhere, or to another site.
fn next(method: &Method, target: &Uri, host: Option<&str>, answer: &Answer) -> Option<(Method, Uri)> {
    let status = answer.status();
    let method = match status {
        // §15.4.4, and what clients do with the first two (§15.4.2, §15.4.3)
        StatusCode::SEE_OTHER if *method != Method::HEAD => Method::GET,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if *method == Method::POST => Method::GET,
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => method.clone(),
        _ => return None,
    };
    let location = answer.header(header::LOCATION.as_str())?;
    let location = location.split('#').next().unwrap_or_default();
    Some((method, resolve(target, host, location)?))
}

/// The fields that are of a body which is not sent any more. RFC 9110 §15.4
fn without_body(headers: &mut HeaderMap) {
    let of_body =
        |name: &header::HeaderName| name.as_str().starts_with("content-") || *name == header::TRANSFER_ENCODING;
    let names: Vec<_> = headers.keys().filter(|name| of_body(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// `location` as a target, in the place of `target`. RFC 3986 §5.2
fn resolve(target: &Uri, host: Option<&str>, location: &str) -> Option<Uri> {
    if let Some((scheme, rest)) = location.split_once("://")
        && matches!(scheme, "http" | "https")
    {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let same = authority.eq_ignore_ascii_case(host.unwrap_or("testing"));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        return if same { path_and_query(&path) } else { None };
    }
    if location.starts_with("//") {
        return None;
    }
    let (path, query) = match location.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (location, None),
    };
    let base = target.path();
    let (path, query) = match path {
        "" => (base.to_owned(), query.or(target.query())),
        path if path.starts_with('/') => (without_dots(path), query),
        path => {
            let folder = base.rfind('/').and_then(|end| base.get(..=end)).unwrap_or("/");
            (without_dots(&format!("{folder}{path}")), query)
        }
    };
    path_and_query(&query.map_or(path.clone(), |query| format!("{path}?{query}")))
}

fn path_and_query(text: &str) -> Option<Uri> {
    text.parse::<PathAndQuery>().ok().map(Uri::from)
}

/// RFC 3986 §5.2.4
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let target: Uri = "/a/b/c?d=e".parse().expect("a target");
        let resolved = |location| resolve(&target, None, location).map(|uri| uri.to_string()).unwrap_or_default();
        for (location, expected) in [
            ("/x", "/x"),
            ("/x/../y/./z?q=1", "/y/z?q=1"),
            ("x", "/a/b/x"),
            ("../x?q", "/a/x?q"),
            ("..", "/a/"),
            ("../../../../x", "/x"),
            (".", "/a/b/"),
            ("?q=2", "/a/b/c?q=2"),
            ("", "/a/b/c?d=e"),
            ("http://testing/x", "/x"),
            ("https://TESTING?q", "/?q"),
            ("http://testing", "/"),
            ("http://elsewhere/x", ""),
            ("//elsewhere/x", ""),
        ] {
            assert_eq!(resolved(location), expected, "{location:?}");
        }
        assert_eq!(
            resolve(&target, Some("shop.example:8080"), "http://shop.example:8080/x").expect("same").path(),
            "/x"
        );
    }
}
