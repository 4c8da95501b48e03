//! The methods.

use std::pin::Pin;
use std::time::Duration;

use adapter_web::Environ;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::numbers::numbers_server::Numbers;
use crate::numbers::{AverageReply, CountRequest, DivideReply, DivideRequest, GivenUpReply, GivenUpRequest, Number};

#[derive(Default)]
pub(crate) struct Service {
    given_up: watch::Sender<u32>,
}

#[tonic::async_trait]
impl Numbers for Service {
    async fn divide(&self, request: Request<DivideRequest>) -> Result<Response<DivideReply>, Status> {
        let DivideRequest { dividend, divisor } = request.into_inner();
        let (Some(quotient), Some(remainder)) = (dividend.checked_div(divisor), dividend.checked_rem(divisor)) else {
            let details = ErrorDetails::with_bad_request_violation("divisor", "has no quotient");
            let mut status = Status::with_error_details(Code::InvalidArgument, "can't be divided", details);
            status.metadata_mut().insert("x-divisor", MetadataValue::from(divisor));
            return Err(status);
        };
        Ok(Response::new(DivideReply { quotient, remainder }))
    }

    type CountStream = ReceiverStream<Result<Number, Status>>;

    async fn count(&self, request: Request<CountRequest>) -> Result<Response<Self::CountStream>, Status> {
        let environ = request.extensions().get::<Environ>().cloned().ok_or_else(|| Status::internal("no environ"))?;
        let CountRequest { to, pause } = request.into_inner();
        let pause = Duration::from_millis(pause.into());
        let given_up = self.given_up.clone();
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            for value in 1..=to {
                let next = tokio::select! {
                    // The client has cancelled or gone, or its deadline has passed.
                    () = sender.closed() => return given_up.send_modify(|calls| *calls += 1),
                    () = environ.shutting_down() => Err(Status::unavailable("the server is stopping")),
                    () = tokio::time::sleep(pause) => Ok(Number { value }),
                };
                let is_last = next.is_err();
                if sender.send(next).await.is_err() {
                    return given_up.send_modify(|calls| *calls += 1);
                }
                if is_last {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn sum(&self, request: Request<Streaming<Number>>) -> Result<Response<Number>, Status> {
        let mut numbers = request.into_inner();
        let mut total = 0_i64;
        while let Some(number) = numbers.message().await? {
            total = total.checked_add(number.value).ok_or_else(|| Status::out_of_range("the sum is too large"))?;
        }
        Ok(Response::new(Number { value: total }))
    }

    type AverageStream = Pin<Box<dyn Stream<Item = Result<AverageReply, Status>> + Send>>;

    async fn average(&self, request: Request<Streaming<Number>>) -> Result<Response<Self::AverageStream>, Status> {
        let (mut count, mut total) = (0.0, 0.0);
        let averages = request.into_inner().map(move |number| {
            count += 1.0;
            total += number?.value as f64;
            Ok(AverageReply { average: total / count })
        });
        Ok(Response::new(Box::pin(averages)))
    }

    async fn given_up(&self, request: Request<GivenUpRequest>) -> Result<Response<GivenUpReply>, Status> {
        let wanted = request.into_inner().at_least;
        let mut given_up = self.given_up.subscribe();
        let calls = given_up.wait_for(|calls| *calls >= wanted).await;
        let calls = *calls.map_err(|_| Status::unavailable("the service has ended"))?;
        Ok(Response::new(GivenUpReply { calls }))
    }
}
