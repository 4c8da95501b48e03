//! Brings to the room what is said in any process: one task, which runs as long as the application.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::room::Room;
use crate::store::{News as _, Store, Unavailable};

/// Between two attempts to reach the store, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Never ends. While the store is away, it tries again and again.
pub(crate) async fn feed(store: Arc<impl Store>, room: Arc<Room>) {
    let mut pause = PAUSES.0;
    loop {
        let Err(error) = follow(&*store, &room, &mut pause).await;
        if pause == PAUSES.0 {
            tracing::warn!("lost the store, trying again: {error}");
        }
        tokio::time::sleep(pause).await;
        pause = PAUSES.1.min(pause * 2);
    }
}

async fn follow(store: &impl Store, room: &Room, pause: &mut Duration) -> Result<Infallible, Unavailable> {
    // First this: what is said before it is read, and what is said after it is heard of. The other way round, what is said
    // between the two would be neither.
    let mut news = store.listen().await?;
    loop {
        loop {
            let page = store.read(room.last()).await?;
            if page.entries.is_empty() {
                break;
            }
            room.deliver(page);
        }
        if *pause > PAUSES.0 {
            tracing::info!("the store is back");
            *pause = PAUSES.0;
        }
        news.next().await?;
    }
}
