//! tonic's own client, on every server with HTTP/2.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::Future;
use std::time::Duration;

use adapter_web::ShutdownTrigger;
use grpc::numbers::numbers_client::NumbersClient;
use grpc::numbers::{CountRequest, DivideRequest, GivenUpRequest, Number};
use tokio_stream::{StreamExt as _, iter};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

/// How long a test may take on one server.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test has: all of it is one connection.
struct Clients {
    numbers: NumbersClient<Channel>,
    channel: Channel,
    trigger: ShutdownTrigger,
}

fn each<F: Future<Output = ()>>(test: impl Fn(Clients) -> F) {
    for server in support::servers() {
        // Shown where the test fails.
        println!("on {}", server.info().name);
        let (handle, address) = support::start(server);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
            let numbers = NumbersClient::new(channel.clone());
            let clients = Clients { numbers, channel, trigger: handle.trigger() };
            tokio::time::timeout(PATIENCE, test(clients)).await.unwrap();
        });
        drop(runtime);
        handle.trigger().trigger();
        handle.wait().unwrap();
    }
}

fn number(value: i64) -> Number {
    Number { value }
}

/// For as long as nobody gives it up.
fn endless() -> CountRequest {
    CountRequest { to: i64::MAX, pause: 1 }
}

#[test]
fn unary_and_an_error_with_details_and_metadata() {
    each(|Clients { mut numbers, .. }| async move {
        let reply = numbers.divide(DivideRequest { dividend: 17, divisor: 5 }).await.unwrap().into_inner();
        assert_eq!((reply.quotient, reply.remainder), (3, 2));
        let status = numbers.divide(DivideRequest { dividend: 17, divisor: 0 }).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "can't be divided"));
        assert_eq!(status.metadata().get("x-divisor").unwrap(), "0");
        let details = status.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, "divisor");
        // The connection goes on.
        assert!(numbers.divide(DivideRequest { dividend: 1, divisor: 1 }).await.is_ok());
    });
}

#[test]
fn streams_of_the_server_the_client_and_both() {
    each(|Clients { mut numbers, .. }| async move {
        let counted = numbers.count(CountRequest { to: 100, pause: 0 }).await.unwrap().into_inner();
        let counted: Vec<_> = counted.map(|number| number.unwrap().value).collect().await;
        assert_eq!(counted, (1..=100).collect::<Vec<_>>());
        assert_eq!(numbers.sum(iter((1..=1000).map(number))).await.unwrap().into_inner(), number(500_500));
        assert_eq!(numbers.sum(iter([])).await.unwrap().into_inner(), number(0));
        let large = numbers.sum(iter([number(i64::MAX), number(1)])).await.unwrap_err();
        assert_eq!(large.code(), Code::OutOfRange);
        // One by one: each is answered before the next is sent.
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut averages = numbers.average(receiver).await.unwrap().into_inner();
        for (value, average) in [(1, 1.0), (2, 1.5), (6, 3.0)] {
            sender.send(number(value)).await.unwrap();
            assert_eq!(averages.message().await.unwrap().unwrap().average, average);
        }
        drop(sender);
        assert!(averages.message().await.unwrap().is_none());
    });
}

#[test]
fn a_deadline_that_passes_ends_the_call_on_the_server() {
    each(|Clients { mut numbers, .. }| async move {
        let mut late = Request::new(endless());
        late.set_timeout(Duration::from_millis(100));
        // tonic's client waits no longer than that for the first message; for the others it is the server that ends it.
        let mut counted = numbers.count(late).await.unwrap().into_inner();
        let status = loop {
            match counted.message().await {
                Ok(number) => assert!(number.is_some(), "it ends with a status"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "the deadline has passed"));
        let mut waits = Request::new(GivenUpRequest { at_least: 1000 });
        waits.set_timeout(Duration::from_millis(50));
        let code = numbers.given_up(waits).await.unwrap_err().code();
        assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
        // The handler has seen it.
        assert_eq!(numbers.given_up(GivenUpRequest { at_least: 1 }).await.unwrap().into_inner().calls, 1);
    });
}

#[test]
fn a_cancelled_call_is_noticed() {
    each(|Clients { mut numbers, .. }| async move {
        let mut counted = numbers.count(endless()).await.unwrap().into_inner();
        assert_eq!(counted.message().await.unwrap(), Some(number(1)));
        drop(counted);
        assert_eq!(numbers.given_up(GivenUpRequest { at_least: 1 }).await.unwrap().into_inner().calls, 1);
        // One that does not send for a long time.
        let quiet = numbers.count(CountRequest { to: 1, pause: u32::MAX }).await.unwrap();
        drop(quiet);
        assert_eq!(numbers.given_up(GivenUpRequest { at_least: 2 }).await.unwrap().into_inner().calls, 2);
    });
}

#[test]
fn a_shutdown_ends_streams_with_their_status() {
    each(|Clients { mut numbers, trigger, .. }| async move {
        let mut counted = numbers.count(endless()).await.unwrap().into_inner();
        assert_eq!(counted.message().await.unwrap(), Some(number(1)));
        trigger.trigger();
        let status = loop {
            match counted.message().await {
                Ok(number) => assert!(number.is_some(), "it ends with a status"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the server is stopping"));
    });
}

#[test]
fn health_and_what_there_is_not() {
    each(|Clients { channel, .. }| async move {
        let mut health = HealthClient::new(channel.clone());
        for (service, serving) in [("", Ok(1)), ("numbers.v1.Numbers", Ok(1)), ("nothing", Err(Code::NotFound))] {
            let reply = health.check(HealthCheckRequest { service: service.into() }).await;
            assert_eq!(reply.map(|reply| reply.into_inner().status).map_err(|status| status.code()), serving);
        }
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<Number, Number>::default();
        let path = "/numbers.v1.Nothing/Nothing".parse().unwrap();
        let missing = client.unary(Request::new(number(1)), path, codec).await.unwrap_err();
        assert_eq!(missing.code(), Code::Unimplemented);
    });
}
