//! WSGI's own shape: a blocking callable whose response body may be an iterator.
//!
//! On servers that poll applications on threads which may block, the callable runs inline. On event loops one job on a
//! blocking thread runs it and then feeds its body: one hand-over per response, and one more for each time that the client
//! keeps it waiting. A WebSocket that the callable accepts for blocking code goes on in the same job. \[CON-02\], \[CON-11\], \[BOD-15\], \[REQ-19\]

use std::sync::Arc;

use crate::application::{Application, Request, Response};
use crate::contain;
use crate::environ::Environ;
use crate::error::Error;
use crate::request_body::BlockingBody;
use crate::rules;
use crate::runtime::{BlockingJob, task_channel};

/// Makes a blocking callable an [`Application`].
///
/// `f` may block as long as it likes: on every server it runs where that holds up nobody else. It learns that the
/// client is gone from an error of its next read, or from [`Environ::is_disconnected`]; it is never interrupted.
/// \[DIS-05\]
///
/// ```
/// use std::{thread::sleep, time::Duration};
/// use adapter_core::{blocking, BlockingBody, Body, Environ, Error, Request, Response};
///
/// let application = blocking(|_request: Request<BlockingBody>, _environ: Environ| {
///     let parts = ["START ", "MIDDLE ", "END"].into_iter().inspect(|_| sleep(Duration::from_millis(5)));
///     Ok::<_, Error>(Response::new(Body::from_iterator(parts)))
/// });
/// # let answer = adapter_core::testing::Client::new(application).get("/").send();
/// # assert_eq!(answer.text(), "START MIDDLE END");
/// ```
pub fn blocking<F, E>(f: F) -> Blocking<F>
where
    F: Fn(Request<BlockingBody>, Environ) -> Result<Response, E> + Send + Sync + 'static,
    E: Into<Error>,
{
    Blocking(Arc::new(f))
}

/// The application made by [`blocking`].
pub struct Blocking<F: ?Sized>(Arc<F>);

impl<F, E> Application for Blocking<F>
where
    F: Fn(Request<BlockingBody>, Environ) -> Result<Response, E> + Send + Sync + 'static,
    E: Into<Error>,
{
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        let request = request.map(BlockingBody::from);
        if environ.runtime().may_block() {
            environ.connection().blocks();
            return (self.0)(request, environ).map_err(Into::into);
        }
        let f = self.0.clone();
        let runtime = environ.runtime().clone();
        let (sender, task) = task_channel::<Result<Response, Error>>();
        let counted = environ.connection().count_blocking_job();
        let feeds = runtime.clone();
        let job = move || {
            let counted = counted;
            let handler = || contain::catch("blocking handler", || f(request, environ).map_err(Into::into));
            let (answer, after) = feeds.lending_thread(handler);
            // The response leaves this thread, which then feeds its body.
            match answer {
                Ok(Ok(response)) if response.body().is_blocking() => {
                    let (head, body) = response.into_parts();
                    let (feed, body) = body.split(rules::declared_length(&head.headers), &feeds, counted);
                    sender.send(Ok(Ok(Response::from_parts(head, body))));
                    feed.run_when_wanted();
                }
                answer => {
                    sender.send(answer);
                    // It has answered, and what goes on is no request of the connection's.
                    drop(counted);
                    if let Some(after) = after {
                        after();
                    }
                }
            }
        };
        // [DIS-05] a job that has not begun when the client goes away never does
        let (job, _withdrawal) = BlockingJob::withdrawable(job);
        drop(runtime.run_blocking_job(job));
        task.await?
    }
}

impl<F: ?Sized> std::fmt::Debug for Blocking<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blocking")
    }
}
