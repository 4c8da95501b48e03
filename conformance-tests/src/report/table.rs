//! For a terminal: a matrix of groups and servers, skips with their reasons, failures with their bytes.

use std::collections::BTreeMap;

use super::{Count, Results};
use crate::registry;
use crate::runner::Outcome;
use crate::specification;

/// The whole report; its last line is the sum.
pub fn table(results: &[Results]) -> String {
    let mut text = String::new();
    for result in results {
        for run in &result.runs {
            if let Outcome::Failed { failure, transcript, .. } = &run.outcome {
                let ids = run.listed.case.requirements.join(", ");
                text.push_str(&format!("FAILED {}::{} [{ids}]\n", result.server, run.listed.name()));
                for id in run.listed.case.requirements {
                    if let Some(requirement) = specification::find(id) {
                        text.push_str(&format!("  {id}: {}\n", requirement.text));
                    }
                }
                text.push_str(&format!("  {}\n{transcript}\n", failure.0));
            }
        }
    }
    text.push_str(&reasons(results));
    text.push_str(&matrix(results));
    let sum = Count::of(results.iter().flat_map(|result| &result.runs));
    text.push_str(&format!("\n{}\n", sum.line()));
    text
}

/// Why cases were skipped or excepted, and how many.
fn reasons(results: &[Results]) -> String {
    let mut text = String::new();
    for result in results {
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for run in &result.runs {
            match &run.outcome {
                Outcome::Skipped(reason) => reasons.entry(reason).or_default().push(run.listed.name()),
                Outcome::Excepted { reason, .. } => {
                    let ids = run.listed.case.requirements.join(", ");
                    text.push_str(&format!("excepted {}::{} [{ids}]: {reason}\n", result.server, run.listed.name()));
                }
                _ => {}
            }
        }
        for (reason, cases) in reasons {
            let cases = if cases.len() == 1 { cases[0].clone() } else { format!("{} cases", cases.len()) };
            text.push_str(&format!("skipped {}: {cases}: {reason}\n", result.server));
        }
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn matrix(results: &[Results]) -> String {
    let width = registry::groups().iter().map(|group| group.title.len()).max().unwrap_or(0);
    let column = results.iter().map(|result| result.server.len()).max().unwrap_or(0).max(12);
    let mut text = format!("{:width$}", "");
    for result in results {
        text.push_str(&format!("  {:>column$}", result.server));
    }
    text.push('\n');
    for group in registry::groups() {
        let cells: Vec<Count> = results
            .iter()
            .map(|result| Count::of(result.runs.iter().filter(|run| run.listed.group.name == group.name)))
            .collect();
        if cells.iter().all(|count| *count == Count::default()) {
            continue;
        }
        text.push_str(&format!("{:width$}", group.title));
        for count in cells {
            text.push_str(&format!("  {:>column$}", cell(count)));
        }
        text.push('\n');
    }
    text
}

/// `17`, `16+1f`, `12+5s`.
fn cell(count: Count) -> String {
    let mut text = count.passed.to_string();
    for (number, mark) in [(count.failed, " FAIL"), (count.excepted, "e"), (count.skipped, "s")] {
        if number > 0 {
            text.push_str(&format!("+{number}{mark}"));
        }
    }
    text
}
