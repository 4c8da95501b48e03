//! axum on one tokio multi-thread runtime, with its own `serve`; only the listener's backlog is ours.

use axum::serve::ListenerExt;
use peer_support::Arguments;

fn main() {
    let arguments = Arguments::parse();
    let listener = arguments.listen_nonblocking(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    let application = peer_axum::router();
    runtime.expect("runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async { axum::serve(listener, application).await }).await.expect("no panic").expect("serve");
    });
}
