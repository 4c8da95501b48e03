//! Who asks, for which room, from which message on, and how long to wait for one: `?room=R&name=N&since=M&wait=S`.

use std::fmt;
use std::time::Duration;

use adapter_web::Error;
use adapter_web::http::{StatusCode, Uri};

pub(crate) struct Query {
    pub(crate) room: String,
    /// Empty if the client only listens.
    pub(crate) name: String,
    pub(crate) since: u64,
    /// A long-poll is answered after this time, with news or without.
    pub(crate) wait: Duration,
}

const LONGEST: Duration = Duration::from_secs(25);

impl Query {
    /// # Errors
    /// 400 for a room, name or number that is none.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Error> {
        let mut query = Query { room: "lobby".to_owned(), name: String::new(), since: 0, wait: LONGEST };
        for (key, value) in uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('=')) {
            let value = decode(value).ok_or_else(|| bad("the query is not UTF-8"))?;
            match key {
                "room" => query.room = value,
                "name" => query.name = value.trim().to_owned(),
                "since" => query.since = value.parse().map_err(|_| bad("since is a number"))?,
                "wait" => {
                    let seconds = value.parse().map_err(|_| bad("wait is a number of seconds"))?;
                    query.wait = LONGEST.min(Duration::from_secs(seconds));
                }
                _ => {}
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if query.room.is_empty() || query.room.len() > 32 || !query.room.chars().all(plain) {
            return Err(bad("a room is 1 to 32 letters, digits, - and _"));
        }
        if query.name.chars().count() > 32 || query.name.chars().any(char::is_control) {
            return Err(bad("a name has at most 32 characters"));
        }
        Ok(query)
    }

    /// The name, which is needed to speak.
    ///
    /// # Errors
    /// 400 if it is missing.
    pub(crate) fn speaker(&self) -> Result<&str, Error> {
        if self.name.is_empty() { Err(bad("a name is needed to speak")) } else { Ok(&self.name) }
    }
}

/// What is wrong with a request, in words for whoever sent it.
#[derive(Debug)]
pub(crate) struct Bad(&'static str);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Bad {}

pub(crate) fn bad(problem: &'static str) -> Error {
    Error::new(Bad(problem)).with_status(StatusCode::BAD_REQUEST)
}

/// Percent-decodes, with `+` for a space.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}
