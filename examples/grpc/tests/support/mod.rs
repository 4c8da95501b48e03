//! Starts the service on a server.

use std::net::SocketAddr;

use adapter_web::{DynApplication, Server, ServerConfig, ServerHandle};

/// Those that can, or the one that `ADAPTER_SERVER` names.
pub(crate) fn servers() -> Vec<&'static dyn Server> {
    match std::env::var("ADAPTER_SERVER").ok().filter(|name| !name.is_empty()) {
        Some(name) => vec![adapter_web::registry::server(&name).expect("a server")],
        None => adapter_web::servers().into_iter().filter(|server| server.info().capabilities.http2).collect(),
    }
}

pub(crate) fn start(server: &dyn Server) -> (ServerHandle, SocketAddr) {
    let mut config = ServerConfig::default().bind("127.0.0.1:0".parse().expect("an address"));
    grpc::for_streams(&mut config);
    let application = DynApplication::new(adapter_web::axum_at_startup(grpc::app));
    let handle = server.start(application, config).expect("it starts");
    let address = handle.local_addrs()[0].tcp().expect("a TCP address");
    (handle, address)
}
