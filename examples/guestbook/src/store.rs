//! What is kept, in SQLite: a pool of connections that threads take from and give back.

use std::path::Path;
use std::time::Duration;

use adapter_web::Error;
use adapter_web::http::StatusCode;
use r2d2::{Pool, PooledConnection};
use r2d2_sqlite::SqliteConnectionManager;

/// How long a request waits for a connection, and a connection for who is writing.
const PATIENCE: Duration = Duration::from_secs(5);

/// One who has signed.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) at: String,
}

/// A pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Pool<SqliteConnectionManager>);

impl Store {
    /// Opens the database, makes it if there is none. Blocks.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Set up before there is a pool, which would go on trying.
        let connection = rusqlite::Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE IF NOT EXISTS entries (
                 id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
             );",
        )?;
        let manager = SqliteConnectionManager::file(path).with_init(|connection| connection.busy_timeout(PATIENCE));
        Ok(Store(Pool::builder().max_size(8).connection_timeout(PATIENCE).build(manager)?))
    }

    /// The last fifty, newest first.
    pub(crate) fn latest(&self) -> Result<Vec<Entry>, Error> {
        let connection = self.connection()?;
        let mut query = connection.prepare_cached("SELECT name, text, at FROM entries ORDER BY id DESC LIMIT 50")?;
        let entries = query.query_map([], |row| Ok(Entry { name: row.get(0)?, text: row.get(1)?, at: row.get(2)? }))?;
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// Adds one.
    pub(crate) fn sign(&self, name: &str, text: &str) -> Result<(), Error> {
        let connection = self.connection()?;
        connection.prepare_cached("INSERT INTO entries (name, text) VALUES (?, ?)")?.execute([name, text])?;
        Ok(())
    }

    fn connection(&self) -> Result<PooledConnection<SqliteConnectionManager>, Error> {
        self.0.get().map_err(|error| Error::new(error).with_status(StatusCode::SERVICE_UNAVAILABLE))
    }
}
