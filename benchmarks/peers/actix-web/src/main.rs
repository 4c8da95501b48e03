//! actix-web with its own server: `--threads` workers, each a current-thread runtime. `--http2` takes that besides HTTP/1.

mod application;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use actix_ws::Message;
use peer_support::Arguments;

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    rt::System::new().block_on(async {
        let server =
            HttpServer::new(|| App::new().configure(application::routes).route("/ws", web::get().to(websocket)))
                .workers(arguments.threads)
                .backlog(4096)
                .disable_signals();
        let address = arguments.address();
        let bound = if arguments.has("--http2") { server.bind_auto_h2c(address) } else { server.bind(address) };
        bound?.run().await
    })
}

async fn websocket(request: HttpRequest, payload: web::Payload) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, payload)?;
    rt::spawn(async move {
        while let Some(Ok(message)) = messages.recv().await {
            let sent = match message {
                Message::Text(text) => session.text(text).await,
                Message::Binary(data) => session.binary(data).await,
                Message::Ping(data) => session.pong(&data).await,
                _ => break,
            };
            if sent.is_err() {
                return;
            }
        }
        let _ = session.close(None).await;
    });
    Ok(response)
}
