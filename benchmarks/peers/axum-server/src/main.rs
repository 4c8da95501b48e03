//! axum's `Router` by axum-server under rustls, on one tokio multi-thread runtime; TCP_NODELAY as for the peer `axum`.

use std::sync::Arc;

use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use peer_support::Arguments;

fn main() {
    let arguments = Arguments::parse();
    let config = RustlsConfig::from_config(Arc::new(peer_tls::config(&arguments)));
    let acceptor = RustlsAcceptor::new(config).acceptor(NoDelayAcceptor::new());
    let listener = arguments.listen_nonblocking(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    runtime.expect("runtime").block_on(async {
        let server = axum_server::from_tcp(listener).expect("listener").acceptor(acceptor);
        let serving = tokio::spawn(server.serve(peer_axum::router().into_make_service()));
        serving.await.expect("no panic").expect("serve");
    });
}
