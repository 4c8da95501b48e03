//! What a server is excused from: the entries of `spec/exceptions.toml`.
//!
//! A failed SHOULD with an entry is reported as excepted, with the reason, and fails nothing. Without one it fails like a
//! MUST, which no entry excuses. An entry whose cases all pass is stale, and fails a test of its own in [`crate::main`].

use std::sync::OnceLock;

use crate::case::{Case, Level};
use crate::registry::{self, Listed};
use crate::runner::Outcome;
use crate::specification;

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

/// The cases of the requirement `entry` is about.
pub fn cases_of(entry: &Exception) -> impl Iterator<Item = Listed> {
    registry::all().filter(|listed| listed.case.requirements.contains(&&*entry.requirement))
}

/// Why `entry` excuses nothing, if it doesn't: there is no such requirement, it is a MUST, or no case tests it.
pub fn problem(entry: &Exception) -> Option<String> {
    let Exception { requirement: id, server, .. } = entry;
    match specification::find(id) {
        _ if id.is_empty() => Some(format!("an exception of {server} names no requirement")),
        None => Some(format!("an exception of {server} names {id}, which is no requirement of the specification")),
        Some(found) if found.level == Some(Level::Must) => {
            Some(format!("{id} is a MUST, which no exception excuses: remove the entry, and mend {server}"))
        }
        Some(_) if server != "*" && cases_of(entry).next().is_none() => {
            Some(format!("{id} has no case that {server} could fail: remove the entry"))
        }
        Some(_) => None,
    }
}

/// What to say of `entry` where its cases ended with `outcomes` and none of them needed it.
pub fn no_longer_needed(entry: &Exception, outcomes: &[Outcome]) -> Option<String> {
    let Exception { requirement: id, server, .. } = entry;
    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Excepted { .. })) {
        return None;
    }
    let failed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed { .. })).count();
    let passed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Passed)).count();
    Some(match (failed, passed) {
        (0, 0) => format!("an exception can't be checked: every case of {id} is skipped for {server}"),
        (0, _) => {
            format!(
                "an exception is no longer needed: {server} passes every case of {id} that it runs. Remove its entry."
            )
        }
        _ => {
            format!("{server} still fails {failed} of the cases of {id}, which are a MUST for another requirement too")
        }
    })
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

    #[test]
    fn wrong_entries_are_told_for_what_they_are() {
        let entry = |id: &str| Exception { requirement: id.into(), server: "mine".into(), ..Exception::default() };
        let says = |id: &str| problem(&entry(id)).unwrap_or_default();
        assert_eq!(says("ZZZ-99"), "an exception of mine names ZZZ-99, which is no requirement of the specification");
        assert!(says("HDR-06").starts_with("HDR-06 is a MUST, which no exception excuses"), "{}", says("HDR-06"));
        assert_eq!(says("LIM-04b"), "");
        assert!(ours().iter().all(|entry| problem(entry).is_none() || entry.server == "*"));
        let told = |outcomes: &[Outcome]| no_longer_needed(&entry("LIM-04b"), outcomes).unwrap_or_default();
        let skipped = || Outcome::Skipped("no".into());
        let failed = || Outcome::Failed { failure: "no".into(), exchanges: Vec::new(), transcript: String::new() };
        let excepted = || Outcome::Excepted { reason: "no".into(), failure: "no".into() };
        assert_eq!(told(&[Outcome::Passed, excepted()]), "");
        assert!(told(&[Outcome::Passed, skipped()]).contains("no longer needed"));
        assert!(told(&[skipped()]).contains("skipped"));
        assert!(told(&[failed(), Outcome::Passed]).contains("still fails 1"));
    }

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
        assert!(excuse("hyper", case("frame_errors_have_their_code")).is_some());
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
