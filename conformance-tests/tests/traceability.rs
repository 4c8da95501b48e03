//! Specification and suite agree: every MUST and SHOULD has a case or an exception, every id in a case is one of the
//! specification, and every exception is for what may have one. That an exception of a server is still needed is a trial
//! of `tests/conformance.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use conformance_tests::case::Level;
use conformance_tests::{exceptions, registry, specification};

fn covered() -> BTreeSet<&'static str> {
    registry::all().flat_map(|listed| listed.case.requirements.iter().copied()).collect()
}

#[test]
fn every_must_and_should_has_a_case_or_an_exception() {
    let covered = covered();
    let excepted: BTreeSet<String> =
        exceptions::ours().into_iter().filter(|entry| entry.server == "*").map(|entry| entry.requirement).collect();
    let missing: Vec<String> = specification::requirements()
        .into_iter()
        .filter(|requirement| matches!(requirement.level, Some(Level::Must | Level::Should)))
        .map(|requirement| requirement.id)
        .filter(|id| !covered.contains(id.as_str()) && !excepted.contains(id))
        .collect();
    assert!(missing.is_empty(), "requirements without a case or an exception: {missing:?}");
}

#[test]
fn every_case_names_known_requirements_of_its_level() {
    let known: BTreeMap<String, Option<Level>> =
        specification::requirements().into_iter().map(|requirement| (requirement.id, requirement.level)).collect();
    for listed in registry::all() {
        let levels: Vec<Option<Level>> = listed
            .case
            .requirements
            .iter()
            .map(|id| *known.get(*id).unwrap_or_else(|| panic!("{} names the unknown requirement {id}", listed.name())))
            .collect();
        assert!(levels.iter().all(Option::is_some), "{} names a retired requirement", listed.name());
        // A case is as binding as the most binding of its requirements.
        let most = levels.iter().flatten().min();
        assert_eq!(most, Some(&listed.case.level), "the level of {}", listed.name());
    }
}

#[test]
fn exceptions_are_for_shoulds_and_for_what_is_no_server() {
    let known: BTreeMap<String, Option<Level>> =
        specification::requirements().into_iter().map(|requirement| (requirement.id, requirement.level)).collect();
    let mut seen = BTreeSet::new();
    for entry in exceptions::ours() {
        let id = &entry.requirement;
        let level = known.get(id).unwrap_or_else(|| panic!("unknown requirement {id}"));
        assert!(!entry.reason.is_empty(), "no reason for {id}");
        assert!(seen.insert((id.clone(), entry.server.clone())), "two entries for {id} and {}", entry.server);
        if entry.server != "*" {
            assert_eq!(*level, Some(Level::Should), "{id}: a MUST that a server breaks is a bug, a MAY needs no entry");
            assert!(covered().contains(id.as_str()), "{id} has no case, so {} can't need the entry", entry.server);
            continue;
        }
        // What tests it instead is there, and says so.
        let tested = entry.tested.unwrap_or_else(|| panic!("the entry for {id} does not say what tests it"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&tested);
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{id}: {tested}: {error}"));
        assert!(text.contains(id.as_str()), "{tested} does not name {id}");
        assert!(!covered().contains(id.as_str()), "{id} has a case: its entry is no longer needed");
    }
}

#[test]
fn names_are_unique_and_titles_are_there() {
    let mut names = BTreeSet::new();
    for listed in registry::all() {
        assert!(names.insert(listed.name()), "two cases are called {}", listed.name());
        assert!(
            !listed.case.title.is_empty() && !listed.case.requirements.is_empty(),
            "{} tests nothing",
            listed.name()
        );
    }
}

/// What spec/README.md counts, for each group and for all.
#[test]
fn the_readme_counts_what_is_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/README.md");
    let readme = std::fs::read_to_string(path).expect("spec/README.md");
    let mut groups: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for requirement in specification::requirements() {
        let place = requirement.level.map_or(3, |level| level as usize);
        groups.entry(requirement.id.chars().take(3).collect()).or_default()[place] += 1;
    }
    for (group, [must, should, may, retired]) in &groups {
        let row = readme.lines().find(|line| line.starts_with(&format!("| {group} | ")));
        let row = row.unwrap_or_else(|| panic!("spec/README.md has no row for {group}"));
        let counts = format!(" | {must} | {should} | {may} | {} | {retired} |", must + should + may);
        assert!(row.ends_with(&counts), "{group} has{counts}, and spec/README.md says {row}");
    }
    let sum = |place: usize| groups.values().map(|counts| counts[place]).sum::<usize>();
    let (must, should, may) = (sum(0), sum(1), sum(2));
    let total = format!("| | | {must} | {should} | {may} | {} |", must + should + may);
    assert!(readme.lines().any(|line| line == total), "all of them are {total}");
}
