//! A gRPC service of tonic's, on whatever server with HTTP/2 it is started with.
//!
//! tonic makes an axum `Router` of its services, and that is an application like any other. What tonic's own server would do
//! beside calling them, keeping the client's deadline, is a layer here.

mod deadline;
mod service;

use adapter_web::ServerConfig;
use axum::Router;
use axum::middleware::from_fn;
use tonic::service::Routes;

use crate::numbers::numbers_server::NumbersServer;
use crate::service::Service;

/// What `proto/numbers.proto` says, as Rust: the generated messages, client and server.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all, reason = "generated")]
pub mod numbers {
    tonic::include_proto!("numbers.v1");
}

/// The same for clients that ask the server what it offers.
const DESCRIBED: &[u8] = tonic::include_file_descriptor_set!("numbers");

/// The service, with health and reflection beside it.
///
/// # Errors
/// The descriptors can't be read.
pub async fn app() -> Result<Router, tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<NumbersServer<Service>>().await;
    // Clients asked v1alpha before there was v1, and many still do.
    let routes = Routes::new(NumbersServer::new(Service::default()))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.into_axum_router().layer(from_fn(deadline::keep)))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIBED)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Streams may be silent, and go on, for as long as both sides like.
pub fn for_streams(config: &mut ServerConfig) {
    config.timeouts.body_read = None;
    config.limits.body_bytes = None;
}
