//! What a conformance application can do, as its `about` tells (spec/APPLICATION.md), and what a case lacked of it.
//!
//! An application in another language knows some of the steps, facts and events. A case that asks for another one is
//! skipped, by its name and with that reason: it says nothing about the server.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::application::{CONTRACT, DO};
use crate::case::Failure;

/// Events that an interface may be unable to tell of. All others come with the step that records them.
const OPTIONAL: &[&str] = &[
    "asked-after-end",
    "body-dropped",
    "cancelled-knowing",
    "handler-cancelled",
    "handler-panicked",
    "handler-returned",
    "send-error",
    "trailer",
];

/// What the application of one subject can do, and what one case lacked. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Abilities {
    /// Lines of `about` such as `step read`; `None` is everything.
    known: Option<Arc<HashSet<String>>>,
    lacking: Arc<Mutex<Option<String>>>,
}

impl Abilities {
    /// From the answer to `about`. One that names no contract is of the suite's own application, and so can do all.
    ///
    /// # Errors
    /// It speaks another version of the contract.
    pub(crate) fn parse(about: &str) -> Result<Self, Failure> {
        let Some(version) = about.lines().find_map(|line| line.strip_prefix("contract ")) else {
            return Ok(Abilities::default());
        };
        if version.parse() != Ok(CONTRACT) {
            return Err(
                format!("it speaks version {version} of the contract, and this suite version {CONTRACT}").into()
            );
        }
        let kinds = ["step ", "fact ", "event "];
        let words = about.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind)));
        Ok(Abilities { known: Some(Arc::new(words.map(str::to_owned).collect())), lacking: Arc::default() })
    }

    /// The same, for a case that lacks nothing yet.
    pub(crate) fn afresh(&self) -> Self {
        Abilities { known: self.known.clone(), lacking: Arc::default() }
    }

    /// What the case asked for first that the application lacks, such as `the step hook`.
    pub(crate) fn lacking(&self) -> Option<String> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the application has `word`; that it has not is noted.
    fn has(&self, kind: &str, word: &str) -> bool {
        let Some(known) = &self.known else { return true };
        if known.contains(&format!("{kind} *")) || known.contains(&format!("{kind} {word}")) {
            return true;
        }
        let mut lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        lacking.get_or_insert_with(|| format!("the {kind} {word}"));
        false
    }

    /// Notes that a case asks for a fact about a call.
    pub(crate) fn asks_fact(&self, name: &str) {
        self.has("fact", name);
    }

    /// Notes that a case asks for an event; whether it can be recorded at all.
    pub(crate) fn asks_event(&self, event: &str) -> bool {
        let word = event.split(' ').next().unwrap_or("");
        !OPTIONAL.contains(&word) || self.has("event", word)
    }

    /// Whether the application can do a script.
    ///
    /// # Errors
    /// It can't, which is noted.
    pub(crate) fn can_do(&self, script: &str) -> Result<(), Failure> {
        if self.known.is_none() {
            return Ok(());
        }
        match needs(script).into_iter().find(|word| !self.has("step", word)) {
            Some(word) => Err(format!("the application does not know the step {word}").into()),
            None => Ok(()),
        }
    }

    /// [`can_do`](Self::can_do) of the scripts in requests of HTTP/1.1.
    ///
    /// # Errors
    /// It can't do one, which is noted.
    pub(crate) fn can_answer(&self, octets: &[u8]) -> Result<(), Failure> {
        if self.known.is_none() {
            return Ok(());
        }
        let name = format!("\r\n{DO}: ");
        for at in (0..octets.len()).filter(|at| octets[*at..].starts_with(name.as_bytes())) {
            let value = &octets[at + name.len()..];
            // A script that is sent in pieces is not looked at.
            if let Some(end) = value.iter().position(|octet| *octet == b'\r') {
                self.can_do(&String::from_utf8_lossy(&value[..end]))?;
            }
        }
        Ok(())
    }
}

/// The steps of a script, and the words of steps that have words of their own, as `about` names them.
fn needs(script: &str) -> Vec<String> {
    let mut needed = Vec::new();
    for step in script.split(';') {
        let mut words = step.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let (kind, before) = match name {
            "iter" | "stream" => ("item", 0),
            "channel" | "hinted" => ("item", 2),
            "trailed" => ("item", 3),
            "websocket" | "websocket?" => ("websocket", 0),
            "upgrade" | "upgrade?" => ("upgrade", 0),
            _ => ("", usize::MAX),
        };
        needed.push(name.to_owned());
        for word in words.skip(before) {
            let mut parts = word.split(':');
            let first = parts.next().unwrap_or("");
            needed.push(format!("{kind}:{first}"));
            // An item within an item: `times:3:text:a`, `forever:size:10`.
            let inner = match (kind, first) {
                ("item", "times") => parts.nth(1),
                ("item", "forever") => parts.next(),
                _ => None,
            };
            needed.extend(inner.map(|inner| format!("{kind}:{inner}")));
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_needs_is_named() {
        assert_eq!(needs("bare; read ;body a:b"), ["bare", "read", "body"]);
        let items = "stream text:a times:3:size:9 forever:text:b; channel 2 task gate:go; websocket ping:20 echo";
        let expected = [
            "stream",
            "item:text",
            "item:times",
            "item:size",
            "item:forever",
            "item:text",
            "channel",
            "item:gate",
            "websocket",
            "websocket:ping",
            "websocket:echo",
        ];
        assert_eq!(needs(items), expected);
    }

    #[test]
    fn what_is_missing_is_noted_once() {
        let able =
            Abilities::parse("contract 1\nserver x\nstep read\nstep stream\nstep item:text\nfact peer\n").unwrap();
        assert!(able.can_do("read; stream text:x").is_ok());
        able.asks_fact("peer");
        able.asks_event("read-end");
        assert_eq!(able.lacking(), None);
        let sent = able.can_answer(b"GET / HTTP/1.1\r\nx-conformance-do: read; hook\r\n\r\n");
        assert!(sent.is_err_and(|failure| failure.0 == "the application does not know the step hook"));
        able.asks_event("body-dropped");
        assert_eq!(able.lacking().as_deref(), Some("the step hook"));
        assert!(able.can_answer(b"GET / HTTP/1.1\r\nx-conformance-do: rea").is_ok());
        let next = able.afresh();
        next.asks_event("body-dropped 1");
        assert_eq!(next.lacking().as_deref(), Some("the event body-dropped"));
        assert!(Abilities::parse("contract 2\n").is_err());
    }

    #[test]
    fn the_suite_s_own_application_can_do_all() {
        let able = Abilities::parse("contract 1\nstep *\nfact *\nevent *\n").unwrap();
        assert!(able.can_do("anything at-all").is_ok());
        able.asks_fact("anything");
        able.asks_event("trailer");
        assert_eq!(able.lacking(), None);
    }
}
