//! What requests carry and answers hold, in the forms that programs exchange: JSON, forms, queries. Feature `testing`.

use form_urlencoded::Serializer;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::Answer;
use super::client::RequestBuilder;

impl RequestBuilder {
    /// A body of JSON, with its Content-Type.
    ///
    /// ```
    /// # use adapter_core::{Body, Environ, Error, Request, Response, testing::Client};
    /// async fn echo(request: Request, _environ: Environ) -> Result<Response, Error> {
    ///     assert_eq!(request.headers()["content-type"], "application/json");
    ///     Ok(Response::new(Body::from(request.into_body())))
    /// }
    ///
    /// let answer = Client::new(echo).put("/tea", "").json(&["green", "black"]).send();
    /// assert_eq!(answer.json::<Vec<String>>()?, ["green", "black"]);
    /// # Ok::<_, adapter_core::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `value` can't be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let text = serde_json::to_vec(value).unwrap_or_else(|error| panic!("not to be written as JSON: {error}"));
        self.typed("application/json", text)
    }

    /// A body as HTML forms send it, with its Content-Type.
    ///
    /// ```
    /// # use adapter_core::{Body, Environ, Error, Request, Response, testing::Client};
    /// # async fn echo(request: Request, _environ: Environ) -> Result<Response, Error> {
    /// #     Ok(Response::new(Body::from(request.into_body())))
    /// # }
    /// let answer = Client::new(echo).post("/", "").form([("name", "Ann & Bob"), ("tea", "green")]).send();
    /// assert_eq!(answer.text(), "name=Ann+%26+Bob&tea=green");
    /// ```
    pub fn form<K: AsRef<str>, V: AsRef<str>>(self, fields: impl IntoIterator<Item = (K, V)>) -> Self {
        let text = Serializer::new(String::new()).extend_pairs(fields).finish();
        self.typed("application/x-www-form-urlencoded", text.into_bytes())
    }

    /// Adds to the query of the target.
    ///
    /// ```
    /// # use adapter_core::{Body, Environ, Error, Request, Response, testing::Client};
    /// # async fn target(request: Request, _environ: Environ) -> Result<Response, Error> {
    /// #     Ok(Response::new(Body::from(request.uri().to_string())))
    /// # }
    /// let answer = Client::new(target).get("/tea?page=2").query([("kind", "green & black")]).send();
    /// assert_eq!(answer.text(), "/tea?page=2&kind=green+%26+black");
    /// ```
    pub fn query<K: AsRef<str>, V: AsRef<str>>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let more = Serializer::new(String::new()).extend_pairs(pairs).finish();
        if let Ok(uri) = &self.outbound.target
            && !more.is_empty()
        {
            let separator = match uri.query() {
                None => "?",
                Some("") => "",
                Some(_) => "&",
            };
            // What was a target with more of these octets is one.
            self.outbound.target = Ok(format!("{uri}{separator}{more}").parse::<Uri>().unwrap_or_else(|_| uri.clone()));
        }
        self
    }

    fn typed(mut self, kind: &'static str, body: Vec<u8>) -> Self {
        self.outbound.head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        self.body(body)
    }
}

impl Answer {
    /// The body, read as JSON.
    ///
    /// # Errors
    /// It is none, or none of this kind.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.body())
    }
}
