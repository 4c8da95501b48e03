//! Notes in SQLite: routing, extractors, JSON, errors.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::App;
use crate::events::Feed;

/// Opens the database, and makes its table if there is none.
pub(crate) async fn open() -> Result<SqlitePool, sqlx::Error> {
    let database = match std::env::var("AXUM_APP_DATABASE") {
        Ok(file) => {
            let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
            SqlitePool::connect_with(options).await?
        }
        // In memory each connection would have a database of its own.
        Err(_) => SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?,
    };
    sqlx::query("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        .execute(&database)
        .await?;
    Ok(database)
}

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/", get(list).post(create)).route("/{id}", get(show).put(change).delete(remove))
}

#[derive(Serialize)]
struct Note {
    id: i64,
    text: String,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default = "Page::default_limit")]
    limit: u32,
}

impl Page {
    fn default_limit() -> u32 {
        20
    }
}

type Row = (i64, String);

async fn list(State(database): State<SqlitePool>, Query(page): Query<Page>) -> Result<Json<Vec<Note>>, Failure> {
    let query = sqlx::query_as::<_, Row>("SELECT id, text FROM notes ORDER BY id DESC LIMIT ?").bind(page.limit);
    let rows = query.fetch_all(&database).await?;
    Ok(Json(rows.into_iter().map(|(id, text)| Note { id, text }).collect()))
}

async fn create(
    State(database): State<SqlitePool>,
    State(feed): State<Feed>,
    Json(Text { text }): Json<Text>,
) -> Result<(StatusCode, Json<Note>), Failure> {
    let done = sqlx::query("INSERT INTO notes (text) VALUES (?)").bind(&text).execute(&database).await?;
    feed.tell(&text);
    Ok((StatusCode::CREATED, Json(Note { id: done.last_insert_rowid(), text })))
}

async fn show(State(database): State<SqlitePool>, Path(id): Path<i64>) -> Result<Json<Note>, Failure> {
    let query = sqlx::query_as::<_, Row>("SELECT id, text FROM notes WHERE id = ?").bind(id);
    let (id, text) = query.fetch_one(&database).await?;
    Ok(Json(Note { id, text }))
}

async fn change(
    State(database): State<SqlitePool>,
    Path(id): Path<i64>,
    Json(Text { text }): Json<Text>,
) -> Result<Json<Note>, Failure> {
    let done = sqlx::query("UPDATE notes SET text = ? WHERE id = ?").bind(&text).bind(id).execute(&database).await?;
    if done.rows_affected() == 0 { Err(Failure::missing()) } else { Ok(Json(Note { id, text })) }
}

async fn remove(State(database): State<SqlitePool>, Path(id): Path<i64>) -> Result<StatusCode, Failure> {
    let done = sqlx::query("DELETE FROM notes WHERE id = ?").bind(id).execute(&database).await?;
    if done.rows_affected() == 0 { Err(Failure::missing()) } else { Ok(StatusCode::NO_CONTENT) }
}

/// Why there is no note.
struct Failure(sqlx::Error);

impl Failure {
    fn missing() -> Self {
        Failure(sqlx::Error::RowNotFound)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self.0 {
            sqlx::Error::RowNotFound => (StatusCode::NOT_FOUND, "There is no such note.").into_response(),
            error => {
                eprintln!("database: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
