//! What a server is excused from: the entries of `spec/exceptions.toml`.
//!
//! A failed SHOULD with an entry is reported as excepted, with the reason, and fails nothing. Without one it fails like a
//! MUST, which no entry excuses. An entry whose cases all pass is stale, and fails a test of its own in [`crate::main`].

use std::sync::OnceLock;

use crate::case::{Case, Level};

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// The requirement.
    pub requirement: String,
    /// The server, or `*` for a requirement no case can observe.
    pub server: String,
    /// Why.
    pub reason: String,
    /// For a requirement that is not about a server: the file of the repository that tests it.
    pub tested: Option<String>,
}

/// The entries of this project's own servers.
pub fn ours() -> Vec<Exception> {
    parse(adapter_spec::EXCEPTIONS)
}

static ALSO: OnceLock<Vec<Exception>> = OnceLock::new();

/// Excuses servers by the entries of `text` too, for the rest of the process: for servers that are not this project's,
/// before [`main`](crate::main). Only the first call counts.
pub fn also(text: &str) {
    let _ = ALSO.set(parse(text));
}

/// All entries about `server`.
pub fn of(server: &str) -> Vec<Exception> {
    let all = ours().into_iter().chain(ALSO.get().into_iter().flatten().cloned());
    all.filter(|entry| entry.server == server).collect()
}

/// Why `server` may fail `case`: it is a MAY, or a SHOULD with an entry for one of its requirements.
pub fn excuse(server: &str, case: &Case) -> Option<String> {
    let is_about = |entry: &Exception| case.requirements.contains(&entry.requirement.as_str());
    match case.level {
        Level::Must => None,
        Level::Should => of(server).into_iter().find(is_about).map(|entry| entry.reason),
        Level::May => Some("the server leaves out what it may".into()),
    }
}

/// Reads the entries: tables `[[exception]]` of one-line strings, which is all of TOML the file uses.
pub fn parse(text: &str) -> Vec<Exception> {
    let mut exceptions: Vec<Exception> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if line == "[[exception]]" {
            exceptions.push(Exception::default());
            continue;
        }
        let (Some((key, value)), Some(last)) = (line.split_once('='), exceptions.last_mut()) else { continue };
        let value = value.trim().trim_start_matches('"');
        let value = value.rsplit_once('"').map_or(value, |(value, _comment)| value).replace("\\\"", "\"");
        match key.trim() {
            "requirement" => last.requirement = value,
            "server" => last.server = value,
            "reason" => last.reason = value,
            "tested" => last.tested = Some(value),
            _ => {}
        }
    }
    exceptions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn only_what_is_no_must_is_excused() {
        also(
            "[[exception]]\nrequirement = \"LIM-04b\"\nserver = \"mine\"\nreason = \"no\"\n\
              [[exception]]\nrequirement = \"HDR-06\"\nserver = \"mine\"\nreason = \"no\"\n",
        );
        let case = |id: &str| registry::all().find(|listed| listed.case.id == id).unwrap().case;
        assert_eq!(excuse("mine", case("begun_head_is_408")).as_deref(), Some("no"));
        assert_eq!(excuse("other", case("begun_head_is_408")), None);
        assert_eq!(excuse("mine", case("missing_host_is_refused")), None);
        assert!(excuse("hyper", case("fragment_is_refused")).is_some());
    }

    #[test]
    fn entries_are_read() {
        let text =
            "# [[exception]]\n[[exception]]\nrequirement = \"A-1\" # one\nserver = \"*\"\nreason = \"it \\\"is\\\"\"\n";
        let found = super::parse(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].requirement.as_str(), found[0].reason.as_str()), ("A-1", "it \"is\""));
        assert!(!super::ours().is_empty());
    }
}
