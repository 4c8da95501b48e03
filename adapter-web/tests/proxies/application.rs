//! What is asked through the proxies.

use adapter_web::websocket::{self, Upgrade};
use adapter_web::{Application, Body, Environ, Error, Request, Response};
use async_channel::Receiver;
use futures_lite::stream;

/// | route | answer |
/// |---|---|
/// | `/who` | `PEER SCHEME` as the server tells them |
/// | `/hop` | the address of the socket's own peer |
/// | `/forwarded` | the fields that may say who the client is, a line each, as they came |
/// | `/sum`, `/live/sum` | length and sum of the octets of the request body |
/// | `/live/events` | an event, and another one once `/go` was asked for |
/// | `/live/echo` | the request body, streamed back |
/// | `/broken` | a part of a body, and then an error |
/// | `/ws` | a WebSocket that echoes |
pub(crate) fn application() -> impl Application {
    let (go, gone) = async_channel::unbounded();
    move |request: Request, environ: Environ| {
        let (go, gone) = (go.clone(), gone.clone());
        async move {
            match request.uri().path() {
                "/who" => {
                    let peer = environ.peer_addr().map_or("nobody".to_owned(), |peer| peer.ip().to_string());
                    Ok(text(format!("{peer} {}", environ.scheme())))
                }
                "/hop" => Ok(text(environ.socket_peer_addr().map_or("unix".to_owned(), |peer| peer.to_string()))),
                "/forwarded" => {
                    let fields = request.headers().iter();
                    let fields = fields.filter(|(name, _)| name.as_str().contains("forwarded") || *name == "x-real-ip");
                    Ok(text(fields.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect()))
                }
                "/sum" | "/live/sum" => sum(request).await.map(text),
                "/live/events" => Ok(events(gone)),
                "/go" => {
                    go.send(()).await?;
                    Ok(text("gone".into()))
                }
                "/live/echo" => Ok(Response::new(Body::from(request.into_body()))),
                "/broken" => Ok(broken()),
                "/ws" => Ok(Upgrade::from_request(&request, &environ)?.accept(|mut socket| async move {
                    while let Some(message) = socket.recv().await {
                        socket.send(message?).await?;
                    }
                    Ok::<_, websocket::Error>(())
                })?),
                _ => Ok(text("Hello, World!".into())),
            }
        }
    }
}

fn text(text: String) -> Response {
    Response::new(Body::from(text))
}

async fn sum(request: Request) -> Result<String, Error> {
    let mut body = request.into_body();
    let (mut length, mut sum) = (0, 0_u64);
    while let Some(chunk) = body.chunk().await {
        let chunk = chunk?;
        length += chunk.len();
        sum = chunk.iter().fold(sum, |sum, octet| sum.wrapping_mul(31).wrapping_add(u64::from(*octet)));
    }
    Ok(format!("{length} {sum}"))
}

fn events(gone: Receiver<()>) -> Response {
    let events = stream::unfold(0, move |told| {
        let gone = gone.clone();
        async move {
            match told {
                0 => Some(("data: one\n\n", 1)),
                1 => gone.recv().await.ok().map(|()| ("data: two\n\n", 2)),
                _ => None,
            }
        }
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert("content-type", "text/event-stream".parse().expect("a value"));
    response
}

fn broken() -> Response {
    let items = [Ok("the first part"), Err(Error::new("asked to break off"))];
    Response::new(Body::from_stream(stream::iter(items)))
}
