//! What the application saw, as the client reads it.

use std::collections::HashMap;

use crate::abilities::Abilities;
use crate::application::{Event, is_match};
use crate::case::Failure;
use crate::{mount, text};

/// The events recorded under one token, in order.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The events.
    pub events: Vec<Event>,
    abilities: Abilities,
}

/// One call of the application.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The method.
    pub method: String,
    /// `request.uri()` as text; octets beyond ASCII as they are, replaced if not UTF-8.
    pub uri: String,
    /// `request.version()`.
    pub version: String,
    /// `uri().path()`.
    pub path: Vec<u8>,
    /// `uri().query()`.
    pub query: Option<Vec<u8>>,
    /// Fields in the order of the map.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Facts of the environ.
    env: Vec<(String, String)>,
    abilities: Abilities,
}

impl Call {
    /// The values of `name`, in order.
    pub fn field(&self, name: &str) -> Vec<Vec<u8>> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    /// The values of `name`, in order, as text.
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.field(name).iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// A fact of the environ, empty if it was not there.
    pub fn env(&self, name: &str) -> &str {
        self.abilities.asks_fact(name);
        self.env.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl Seen {
    /// From recorded events.
    pub fn new(events: Vec<Event>) -> Self {
        Seen { events, abilities: Abilities::default() }
    }

    /// From the answer to a report request of an application that can do so much.
    pub(crate) fn parse(text: &str, abilities: &Abilities) -> Self {
        let event = |line: &str| {
            let mut parts = line.splitn(3, '\t');
            let call = parts.next()?.parse().ok()?;
            Some(Event { call, thread: parts.next()?.to_owned(), text: parts.next()?.to_owned() })
        };
        Seen { events: text.lines().filter_map(event).collect(), abilities: abilities.clone() }
    }

    /// The calls, in the order they began.
    pub fn calls(&self) -> Vec<Call> {
        // There may be many: each is looked for in its own events.
        let mut events: HashMap<usize, Vec<&Event>> = HashMap::new();
        for event in &self.events {
            events.entry(event.call).or_default().push(event);
        }
        let begun = self.events.iter().filter(|event| is_match(&event.text, "call"));
        let of = |event: &Event| Call::of(events.get(&event.call).map_or(&[][..], Vec::as_slice));
        begun.map(|event| Call { abilities: self.abilities.clone(), ..of(event) }).collect()
    }

    /// The only call there was.
    ///
    /// # Errors
    /// There was none, or there were several.
    pub fn call(&self) -> Result<Call, Failure> {
        let mut calls = self.calls();
        match (calls.pop(), calls.len()) {
            (Some(call), 0) => Ok(call),
            (None, _) => Err("the application was not called".into()),
            (Some(_), more) => Err(format!("the application was called {} times", more + 1).into()),
        }
    }

    /// How often `event` was recorded.
    pub fn count(&self, event: &str) -> usize {
        self.abilities.asks_event(event);
        crate::application::matching(&self.events, event)
    }
}

impl Call {
    /// From its events.
    fn of(events: &[&Event]) -> Self {
        let mut call = Call::default();
        for event in events {
            let mut words = event.text.split(' ');
            let kind = words.next().unwrap_or("");
            let (one, two, three) =
                (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
            match kind {
                "call" => {
                    call.method = text::decode_text(one);
                    call.uri = mount::unmounted(&text::decode_text(two)).to_owned();
                    three.clone_into(&mut call.version);
                }
                "path" => {
                    call.path = text::decode(one);
                    if let Ok(path) = std::str::from_utf8(&call.path) {
                        call.path = mount::unmounted(path).as_bytes().to_vec();
                    }
                }
                "query" => call.query = Some(text::decode(one)),
                "header" => call.fields.push((text::decode_text(one), text::decode(two))),
                "env" => call.env.push((one.to_owned(), text::decode_text(two))),
                _ => {}
            }
        }
        call
    }
}

impl Seen {
    /// Whether `event` was recorded.
    pub fn has(&self, event: &str) -> bool {
        self.count(event) > 0
    }

    /// Where in the order the first `event` is.
    pub fn position(&self, event: &str) -> Option<usize> {
        self.abilities.asks_event(event);
        self.events.iter().position(|found| is_match(&found.text, event))
    }

    /// What follows the word `event` in each such event.
    pub fn details(&self, event: &str) -> Vec<String> {
        self.abilities.asks_event(event);
        let found = self.events.iter().filter(|found| is_match(&found.text, event));
        found.map(|found| found.text[event.len()..].trim_start().to_owned()).collect()
    }

    /// Octets the application read, as far as they were recorded.
    pub fn read_data(&self) -> Vec<u8> {
        self.details("read-data").last().map(|data| text::decode(data)).unwrap_or_default()
    }

    /// Fails unless the application read exactly `body` and then the end.
    ///
    /// # Errors
    /// What it read instead.
    pub fn read_all(&self, body: &[u8]) -> Result<(), Failure> {
        let sum = text::checksum(0, body);
        let expected = format!("{} {sum:08x}", body.len());
        let seen = self.details("read-end");
        if seen == [expected.as_str()] {
            return Ok(());
        }
        let begin = text::show(&self.read_data(), 200);
        Err(format!(
            "the application read {seen:?} (length, checksum), errors {:?}, instead of {expected}; its beginning: {begin}",
            self.details("read-error")
        )
        .into())
    }

    /// The events without the head of the request, for messages.
    pub fn summary(&self) -> String {
        let facts = ["header", "env", "path", "query"];
        let told = self.events.iter().filter(|event| !facts.iter().any(|fact| is_match(&event.text, fact)));
        format!("{:?}", told.map(|event| event.text.as_str()).collect::<Vec<_>>())
    }
}
