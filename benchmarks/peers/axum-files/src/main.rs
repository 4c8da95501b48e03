//! tower-http's `ServeDir` below axum, as its documentation has it: `--folder FOLDER`.

use axum::Router;
use axum::serve::ListenerExt;
use peer_support::Arguments;
use tower_http::services::ServeDir;

fn main() {
    let arguments = Arguments::parse();
    let listener = arguments.listen_nonblocking(false);
    let folder = arguments.value("--folder").expect("--folder").to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    let application = Router::new().fallback_service(ServeDir::new(folder));
    runtime.expect("runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async { axum::serve(listener, application).await }).await.expect("no panic").expect("serve");
    });
}
