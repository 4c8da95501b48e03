//! What a server is excused from: the entries of `spec/exceptions.toml`.
//!
//! A failed case with an entry is reported as excepted, with the reason; an entry whose case passes is stale, which
//! the traceability test finds.

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// The requirement.
    pub requirement: String,
    /// The server, or `*` for a requirement no case can observe.
    pub server: String,
    /// Why.
    pub reason: String,
}

/// The entries of this project's own servers.
pub fn ours() -> Vec<Exception> {
    parse(adapter_spec::EXCEPTIONS)
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
            _ => {}
        }
    }
    exceptions
}

#[cfg(test)]
mod tests {
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
