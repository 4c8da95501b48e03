//! Specification and suite agree: every MUST has a case or an exception, every id in a case is one of the
//! specification, and the list of what is still uncovered says the truth.

use std::collections::{BTreeMap, BTreeSet};

use conformance_tests::case::Level;
use conformance_tests::{exceptions, registry, specification};

/// MUST requirements without a case so far, and why. It may only shrink.
const UNCOVERED: &str = include_str!("uncovered.txt");

fn uncovered() -> BTreeMap<&'static str, &'static str> {
    let lines = UNCOVERED.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).collect()
}

fn covered() -> BTreeSet<&'static str> {
    registry::all().flat_map(|listed| listed.case.requirements.iter().copied()).collect()
}

#[test]
fn every_must_has_a_case_or_an_exception() {
    let (covered, uncovered) = (covered(), uncovered());
    let excepted: BTreeSet<String> =
        exceptions::ours().into_iter().filter(|entry| entry.server == "*").map(|entry| entry.requirement).collect();
    let missing: Vec<String> = specification::requirements()
        .into_iter()
        .filter(|requirement| requirement.level == Some(Level::Must))
        .map(|requirement| requirement.id)
        .filter(|id| !covered.contains(id.as_str()) && !excepted.contains(id) && !uncovered.contains_key(id.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "MUST requirements without a case, an exception or a line in uncovered.txt: {missing:?}"
    );
}

#[test]
fn every_should_has_a_case_or_an_exception() {
    let (covered, uncovered) = (covered(), uncovered());
    let excepted: BTreeSet<String> = exceptions::ours().into_iter().map(|entry| entry.requirement).collect();
    let missing: Vec<String> = specification::requirements()
        .into_iter()
        .filter(|requirement| requirement.level == Some(Level::Should))
        .map(|requirement| requirement.id)
        .filter(|id| !covered.contains(id.as_str()) && !excepted.contains(id) && !uncovered.contains_key(id.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "SHOULD requirements without a case, an exception or a line in uncovered.txt: {missing:?}"
    );
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
fn the_list_of_what_is_uncovered_is_honest() {
    let covered = covered();
    let known: BTreeSet<String> = specification::requirements().into_iter().map(|requirement| requirement.id).collect();
    for (id, reason) in uncovered() {
        assert!(known.contains(id), "uncovered.txt names the unknown requirement {id}");
        assert!(!covered.contains(id), "{id} has a case: take it off uncovered.txt");
        assert!(!reason.is_empty(), "uncovered.txt does not say why {id} has no case");
    }
    println!("{} requirements are still without a case", uncovered().len());
}

#[test]
fn exceptions_name_known_requirements_and_never_a_must() {
    let known: BTreeMap<String, Option<Level>> =
        specification::requirements().into_iter().map(|requirement| (requirement.id, requirement.level)).collect();
    for entry in exceptions::ours() {
        let level =
            known.get(&entry.requirement).unwrap_or_else(|| panic!("unknown requirement {}", entry.requirement));
        let observable = entry.server != "*";
        assert!(
            !(observable && *level == Some(Level::Must)),
            "{} is a MUST: a server that breaks it has a bug",
            entry.requirement
        );
        assert!(!entry.reason.is_empty(), "no reason for {}", entry.requirement);
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
