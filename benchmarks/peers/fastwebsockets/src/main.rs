//! fastwebsockets on hyper, on one tokio multi-thread runtime: `/ws` sends messages back, and nothing else is asked for
//! but `/`.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError};
use http_body_util::{Either, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use peer_support::{Arguments, HELLO};

type Answer = Response<Either<Full<Bytes>, Empty<Bytes>>>;

fn main() {
    let arguments = Arguments::parse();
    let listener = arguments.listen_nonblocking(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    let runtime = runtime.expect("runtime");
    runtime.block_on(async { tokio::spawn(serve(listener)).await.expect("the accept loop does not panic") });
}

async fn serve(listener: std::net::TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            let _ = connection.with_upgrades().await;
        });
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Answer, Infallible> {
    if !is_upgrade_request(&request) {
        return Ok(Response::new(Either::Left(Full::from(HELLO))));
    }
    Ok(match upgrade(&mut request) {
        Ok((response, upgraded)) => {
            // Unconstrained, as its own example does it.
            tokio::spawn(tokio::task::unconstrained(async { drop(repeat(upgraded).await) }));
            response.map(Either::Right)
        }
        Err(_) => {
            let mut response = Response::new(Either::Right(Empty::new()));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    })
}

async fn repeat(upgraded: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
