//! The peer `axum` with axum's feature `http2`: a build of its own, so that the plain one stays as it is by default.

use axum::serve::ListenerExt;
use peer_support::Arguments;

fn main() {
    let arguments = Arguments::parse();
    let listener = arguments.listen_nonblocking(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    runtime.expect("runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async { axum::serve(listener, peer_axum::router()).await })
            .await
            .expect("no panic")
            .expect("serve");
    });
}
