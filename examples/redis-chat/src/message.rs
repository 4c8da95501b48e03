//! What is said, and the bounds of it.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Messages that a store keeps: so many are there for who was away.
pub const HISTORY: usize = 500;
/// Bytes of a text.
pub const LONGEST_TEXT: usize = 2000;
/// Bytes of a key.
pub const LONGEST_KEY: usize = 64;
/// Characters of a name.
pub const LONGEST_NAME: usize = 32;

/// Where a message stands among the others: a later one has a greater id, whichever process it went by.
///
/// Written `1764480000000-0`, as Redis numbers the entries of a stream: milliseconds since 1970, and a number among those
/// of one millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Milliseconds since 1970.
    pub milliseconds: u64,
    /// Counts the messages of one millisecond from 0.
    pub number: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.number)
    }
}

impl FromStr for Id {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let (milliseconds, number) = text.split_once('-').ok_or(Bad("an id is two numbers"))?;
        let number_of = |digits: &str| digits.parse().map_err(|_| Bad("an id is two numbers"));
        Ok(Id { milliseconds: number_of(milliseconds)?, number: number_of(number)? })
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A message that was said, as members get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Where it stands.
    pub id: Id,
    /// Who said it.
    pub name: String,
    /// What was said.
    pub text: String,
}

/// A message that is to be said.
#[derive(Clone, Debug)]
pub struct Said {
    key: String,
    name: String,
    text: String,
}

impl Said {
    /// # Errors
    /// [`Bad`], where one of the three is not within the bounds.
    pub fn new(key: &str, name: &str, text: &str) -> Result<Self, Bad> {
        if !(1..=LONGEST_KEY).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Bad("a key is 1 to 64 visible characters of ASCII"));
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(Bad("a message is not empty"));
        }
        if text.len() > LONGEST_TEXT {
            return Err(Bad("a message has at most 2000 bytes"));
        }
        // Beside being of no use, they are six times as long in JSON.
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(Bad("a message has no control characters"));
        }
        Ok(Said { key: key.to_owned(), name: name_of(name)?.to_owned(), text: text.to_owned() })
    }

    /// Chosen by the client, at random, and the same when it says a message again because it heard no answer. Nobody else
    /// gets to see it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Who says it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is said.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A name, without what is around it.
///
/// # Errors
/// [`Bad`], if it is none.
pub fn name_of(text: &str) -> Result<&str, Bad> {
    let name = text.trim();
    let length = name.chars().count();
    if (1..=LONGEST_NAME).contains(&length) && !name.chars().any(char::is_control) {
        Ok(name)
    } else {
        Err(Bad("a name has 1 to 32 characters"))
    }
}

/// What is wrong, in words for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad(pub &'static str);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Bad {}
