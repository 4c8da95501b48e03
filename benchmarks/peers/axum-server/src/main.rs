//! axum's `Router` by axum-server under rustls, on one tokio multi-thread runtime.

use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use peer_support::Arguments;

fn main() {
    let arguments = Arguments::parse();
    let config = RustlsConfig::from_config(Arc::new(peer_tls::config(&arguments)));
    let listener = arguments.listen_nonblocking(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    runtime.expect("runtime").block_on(async {
        let server = axum_server::from_tcp_rustls(listener, config).expect("listener");
        let serving = tokio::spawn(server.serve(peer_axum::router().into_make_service()));
        serving.await.expect("no panic").expect("serve");
    });
}
