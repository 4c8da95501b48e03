//! What goes over a WebSocket: one object of JSON a frame.
//!
//! ```text
//! {"key": "…", "text": "…"}                                                           from a client: say this
//! {"news": {"messages": [{"id", "name", "text"}], "last": "…", "gap": false}}          at the beginning, and whenever there are any
//! {"accepted": {"key": "…", "id": "…"}}                                               your message is kept
//! {"refused": {"key": "…", "why": "…", "again": true}}                                it may not be; whether to say it again
//! ```

use serde::{Deserialize, Serialize};

use crate::message::{Entry, Id};

/// From a client.
#[derive(Deserialize)]
pub(crate) struct Asked {
    pub(crate) key: String,
    pub(crate) text: String,
}

/// To a client.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Told<'a> {
    News {
        /// In order. After a lost connection to the store there may be many.
        messages: Vec<&'a Entry>,
        /// From where to go on after a lost connection.
        last: Id,
        /// Messages before these are missing, since they are not kept any more.
        gap: bool,
    },
    Accepted {
        key: &'a str,
        id: Id,
    },
    Refused {
        key: &'a str,
        why: &'a str,
        again: bool,
    },
}

impl Told<'_> {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("invariant: texts and numbers can be written")
    }
}
