//! Who asks, for which room, from which message on: `?room=R&name=N&since=M`.

use adapter::Error;
use adapter::http::{StatusCode, Uri};

pub(crate) struct Query {
    pub(crate) room: String,
    /// Empty if the client only listens.
    pub(crate) name: String,
    pub(crate) since: u64,
}

impl Query {
    /// # Errors
    /// 400 for a room, name or number that is none.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Error> {
        let mut query = Query { room: "lobby".to_owned(), name: String::new(), since: 0 };
        for (key, value) in uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('=')) {
            let value = decode(value).ok_or_else(|| bad("the query is not UTF-8"))?;
            match key {
                "room" => query.room = value,
                "name" => query.name = value.trim().to_owned(),
                "since" => query.since = value.parse().map_err(|_| bad("since is a number"))?,
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

pub(crate) fn bad(problem: &'static str) -> Error {
    Error::new(problem).with_status(StatusCode::BAD_REQUEST)
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
