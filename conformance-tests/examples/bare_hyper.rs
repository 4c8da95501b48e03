//! hyper as it comes, with the conformance application mounted and none of the rules around it: what is left for a server
//! to get right. `conformance run --external 127.0.0.1:8080` says which cases fail, and why.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use adapter_core::environ::{Connection, Serving};
use adapter_core::request_body::Source;
use adapter_core::server::Threads;
use adapter_core::{
    Application, Bytes, Capabilities, Environ, Error, ListenAddr, RequestBody, RequestBodyError, Runtime, ServerInfo,
    ShutdownTrigger,
};
use conformance_tests::application::Conformance;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

/// hyper's request body, as the interface has it.
struct Upload(Incoming);

impl Source for Upload {
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(|_| RequestBodyError::Disconnected)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// An error, as hyper takes it.
fn text(error: Error) -> String {
    error.to_string()
}

async fn serve(address: &str) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let local = ListenAddr::Tcp(listener.local_addr()?);
    println!("bare-hyper serves the conformance application at {local}");
    let config = conformance_tests::setting::DEFAULT.config();
    let runtime = Runtime::new(Threads::for_event_loop(&config));
    let (mut can, addrs) = (Capabilities::none(), vec![local.clone()]);
    (can.trailers, can.full_duplex) = (true, true);
    let info = ServerInfo::new("bare-hyper", "1.12").with_capabilities(can).listening(addrs, runtime.clone());
    let serving = Serving::new(info, runtime.clone(), ShutdownTrigger::new(), &config);
    let application = Conformance::new().mount();
    application.startup(&serving.info).await?;
    loop {
        let (socket, peer) = listener.accept().await?;
        let connection = Arc::new(Connection::new(serving.clone(), Some(peer), local.clone()));
        let (application, runtime) = (application.clone(), runtime.clone());
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let environ = Environ::new(connection.clone(), Instant::now());
            let (application, runtime) = (application.clone(), runtime.clone());
            let request = request.map(|body| RequestBody::from_source(Upload(body)));
            async move {
                let response = application.call(request, environ).await.map_err(text)?;
                let (head, body) = response.into_parts();
                let body = body.offload(&runtime, None).map_err(text)?.map_err(text);
                Ok::<_, String>(hyper::Response::from_parts(head, body))
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

fn main() -> Result<(), Error> {
    conformance_tests::application::quiet_panics();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    tokio::runtime::Runtime::new()?.block_on(serve(&address))
}
