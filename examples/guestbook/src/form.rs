//! The fields of a form, of bounded size.

use std::io::Read as _;

use adapter_web::http::{StatusCode, header};
use adapter_web::{BlockingBody, Error, Request};

/// More than anybody has to say. The server's own `--limit-body-bytes` is for uploads.
const MOST: u64 = 16 * 1024;

pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the body; what is wrong with it has a status of its own.
    pub(crate) fn read(request: Request<BlockingBody>) -> Result<Self, Error> {
        let kind =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // Parameters may follow.
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Error::new("not a form").with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let mut body = Vec::new();
        request.into_body().take(MOST + 1).read_to_end(&mut body)?;
        if body.len() as u64 > MOST {
            return Err(Error::new("the form is too large").with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Ok(Form(form_urlencoded::parse(&body).into_owned().collect()))
    }

    /// The first field of that name, or nothing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }
}
