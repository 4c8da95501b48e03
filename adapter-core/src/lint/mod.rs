//! A wrapping application that checks server and application at run time, as wsgiref.validate and Rack::Lint do.
//!
//! Runs wherever the application it wraps runs; it neither blocks nor buffers, and leaves bodies of the kind they are.
//! Each check stands beside the text of its rule and names the requirement of `spec/` it saw broken. It sees what
//! crosses the interface, not the wire: that is the conformance suite's part, and every case of it runs wrapped in this
//! (\[TST-02\]). In a shape that is too good for it, a violation can pass unseen; what it reports is one.
//!
//! ```
//! use adapter_core::{Body, Environ, Error, Request, Response, lint::Lint, testing::Client};
//!
//! async fn careless(_request: Request, _environ: Environ) -> Result<Response, Error> {
//!     let mut response = Response::new(Body::from("four"));
//!     response.headers_mut().insert("content-length", 5.into());
//!     Ok(response)
//! }
//!
//! let (application, violations) = Lint::collecting(careless);
//! Client::new(application).get("/").send();
//! assert_eq!(violations.take()[0].requirement, "FRM-04a");
//!
//! // or, while developing: log it and fail the request
//! assert_eq!(Client::new(Lint::new(careless)).get("/").send().status(), 500);
//! ```

mod request;
mod request_body;
mod response;
mod response_body;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::application::{Application, Request, Response};
pub use crate::causes::{Side, Violation};
use crate::environ::Environ;
use crate::error::Error;
use crate::info::ServerInfo;

/// The violations a collecting [`Lint`] has seen; cheap to clone, all clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Violations(Arc<Mutex<Vec<Violation>>>);

impl Violations {
    /// All so far, in the order they were seen.
    pub fn list(&self) -> Vec<Violation> {
        self.lock().clone()
    }

    /// All so far, taken out.
    pub fn take(&self) -> Vec<Violation> {
        std::mem::take(&mut *self.lock())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Violation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where violations go.
#[derive(Clone, Debug)]
enum Sink {
    /// To the log, and the request fails.
    Fail,
    /// To a list, and nothing else changes.
    Collect(Violations),
}

impl Sink {
    /// # Errors
    /// The first violation, if violations are to fail the request.
    fn report(&self, found: Vec<Violation>) -> Result<(), Violation> {
        match self {
            Sink::Collect(list) => {
                list.lock().extend(found);
                Ok(())
            }
            Sink::Fail => {
                for violation in &found {
                    tracing::error!(target: "adapter", %violation, "lint");
                }
                found.into_iter().next().map_or(Ok(()), Err)
            }
        }
    }
}

/// What one step of checking has found.
struct Findings {
    side: Side,
    found: Vec<Violation>,
}

impl Findings {
    fn of(side: Side) -> Self {
        Findings { side, found: Vec::new() }
    }

    /// Notes a violation of `requirement` unless `holds`.
    fn check(&mut self, holds: bool, requirement: &'static str, message: impl FnOnce() -> String) {
        if !holds {
            self.found.push(Violation { requirement, side: self.side, message: message() });
        }
    }
}

/// An application, watched. See the [module](self).
#[derive(Clone, Debug)]
pub struct Lint<A> {
    application: A,
    sink: Sink,
}

impl<A: Application> Lint<A> {
    /// Logs violations as errors and fails the request: with an `Err` that names the requirement before the head is
    /// committed, by breaking the body off after it.
    pub fn new(application: A) -> Self {
        Lint { application, sink: Sink::Fail }
    }

    /// Collects violations and changes nothing.
    pub fn collecting(application: A) -> (Self, Violations) {
        let violations = Violations::default();
        (Lint { application, sink: Sink::Collect(violations.clone()) }, violations)
    }
}

impl<A: Application> Application for Lint<A> {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        let (head, body) = request.into_parts();
        self.sink.report(request::check(&head, &body, &environ))?;
        let asked = response::Asked::of(&head);
        let body = request_body::watch(body, &head, self.sink.clone());
        let answer = self.application.call(Request::from_parts(head, body), environ).await?;
        let (head, body) = answer.into_parts();
        self.sink.report(response::check(&head, &body, &asked))?;
        let body = response_body::watch(body, &head, &asked, self.sink.clone());
        Ok(Response::from_parts(head, body))
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        self.application.startup(server).await
    }

    async fn shutdown(&self) -> Result<(), Error> {
        self.application.shutdown().await
    }
}
