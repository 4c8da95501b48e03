//! The routes: a page, a WebSocket, a long-poll, a POST.

use std::sync::Arc;
use std::time::Duration;

use adapter_web::http::{HeaderValue, Method, StatusCode, Uri, header};
use adapter_web::websocket::{self, Upgrade};
use adapter_web::{Application, Body, Environ, Error, Request, Response};
use futures_lite::future;
use serde_json::json;

use crate::log::{Entry, Log};
use crate::query::{Bad, Query, bad};
use crate::room::{Room, Rooms};

const PAGE: &str = include_str!("index.html");
/// Who came and went is told this long after it.
const ONLINE: Duration = Duration::from_millis(300);
/// Bytes of a message.
const LIMIT: usize = 4096;

/// The application.
///
/// | route | answer |
/// |---|---|
/// | `GET /` | the page |
/// | `GET /ws?room=R&name=N&since=M` | a WebSocket: texts in, JSON out |
/// | `GET /poll?room=R&since=M` | JSON of what was said after message M, at the latest after 25 s or `&wait=S` |
/// | `POST /send?room=R&name=N` | says the body |
///
/// JSON is `{"entries": [{"number", "name", "text", "at"}], "online": {"count", "names"}}`; `online` may be missing.
pub(crate) struct Chat {
    rooms: Rooms,
}

impl Chat {
    pub(crate) fn new(log: impl Log) -> Self {
        Chat { rooms: Rooms::new(log) }
    }

    fn websocket(&self, request: &Request, environ: &Environ) -> Result<Response, Error> {
        let upgrade = Upgrade::from_request(request, environ)?.max_message_bytes(LIMIT);
        let query = Query::of(request.uri())?;
        let room = self.rooms.get(&query.room);
        let environ = environ.clone();
        Ok(upgrade.accept(move |socket| async move {
            let (sender, mut receiver) = socket.split();
            let member = room.enter(&query.name, query.since, sender);
            tell_online(&room, &environ);
            let mut ended = Ok::<_, websocket::Error>(());
            while let Some(message) = receiver.recv().await {
                match message {
                    Ok(message) => {
                        let text = message.as_text().unwrap_or("").trim();
                        if !(text.is_empty() || query.name.is_empty()) {
                            room.say(&query.name, text);
                        }
                    }
                    Err(error) => ended = Err(error),
                }
            }
            drop(member);
            tell_online(&room, &environ);
            ended
        })?)
    }

    /// Waits until something is said, but not for ever, and not while the server wants to stop.
    async fn poll(&self, uri: &Uri, environ: &Environ) -> Result<Response, Error> {
        let query = Query::of(uri)?;
        let room = self.rooms.get(&query.room);
        if room.seen(&query.name) {
            tell_online(&room, environ);
        }
        let (mut entries, news) = room.listen(query.since);
        if entries.is_empty() {
            let waited = future::or(news, environ.shutting_down());
            // Without news the answer is an empty one.
            let _ = environ.runtime().timeout(query.wait, waited).await;
            entries = room.listen(query.since).0;
        }
        room.seen(&query.name);
        let entries: Vec<_> = entries.iter().map(Entry::to_json).collect();
        Ok(json_answer(&json!({ "entries": entries, "online": room.online() })))
    }

    async fn send(&self, request: Request, environ: &Environ) -> Result<Response, Error> {
        let query = Query::of(request.uri())?;
        let name = query.speaker()?;
        let body = request.into_body().bytes(LIMIT).await?;
        let text = std::str::from_utf8(&body).map_err(|_| bad("a message is UTF-8"))?.trim();
        if text.is_empty() {
            return Err(bad("a message is not empty"));
        }
        let room = self.rooms.get(&query.room);
        if room.seen(name) {
            tell_online(&room, environ);
        }
        Ok(json_answer(&room.say(name, text).to_json()))
    }
}

impl Application for Chat {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        let answered = match (request.method(), environ.path_info(request.uri().path())) {
            (&Method::GET | &Method::HEAD, "/" | "") => Ok(answer("text/html; charset=utf-8", PAGE)),
            // Over HTTP/2 a WebSocket is a CONNECT.
            (&Method::GET | &Method::CONNECT, "/ws") => self.websocket(&request, &environ),
            (&Method::GET, "/poll") => self.poll(request.uri(), &environ).await,
            (&Method::POST, "/send") => self.send(request, &environ).await,
            _ => Ok(text(StatusCode::NOT_FOUND, "Not found; see /")),
        };
        // The page shows what was wrong; the server's own answer to an error would only name the status.
        answered.or_else(|error| match error.downcast_ref::<Bad>() {
            Some(problem) => Ok(text(error.status(), problem.to_string())),
            None => Err(error),
        })
    }
}

/// Tells everybody who is here, once for all who come and go at about the same time.
fn tell_online(room: &Arc<Room>, environ: &Environ) {
    if room.claim_telling() {
        let (room, pause) = (room.clone(), environ.runtime().sleep(ONLINE));
        let tell = async move {
            pause.await;
            room.tell_online();
        };
        environ.runtime().spawn(tell).detach();
    }
}

fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = answer("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    response
}

fn json_answer(value: &serde_json::Value) -> Response {
    answer("application/json", value.to_string())
}

fn answer(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
