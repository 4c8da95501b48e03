//! Server-sent events: the time every second, and notes as they are written.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};

/// What is told to everybody who listens.
#[derive(Clone)]
pub(crate) struct Feed(broadcast::Sender<String>);

impl Feed {
    pub(crate) fn new() -> Self {
        Feed(broadcast::channel(100).0)
    }

    pub(crate) fn tell(&self, text: &str) {
        // An error means that nobody listens.
        let _ = self.0.send(text.to_owned());
    }
}

pub(crate) async fn events(State(feed): State<Feed>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // Who is too slow misses some.
    let notes = BroadcastStream::new(feed.0.subscribe()).filter_map(async |note| note.ok());
    let notes = notes.map(|note| Event::default().event("note").data(note));
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_secs(1)));
    let ticks = ticks.enumerate().map(|(count, _)| Event::default().event("tick").data(count.to_string()));
    let events = futures_util::stream::select(ticks.boxed(), notes.boxed());
    Sse::new(events.map(Ok)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}
