//! A strict reader of what a scraper gets: Prometheus text 0.0.4 and OpenMetrics 1.0. Shares nothing with what writes it.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "tests; not every test uses all of it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

type Labels = BTreeMap<String, String>;

/// A page.
#[derive(Debug)]
pub struct Exposition {
    samples: Vec<(String, Labels, f64)>,
}

impl Exposition {
    /// Of the sample with exactly these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.samples.iter().find(|(is, with, _)| is == name && *with == labels).map(|(.., value)| *value)
    }

    /// All samples of that name added up, which have at least these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |with: &Labels| labels.iter().all(|(name, value)| with.get(*name).is_some_and(|is| is == value));
        self.samples.iter().filter(|(is, with, _)| is == name && has(with)).map(|(.., value)| value).sum()
    }
}

struct Family {
    name: String,
    kind: String,
    unit: Option<String>,
    help: bool,
}

/// Reads `text`.
///
/// # Errors
/// The first line that is wrong, and why.
pub fn parse(text: &str, is_open: bool) -> Result<Exposition, String> {
    let body = match is_open {
        true => text.strip_suffix("# EOF\n").ok_or("no # EOF at the end")?,
        false => text,
    };
    if !body.ends_with('\n') {
        return Err("no newline at the end".into());
    }
    let (mut samples, mut seen, mut names) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut family: Option<Family> = None;
    for line in body.trim_end_matches('\n').split('\n') {
        let fault = |why: &str| Err(format!("{why}: {line}"));
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
                return fault("a comment that says nothing");
            };
            if family.as_ref().is_none_or(|family| family.name != name) {
                if !names.insert(name.to_owned()) {
                    return fault("a family in two pieces");
                }
                if !is_name(name) {
                    return fault("no name");
                }
                family = Some(Family { name: name.into(), kind: String::new(), unit: None, help: false });
            }
            let family = family.as_mut().unwrap();
            match what {
                "HELP" if !family.help && !rest.is_empty() => family.help = true,
                "TYPE" if family.kind.is_empty() => {
                    let known: &[&str] = if is_open {
                        &["counter", "gauge", "histogram", "info"]
                    } else {
                        &["counter", "gauge", "histogram"]
                    };
                    if !known.contains(&rest) {
                        return fault("no type");
                    }
                    family.kind = rest.into();
                    let is_total = name.ends_with("_total");
                    if is_total != (rest == "counter" && !is_open) {
                        return fault("_total where it is not to be, or missing");
                    }
                }
                "UNIT" if is_open && family.unit.is_none() => {
                    if !name.ends_with(&format!("_{rest}")) {
                        return fault("a unit that is not in the name");
                    }
                    family.unit = Some(rest.into());
                }
                _ => return fault("a comment twice, or of another format"),
            }
            continue;
        }
        let (name, labels, value) = sample(line).map_err(|why| format!("{why}: {line}"))?;
        let Some(family) = family.as_ref().filter(|family| !family.kind.is_empty() && family.help) else {
            return fault("a sample of no family");
        };
        let suffixes: &[&str] = match (family.kind.as_str(), is_open) {
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            ("counter", true) => &["_total"],
            ("info", _) => &["_info"],
            _ => &[""],
        };
        let Some(suffix) = name.strip_prefix(&family.name).filter(|suffix| suffixes.contains(suffix)) else {
            return fault("a sample of another family");
        };
        if (suffix == "_bucket") != labels.contains_key("le") {
            return fault("le where it is not to be, or missing");
        }
        if family.kind != "gauge" && value < 0.0 {
            return fault("below zero");
        }
        if !seen.insert((name.to_owned(), labels.clone())) {
            return fault("a sample twice");
        }
        samples.push((name.to_owned(), labels, value));
    }
    histograms(&samples)?;
    Ok(Exposition { samples })
}

/// Buckets grow, end in +Inf, and that is the count.
fn histograms(samples: &[(String, Labels, f64)]) -> Result<(), String> {
    let mut all: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
    for (name, labels, value) in samples {
        let Some(name) = name.strip_suffix("_bucket") else { continue };
        let mut labels = labels.clone();
        let le = labels.remove("le").ok_or("no le")?;
        let bound = match le.as_str() {
            "+Inf" => f64::INFINITY,
            // Canonical: the shortest digits with a point.
            le => le.parse().ok().filter(|bound: &f64| format!("{bound:?}") == le).ok_or(format!("le {le}"))?,
        };
        all.entry((name.into(), labels)).or_default().push((bound, *value));
    }
    for ((name, labels), buckets) in all {
        let grows = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        let last = buckets.last().copied().unwrap_or_default();
        let has = |suffix: &str| {
            let found = samples.iter().find(|(is, with, _)| *is == format!("{name}{suffix}") && *with == labels);
            found.map(|(.., value)| *value)
        };
        if !grows || last.0 != f64::INFINITY || has("_count") != Some(last.1) || has("_sum").is_none() {
            return Err(format!("no histogram: {name} {labels:?} {buckets:?}"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is)
}

fn sample(line: &str) -> Result<(&str, Labels, f64), &'static str> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err("no name");
    }
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, behind) = rest.split_once("=\"").ok_or("no label")?;
            if !is_name(label) {
                return Err("no name of a label");
            }
            let (mut value, mut chars) = (String::new(), behind.char_indices());
            let end = loop {
                match chars.next().ok_or("no end of a label")? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next() {
                        Some((_, '\\')) => '\\',
                        Some((_, '"')) => '"',
                        Some((_, 'n')) => '\n',
                        _ => return Err("no escape"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            if value.is_empty() {
                return Err("an empty label, which is none");
            }
            if labels.insert(label.to_owned(), value).is_some() {
                return Err("a label twice");
            }
            rest = &behind[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').ok_or("no end of the labels")?;
    }
    let value = rest.strip_prefix(' ').ok_or("no value")?;
    if value.contains(' ') {
        return Err("a time stamp");
    }
    let value: f64 = value.parse().map_err(|_| "no number")?;
    if !value.is_finite() {
        return Err("no finite number");
    }
    Ok((name, labels, value))
}

/// What `promtool check metrics` says against `text`; where it is not installed, nothing.
///
/// # Errors
/// Its complaints.
pub fn promtool(text: &str) -> Result<(), String> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("skipped: promtool is not installed (package prometheus)");
        return Ok(());
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() && said.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}
