//! gRPC: a service of tonic's runs on the servers with HTTP/2, and tonic's own client is content with it. Written by hand, as
//! tonic's generator writes it, with messages of plain bytes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::future::{Future, Ready, pending, ready};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::{RequestBody, tower};
use axum::body::Bytes;
use futures_lite::{Stream, StreamExt as _, stream};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{ClientStreamingService, Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::{PATIENCE, Running, config, start};

/// Messages of bytes.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(buffer, item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        use bytes::Buf as _;
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Answering<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

/// Tells that a call was dropped.
#[derive(Clone)]
struct Methods(mpsc::Sender<&'static str>);

struct OnDrop(mpsc::Sender<&'static str>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

impl UnaryService<Bytes> for Methods {
    type Response = Bytes;
    type Future = Answering<Bytes>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let dropped = OnDrop(self.0.clone());
        Box::pin(async move {
            let told = request.metadata().get("x-told").cloned();
            let message = request.into_inner();
            match &*message {
                b"refuse" => Err(Status::failed_precondition("not \"today\", café")),
                b"never" => {
                    let _dropped = dropped;
                    pending().await
                }
                _ => {
                    let mut response = Response::new(message);
                    if let Some(told) = told {
                        response.metadata_mut().insert("x-told", told);
                    }
                    Ok(response)
                }
            }
        })
    }
}

struct Counts(Methods);

impl ServerStreamingService<Bytes> for Counts {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Ready<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let count: u32 = std::str::from_utf8(request.get_ref()).unwrap().parse().unwrap();
        let numbers = stream::iter(0..count).map(|n| Ok(Bytes::from(n.to_string())));
        let end: Messages = match count {
            3 => Box::pin(stream::once(Err(Status::data_loss("after three")))),
            // Until the client cancels.
            0 => {
                let dropped = OnDrop(self.0.0.clone());
                Box::pin(stream::once(Ok(Bytes::from("first"))).chain(stream::pending()).map(move |item| {
                    let _dropped = &dropped;
                    item
                }))
            }
            _ => Box::pin(stream::empty()),
        };
        ready(Ok(Response::new(Box::pin(numbers.chain(end)))))
    }
}

struct Sums;

impl ClientStreamingService<Bytes> for Sums {
    type Response = Bytes;
    type Future = Answering<Bytes>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let mut messages = request.into_inner();
            let mut total = 0;
            while let Some(message) = messages.message().await? {
                total += message.len();
            }
            Ok(Response::new(total.to_string().into()))
        })
    }
}

struct Echoes;

impl StreamingService<Bytes> for Echoes {
    type Response = Bytes;
    type ResponseStream = Streaming<Bytes>;
    type Future = Ready<Result<Response<Streaming<Bytes>>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

/// What tonic's generator makes of a service.
#[derive(Clone)]
struct Service(Methods);

impl ::tower::Service<http::Request<RequestBody>> for Service {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let methods = self.0.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Plain);
            Ok(match request.uri().path() {
                "/test.Test/Unary" => grpc.unary(methods, request).await,
                "/test.Test/Count" => grpc.server_streaming(Counts(methods), request).await,
                "/test.Test/Sum" => grpc.client_streaming(Sums, request).await,
                "/test.Test/Echo" => grpc.streaming(Echoes, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Runs `test` with a client of each server that has HTTP/2.
fn each<Fut: Future<Output = ()>>(test: impl Fn(Client) -> Fut) {
    for server in adapter_web::servers() {
        let info = server.info();
        if !info.capabilities.http2 {
            assert_eq!(info.name, "threadpool");
            continue;
        }
        println!("on {}", info.name);
        let (told, dropped) = mpsc::channel();
        let running = start(server, tower::application(Service(Methods(told))), config());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let done = runtime.block_on(async {
            let channel = Endpoint::from_shared(format!("http://{}", running.addr)).unwrap().connect().await.unwrap();
            let client = Client { grpc: tonic::client::Grpc::new(channel), dropped, running };
            tokio::time::timeout(PATIENCE, test(client)).await
        });
        done.unwrap();
    }
}

struct Client {
    grpc: tonic::client::Grpc<Channel>,
    dropped: mpsc::Receiver<&'static str>,
    running: Running,
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/test.Test/{method}").parse().unwrap()
}

impl Client {
    async fn unary(&mut self, method: &str, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.grpc.ready().await.unwrap();
        self.grpc.unary(request, path(method), Plain).await
    }

    async fn count(&mut self, count: &'static str) -> Streaming<Bytes> {
        self.grpc.ready().await.unwrap();
        let request = Request::new(Bytes::from(count));
        self.grpc.server_streaming(request, path("Count"), Plain).await.unwrap().into_inner()
    }
}

#[test]
fn one_message_for_another_with_metadata() {
    each(|mut client| async move {
        let mut request = Request::new(Bytes::from("hello"));
        request.metadata_mut().insert("x-told", "it".parse().unwrap());
        let response = client.unary("Unary", request).await.unwrap();
        assert_eq!(response.metadata().get("x-told").unwrap(), "it");
        assert_eq!(response.get_ref(), "hello");
        let empty = client.unary("Unary", Request::new(Bytes::new())).await.unwrap();
        assert_eq!(empty.get_ref(), "");
        let large = Bytes::from(vec![7; 3 << 20]);
        assert_eq!(client.unary("Unary", Request::new(large.clone())).await.unwrap().into_inner(), large);
    });
}

#[test]
fn errors_are_trailers_alone() {
    each(|mut client| async move {
        let refused = client.unary("Unary", Request::new("refuse".into())).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "not \"today\", café"));
        let missing = client.unary("Nothing", Request::new("x".into())).await.unwrap_err();
        assert_eq!(missing.code(), Code::Unimplemented);
    });
}

#[test]
fn streams_end_with_their_status() {
    each(|mut client| async move {
        let mut numbers = client.count("1000").await;
        for n in 0..1000 {
            assert_eq!(numbers.message().await.unwrap().unwrap(), n.to_string());
        }
        assert!(numbers.message().await.unwrap().is_none());
        assert!(numbers.trailers().await.unwrap().is_some());
        let mut numbers = client.count("3").await;
        for n in 0..3 {
            assert_eq!(numbers.message().await.unwrap().unwrap(), n.to_string());
        }
        let lost = numbers.message().await.unwrap_err();
        assert_eq!((lost.code(), lost.message()), (Code::DataLoss, "after three"));
    });
}

#[test]
fn clients_stream_too() {
    each(|mut client| async move {
        // All of it, and not the field that is used.
        let client = &mut client;
        client.grpc.ready().await.unwrap();
        let many = Request::new(stream::iter((0..100).map(|_| Bytes::from("ten octets"))));
        let total = client.grpc.client_streaming(many, path("Sum"), Plain).await.unwrap();
        assert_eq!(total.get_ref(), "1000");
    });
}

#[test]
fn messages_go_to_and_fro() {
    each(|mut client| async move {
        // All of it, and not the field that is used.
        let client = &mut client;
        client.grpc.ready().await.unwrap();
        let (sender, receiver) = async_channel::bounded(1);
        // The response begins before there is a message.
        let echo = client.grpc.streaming(Request::new(receiver), path("Echo"), Plain).await.unwrap();
        let mut echo = echo.into_inner();
        for n in 0..100 {
            let message = Bytes::from(n.to_string());
            sender.send(message.clone()).await.unwrap();
            assert_eq!(echo.message().await.unwrap(), Some(message));
        }
        drop(sender);
        assert_eq!(echo.message().await.unwrap(), None);
    });
}

#[test]
fn a_deadline_that_passes_and_a_cancelled_call_drop_the_handler() {
    each(|mut client| async move {
        let mut request = Request::new(Bytes::from("never"));
        request.set_timeout(Duration::from_millis(50));
        let late = client.unary("Unary", request).await.unwrap_err();
        assert!(matches!(late.code(), Code::Cancelled | Code::DeadlineExceeded), "{late}");
        let mut endless = client.count("0").await;
        assert_eq!(endless.message().await.unwrap().unwrap(), "first");
        drop(endless);
        // The client's connection is driven while it is waited for.
        let dropped = client.dropped;
        let both = move || [dropped.recv_timeout(PATIENCE), dropped.recv_timeout(PATIENCE)];
        assert_eq!(tokio::task::spawn_blocking(both).await.unwrap(), [Ok("dropped"), Ok("dropped")]);
        drop(client.running);
    });
}
