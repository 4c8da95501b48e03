//! A guestbook in plain blocking code, as WSGI programs are: a function from a request to a response, that waits for its
//! database as long as it takes.
//!
//! Where it runs is the server's business. `threadpool` calls it on the thread that has read the request, which is free to
//! block. `hyper`, `actix` and `smol` serve from event loops that must not, so [`blocking`] hands each call to a bounded pool
//! beside them (`--blocking-threads`; what is more waits, and beyond `--blocking-queue` is answered 503). The code is the same.

mod cookie;
mod form;
mod pages;
mod store;

use adapter_web::http::{Method, StatusCode, header};
use adapter_web::{Application, BlockingBody, Environ, Error, Request, Response, blocking};

use crate::form::Form;
use crate::pages::Draft;
pub use crate::store::Store;

/// The guestbook that `store` keeps.
pub fn application(store: Store) -> impl Application {
    let guestbook = Guestbook { store };
    blocking(move |request, environ| guestbook.answer(request, environ))
}

struct Guestbook {
    store: Store,
}

impl Guestbook {
    fn answer(&self, request: Request<BlockingBody>, environ: Environ) -> Result<Response, Error> {
        // Below the prefix at which the deployer has mounted us.
        let path = environ.path_info(request.uri().path()).to_owned();
        match (request.method().clone(), &*path) {
            (Method::GET | Method::HEAD, "/" | "") => self.show(&request, &environ),
            (Method::POST, "/sign") => self.sign(request, &environ),
            (_, "/" | "") => Ok(pages::not_allowed("GET, HEAD")),
            (_, "/sign") => Ok(pages::not_allowed("POST")),
            _ => Ok(pages::status(StatusCode::NOT_FOUND, "Not found")),
        }
    }

    fn show(&self, request: &Request<BlockingBody>, environ: &Environ) -> Result<Response, Error> {
        let name = cookie::read(request.headers(), "name").unwrap_or_default();
        pages::guestbook(environ.mount_prefix(), &self.store.latest()?, Draft { name: &name, ..Draft::default() })
    }

    fn sign(&self, request: Request<BlockingBody>, environ: &Environ) -> Result<Response, Error> {
        let form = Form::read(request)?;
        let (name, text) = (form.get("name").trim(), form.get("text").trim());
        let problem = match (name.chars().count(), text.chars().count()) {
            (1..=50, 1..=1000) => None,
            (0, _) | (_, 0) => Some("Name and message are both needed."),
            _ => Some("A name has 50 characters at most, a message 1000."),
        };
        if let Some(problem) = problem {
            let draft = Draft { name, text, problem: Some(problem) };
            let mut page = pages::guestbook(environ.mount_prefix(), &self.store.latest()?, draft)?;
            *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            return Ok(page);
        }
        self.store.sign(name, text)?;
        // 303, so that a reload shows the page and does not sign once more.
        let mut response = pages::status(StatusCode::SEE_OTHER, "Thank you");
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, format!("{}/", environ.mount_prefix()).parse()?);
        headers.insert(header::SET_COOKIE, cookie::written("name", name).parse()?);
        Ok(response)
    }
}
