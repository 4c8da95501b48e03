//! In the memory of one process: for a chat on one machine, and for tests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::{News, Page, Store, Unavailable};
use crate::message::{Entry, HISTORY, Id, Said};

/// The last messages, until the program ends.
#[derive(Debug, Default)]
pub struct Memory {
    /// Each with its key.
    kept: Mutex<VecDeque<(String, Entry)>>,
    news: watch::Sender<Id>,
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, VecDeque<(String, Entry)>> {
        self.kept.lock().expect("invariant: nothing panics under this lock")
    }
}

impl Store for Memory {
    type News = watch::Receiver<Id>;

    async fn say(&self, said: &Said) -> Result<Id, Unavailable> {
        let mut kept = self.kept();
        if let Some((_, entry)) = kept.iter().find(|(key, _)| key == said.key()) {
            return Ok(entry.id);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut id = Id { milliseconds: now, number: 0 };
        if let Some((_, last)) = kept.back()
            && last.id >= id
        {
            id = Id { number: last.id.number + 1, ..last.id };
        }
        let entry = Entry { id, name: said.name().to_owned(), text: said.text().to_owned() };
        kept.push_back((said.key().to_owned(), entry));
        if kept.len() > HISTORY {
            kept.pop_front();
        }
        drop(kept);
        self.news.send_replace(id);
        Ok(id)
    }

    async fn read(&self, after: Id) -> Result<Page, Unavailable> {
        let kept = self.kept();
        let entries = kept.iter().filter(|(_, entry)| entry.id > after).map(|(_, entry)| entry.clone()).collect();
        let whole = after == Id::default() || kept.front().is_none_or(|(_, first)| first.id <= after);
        Ok(Page { entries, whole })
    }

    async fn listen(&self) -> Result<Self::News, Unavailable> {
        Ok(self.news.subscribe())
    }
}

impl News for watch::Receiver<Id> {
    async fn next(&mut self) -> Result<(), Unavailable> {
        self.changed().await.map_err(|_| Unavailable("the store is gone".to_owned()))
    }
}
