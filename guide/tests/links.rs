//! Every relative link and every anchor in the documents of the repository leads to something that is there. What leads to other
//! sites is not looked at: nothing is asked of a network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose documents are read, and documents by themselves.
const DOCUMENTS: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "adapter-core",
    "adapter-threadpool",
    "adapter-web/examples",
    "benchmarks",
    "conformance-tests",
    "examples",
    "examples/opentelemetry",
    "guide/src",
    "spec",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for place in DOCUMENTS {
        let place = root().join(place);
        if place.is_file() {
            documents.push(place);
            continue;
        }
        let entries = fs::read_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        let paths = entries.map(|entry| entry.expect("an entry").path());
        documents.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    documents
}

/// The lines of a document that are prose, and their numbers.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut fence = None;
    for (number, line) in text.lines().enumerate() {
        let begins = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, begins) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => lines.push((number + 1, without_code(line))),
            _ => {}
        }
    }
    lines
}

/// Without what stands between backquotes.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Where the links of a line lead: `[text](place)`, `![text](place)`, and `[name]: place`.
fn links(line: &str) -> Vec<&str> {
    let mut found: Vec<&str> = line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    if line.starts_with('[')
        && let Some((_, place)) = line.split_once("]: ")
    {
        found.push(place.trim());
    }
    found
}

/// The anchors of a document: its headings as forges and mdBook make anchors of them, and `{#anchor}`.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut times = BTreeMap::<String, usize>::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let heading = heading.trim();
        let (heading, explicit) = match heading.split_once(" {#") {
            Some((heading, anchor)) => (heading, anchor.strip_suffix('}')),
            None => (heading, None),
        };
        anchors.extend(explicit.map(str::to_owned));
        // Of a link only its text counts.
        let text = heading.split("](").enumerate().map(|(number, part)| match number {
            0 => part,
            _ => part.split_once(')').map_or("", |(_, rest)| rest),
        });
        let text: String = text.collect();
        let kept = text
            .to_lowercase()
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
            .collect::<String>();
        let anchor = kept.replace(' ', "-");
        let before = times.entry(anchor.clone()).or_default();
        anchors.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
        *before += 1;
    }
    anchors
}

/// What is wrong with a link in the document at `from`.
fn problem(from: &Path, link: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
        return None;
    }
    let (place, anchor) = link.split_once('#').map_or((link, None), |(place, anchor)| (place, Some(anchor)));
    let target = match place {
        "" => from.to_owned(),
        place if place.starts_with('/') => return Some("it is absolute".into()),
        place => from.parent()?.join(place),
    };
    if !target.exists() {
        return Some("nothing is there".into());
    }
    let anchor = anchor?;
    let Ok(text) = fs::read_to_string(&target) else { return Some("a folder has no anchors".into()) };
    let is_there = match anchor.strip_prefix('L').and_then(|line| line.parse::<usize>().ok()) {
        Some(line) => line <= text.lines().count(),
        None => anchors(&text).contains(anchor),
    };
    (!is_there).then(|| "no heading has that anchor".into())
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut followed = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        for (number, line) in prose(&text) {
            for link in links(&line) {
                followed += 1;
                if let Some(problem) = problem(&document, link) {
                    let document = document.strip_prefix(root()).unwrap_or(&document).display().to_string();
                    broken.push(format!("{document}:{number}: ({link}): {problem}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{} links are broken:\n{}", broken.len(), broken.join("\n"));
    assert!(followed > 200, "only {followed} links were found");
}

#[test]
fn a_broken_link_is_seen() {
    let readme = root().join("README.md");
    for link in [
        "no-such-file.md",
        "README.md#no-such-heading",
        "#no-such-heading",
        "/etc/passwd",
        "spec#x",
        "Cargo.toml#L99999",
    ] {
        assert!(problem(&readme, link).is_some(), "{link}");
    }
    for link in ["https://example.org/x", "spec", "spec/01-target.md", "Cargo.toml#L1"] {
        assert_eq!(problem(&readme, link), None, "{link}");
    }
    assert_eq!(links("see [a](b.md) and ![c](d.svg#e)"), ["b.md", "d.svg#e"]);
    assert_eq!(links("[name]: place.md"), ["place.md"]);
    assert_eq!(without_code("a `[x](y)` b"), "a ` b");
    assert_eq!(prose("a\n```text\n[x](y)\n```\nb").len(), 2);
}

#[test]
fn anchors_are_those_of_forges() {
    let text = "# From http to https\n## What's `new`, [here](x.md)?\n## Twice\n## Twice\n```sh\n# no heading\n```\n### A-01 Title {#A-01}\n";
    let expected = ["A-01", "a-01-title", "from-http-to-https", "twice", "twice-1", "whats-new-here"];
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), expected);
}
