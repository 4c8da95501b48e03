//! An answer as it comes, from a client that may go away.
//!
//! A thread of its own plays the server: it polls the handler, then pulls the body and hands each piece over before it
//! asks for the next; one piece may wait between. The client's thread blocks in the methods here.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_lite::FutureExt;
use http::{HeaderMap, StatusCode, response};
use http_body::Frame;

use super::answer::Answer;
use super::client::Client;
use super::clock;
use super::exchange::{Hints, Outbound, Site, respond};
use crate::contain;
use crate::error::Error;
use crate::signal::Signal;

/// From the end of the client's stream to the drop of a pending handler. \[DIS-01\]
const GRACE: Duration = Duration::from_millis(250);

enum Event {
    Head(Box<response::Parts>),
    Frame(Frame<Bytes>),
    Broken(Error),
    End,
}

/// An answer under way. Dropping it is the client going away, as [`disconnect`](Self::disconnect) without the waiting.
pub struct OpenAnswer {
    client: Client,
    events: async_channel::Receiver<Event>,
    gone: Signal,
    over: Signal,
    hints: Hints,
    head: Option<Box<response::Parts>>,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Where cookies are kept, and the path of the request.
    #[cfg(feature = "testing")]
    cookies: Option<(super::cookies::Jar, String)>,
}

impl OpenAnswer {
    pub(super) fn start(client: Client, outbound: Outbound) -> Self {
        let (sender, events) = async_channel::bounded(1);
        let (gone, over, hints) = (Signal::new(), Signal::new(), Hints::default());
        let serve = serve(client.site.clone(), outbound, gone.clone(), hints.clone(), sender);
        let done = over.fire_on_drop();
        let serve = async move {
            // Before the clock takes it for idle; also after a panic.
            let _done = done;
            serve.await;
        };
        let serve = clock::track(client.site.clock.as_ref(), serve);
        let spawned = thread::Builder::new().name("testing-server".into()).spawn(move || {
            // A startup hook that panics; everything else is contained where it happens.
            let _ = contain::catch("exchange", || futures_lite::future::block_on(serve));
        });
        spawned.expect("a thread for an open answer of the testing client");
        OpenAnswer {
            client,
            events,
            gone,
            over,
            hints,
            head: None,
            trailers: None,
            ended: false,
            #[cfg(feature = "testing")]
            cookies: None,
        }
    }

    /// Keeps the cookies that the answer sets, as those of a request for that path.
    #[cfg(feature = "testing")]
    pub(super) fn with_cookies(mut self, cookies: Option<(super::cookies::Jar, String)>) -> Self {
        self.cookies = cookies;
        self
    }

    /// Blocks until the head is there.
    ///
    /// # Panics
    /// If the startup hook failed, or nothing came for [`Client::patience`].
    pub fn head(&mut self) -> &response::Parts {
        if self.head.is_none() {
            match self.next("head of the answer") {
                Some(Event::Head(head)) => {
                    #[cfg(feature = "testing")]
                    if let Some((jar, path)) = self.cookies.take() {
                        jar.take(&path, &head.headers);
                    }
                    self.head = Some(head);
                }
                _ => panic!("there is no answer: the application could not start"),
            }
        }
        self.head.as_deref().expect("invariant: it was there, or has just been put there")
    }

    /// The status. Blocks as [`head`](Self::head).
    pub fn status(&mut self) -> StatusCode {
        self.head().status
    }

    /// The fields of the head. Blocks as [`head`](Self::head).
    pub fn headers(&mut self) -> &HeaderMap {
        &self.head().headers
    }

    /// The 103 Early Hints that have come so far.
    pub fn early_hints(&self) -> Vec<HeaderMap> {
        self.hints.list()
    }

    /// The next piece of data; `None` at the end, and after an error. Blocks.
    ///
    /// # Errors
    /// What broke the body off.
    ///
    /// # Panics
    /// As [`head`](Self::head).
    pub fn chunk(&mut self) -> Option<Result<Bytes, Error>> {
        self.head();
        while !self.ended {
            match self.next("next chunk") {
                Some(Event::Frame(frame)) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Some(Event::Broken(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                _ => self.ended = true,
            }
        }
        None
    }

    /// The trailers, once the end has come.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Collects the rest. Blocks.
    ///
    /// # Panics
    /// As [`head`](Self::head).
    pub fn finish(mut self) -> Answer {
        let mut body = BytesMut::new();
        let mut error = None;
        while let Some(chunk) = self.chunk() {
            match chunk {
                Ok(data) => body.extend_from_slice(&data),
                Err(broken) => error = Some(broken),
            }
        }
        self.head();
        // The exchange is over for the server too: hooks have run, the body is dropped.
        self.client.wait("end of the exchange", self.over.fired());
        let head = *self.head.take().expect("invariant: `head` has just returned");
        Answer { head, body: body.freeze(), trailers: self.trailers.take(), error, hints: self.hints.list() }
    }

    /// The client goes away: `disconnected()` fires; the body is dropped, and a handler that still runs 250 ms later
    /// too. Blocks until that is done. Code that blocks its thread is not interrupted, but waited for. \[DIS-01\],
    /// \[BOD-10\]
    ///
    /// # Panics
    /// If it is not done within [`Client::patience`].
    pub fn disconnect(self) {
        self.leave();
        self.client.wait("end of the exchange", self.over.fired());
    }

    fn leave(&self) {
        self.gone.fire();
        self.events.close();
    }

    fn next(&self, what: &str) -> Option<Event> {
        self.client.wait(what, self.events.recv()).ok()
    }
}

impl Drop for OpenAnswer {
    fn drop(&mut self) {
        if !self.ended {
            self.leave();
        }
    }
}

impl fmt::Debug for OpenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAnswer").field("head", &self.head).finish_non_exhaustive()
    }
}

/// The server's side.
async fn serve(site: Arc<Site>, outbound: Outbound, gone: Signal, hints: Hints, events: async_channel::Sender<Event>) {
    if site.start().await.is_err() {
        return;
    }
    let answered = async { Some(respond(&site, outbound, gone.clone(), hints).await) };
    let abandoned = async {
        gone.fired().await;
        site.serving.runtime.sleep(GRACE).await;
        None
    };
    let Some(mut reply) = answered.or(abandoned).await else { return };
    let head = std::mem::replace(&mut reply.head, http::Response::new(()).into_parts().0);
    if events.send(Event::Head(Box::new(head))).await.is_err() {
        return;
    }
    loop {
        let left = async {
            gone.fired().await;
            None
        };
        let next = async { Some(reply.next(&site).await) };
        let event = match next.or(left).await {
            None => return,
            Some(Some(Ok(frame))) => Event::Frame(frame),
            Some(Some(Err(error))) => Event::Broken(error),
            Some(None) => Event::End,
        };
        let last = matches!(event, Event::Broken(_) | Event::End);
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}
