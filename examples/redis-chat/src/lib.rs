//! A chat whose members may be on any of several processes, on several machines.
//!
//! A message is accepted when the [store](store::Store) has it, and only then its author is told so. Each process reads what was said
//! from the store, in the store's order, and tells its own members. A client that comes back says which message it saw last,
//! and gets the rest; one that heard no answer says its message again with the same key, and it is said once.

mod feed;
pub mod message;
mod room;
pub mod store;
mod told;

use std::sync::Arc;

use adapter_web::http::{HeaderValue, Method, StatusCode, header};
use adapter_web::websocket::{self, Upgrade};
use adapter_web::{Application, Body, Environ, Error, Request, Response, at_startup};
use tokio::task::JoinSet;

use crate::message::{Bad, Id, Said, name_of};
use crate::room::Room;
use crate::store::Store;
use crate::told::{Asked, Told};

const PAGE: &str = include_str!("page.html");
/// Bytes of a frame from a client: the longest message, and what JSON makes of it.
const LONGEST_FRAME: usize = 8 * 1024;

/// The chat, over the store that `open` gives when the server starts. `open` is called within a runtime of tokio's.
///
/// | route | answer |
/// |---|---|
/// | `GET /` | the page |
/// | `GET /ws?name=N` | a WebSocket, for who comes for the first time |
/// | `GET /ws?name=N&since=ID` | for who has seen messages up to that one |
pub fn application<S: Store>(open: impl Fn() -> Result<S, Error> + Send + Sync + 'static) -> impl Application {
    adapter_web::tokio::application(at_startup(move || {
        let store = open();
        async { store.map(Chat::new) }
    }))
}

struct Chat<S> {
    store: Arc<S>,
    room: Arc<Room>,
    /// Ended when this is dropped.
    _feed: JoinSet<()>,
}

impl<S: Store> Chat<S> {
    fn new(store: S) -> Self {
        let (store, room) = (Arc::new(store), Arc::new(Room::default()));
        let mut feed = JoinSet::new();
        feed.spawn(feed::feed(store.clone(), room.clone()));
        Chat { store, room, _feed: feed }
    }

    fn websocket(&self, request: &Request, environ: &Environ) -> Result<Response, Error> {
        let upgrade = Upgrade::from_request(request, environ)?.max_message_bytes(LONGEST_FRAME);
        if !is_own_page(&upgrade, request) {
            return Err(Error::new("opened by another site").with_status(StatusCode::FORBIDDEN));
        }
        let (name, since) =
            query(request.uri().query()).map_err(|bad| Error::new(bad).with_status(StatusCode::BAD_REQUEST))?;
        let (store, room) = (self.store.clone(), self.room.clone());
        Ok(upgrade.accept(move |socket| async move {
            let (sender, mut receiver) = socket.split();
            let _member = room.enter(since, sender.clone());
            // One message after the other: who says much waits for its answers.
            while let Some(message) = receiver.recv().await {
                let answer = hear(&*store, &name, message?.as_text().unwrap_or_default()).await;
                sender.try_send(answer)?;
            }
            Ok::<_, websocket::Error>(())
        })?)
    }
}

/// What to answer to a frame.
async fn hear(store: &impl Store, name: &str, frame: &str) -> String {
    let Ok(asked) = serde_json::from_str::<Asked>(frame) else {
        return Told::Refused { key: "", why: "a message is JSON, with key and text", again: false }.to_json();
    };
    let key = &asked.key;
    let told = match Said::new(key, name, &asked.text) {
        Err(Bad(why)) => Told::Refused { key, why, again: false },
        Ok(said) => match store.say(&said).await {
            Ok(id) => Told::Accepted { key, id },
            Err(error) => {
                tracing::debug!("not said: {error}");
                Told::Refused { key, why: "the chat's store is not there", again: true }
            }
        },
    };
    told.to_json()
}

/// Who comes, and up to which message it has seen them.
fn query(query: Option<&str>) -> Result<(String, Option<Id>), Bad> {
    let (mut name, mut since) = (String::new(), None);
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*key {
            "name" => name = value.into_owned(),
            "since" => since = Some(value.parse()?),
            _ => {}
        }
    }
    Ok((name_of(&name)?.to_owned(), since))
}

/// Browsers let any site open a WebSocket to any other.
fn is_own_page(upgrade: &Upgrade, request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    match upgrade.origin().map(|origin| origin.to_str().ok()) {
        None => true, // no browser
        Some(origin) => origin.and_then(|origin| origin.split_once("://")).map(|(_, site)| site) == host,
    }
}

impl<S: Store> Application for Chat<S> {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        match (request.method(), environ.path_info(request.uri().path())) {
            (&Method::GET | &Method::HEAD, "/" | "") => {
                let mut response = Response::new(Body::from(PAGE));
                let kind = HeaderValue::from_static("text/html; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                Ok(response)
            }
            // Over HTTP/2 a WebSocket begins as a CONNECT.
            (&Method::GET | &Method::CONNECT, "/ws") => self.websocket(&request, &environ),
            _ => Err(Error::new("no such page").with_status(StatusCode::NOT_FOUND)),
        }
    }
}
