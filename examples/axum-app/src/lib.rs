//! An axum program as people write them: nothing in it knows which server runs it. Where its `main` called `axum::serve`,
//! it calls `adapter_web::serve!` now.
//!
//! One file for each thing that is shown. `AXUM_APP_DATABASE` is the file of the database; without it, it is in memory.

mod chat;
mod events;
mod notes;
mod session;
mod upload;

use std::error::Error;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRef, MatchedPath, OriginalUri};
use axum::http::StatusCode;
use axum::routing::{any, get, post};
use axum::{Json, Router};
use axum_extra::extract::cookie::Key;
use serde::Serialize;
use sqlx::SqlitePool;
use tower_http::compression::CompressionLayer;
use tower_http::services::ServeDir;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use crate::chat::Room;
use crate::events::Feed;

/// What handlers share.
#[derive(Clone, FromRef)]
struct App {
    database: SqlitePool,
    feed: Feed,
    room: Room,
    /// Signs the cookies. Made anew at each start, which ends all sessions; a real program has it in its configuration.
    key: Key,
}

/// The routes, with all that has to be awaited before they can be served.
///
/// # Errors
/// The database can't be opened.
pub async fn app() -> Result<Router, Box<dyn Error + Send + Sync>> {
    let app = App { database: notes::open().await?, feed: Feed::new(), room: Room::new(), key: Key::generate() };
    let files = ServeDir::new(concat!(env!("CARGO_MANIFEST_DIR"), "/static"));
    let too_slow = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(500));
    Ok(Router::new()
        .nest("/api/notes", notes::routes())
        .route("/upload", post(upload::upload))
        .route("/events", get(events::events))
        .route("/echo", any(chat::echo))
        .route("/chat", any(chat::chat))
        .route("/login", post(session::login))
        .route("/logout", post(session::logout))
        .route("/me", get(session::me))
        .route("/whoami/{name}", get(whoami))
        .route("/slow", get(slow).layer(too_slow))
        .route("/blocking", get(blocking))
        .fallback_service(files)
        .layer(CompressionLayer::new())
        .layer(TraceLayer::new_for_http())
        .with_state(app))
}

#[derive(Serialize)]
struct Whoami {
    peer: String,
    path: String,
    matched: String,
}

/// What the server knows of a request.
async fn whoami(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    OriginalUri(uri): OriginalUri,
    matched: MatchedPath,
) -> Json<Whoami> {
    Json(Whoami { peer: peer.ip().to_string(), path: uri.path().into(), matched: matched.as_str().into() })
}

/// Takes longer than its layer allows.
async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(60)).await;
    "you will not see this"
}

/// Blocks its thread, which stalls a server with an event loop, and does not stall a thread pool.
async fn blocking() -> &'static str {
    thread::sleep(Duration::from_millis(50));
    "done"
}
