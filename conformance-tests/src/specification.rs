//! The requirements as the specification states them, for reports and for the traceability test.
//!
//! A requirement is a heading `### TGT-01 Title {#TGT-01}` in a chapter of `spec/` with a number; the next line that
//! is not empty states it. The chapters are compiled in (`adapter-spec`), so that reports can quote them anywhere. A line
//! `Capability: name` is for its requirement; in front of the first one of a chapter or of a section it is for all of them that have
//! none of their own, `but for` those it names.

use crate::case::Level;

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its id, like `FRM-03a`.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The line that states it.
    pub text: String,
    /// Where it comes from.
    pub source: String,
    /// The capability it is for.
    pub capability: Option<String>,
    /// How binding it is; `None` once it is retired.
    pub level: Option<Level>,
}

/// All requirements, in the order of the chapters.
pub fn requirements() -> Vec<Requirement> {
    adapter_spec::CHAPTERS.iter().flat_map(|chapter| parse(chapter)).collect()
}

/// The requirement of that id.
pub fn find(id: &str) -> Option<Requirement> {
    requirements().into_iter().find(|requirement| requirement.id == id)
}

/// The requirement of that id, or those it was split into: `TGT-10` means `TGT-10a` and `TGT-10b`.
pub fn family(id: &str) -> Vec<Requirement> {
    let member = |requirement: &Requirement| {
        let letter = requirement.id.strip_prefix(id);
        letter.is_some_and(|letter| letter.len() <= 1 && !letter.starts_with(|first: char| first.is_ascii_digit()))
    };
    requirements().into_iter().filter(|_| !id.is_empty()).filter(member).collect()
}

/// The requirements of one chapter.
pub fn parse(chapter: &str) -> Vec<Requirement> {
    let mut found: Vec<Requirement> = Vec::new();
    let mut scopes = Scopes::default();
    for line in chapter.lines() {
        if scopes.take(line) {
            continue;
        }
        if let Some(heading) = line.strip_prefix("### ") {
            let heading = heading.split(" {#").next().unwrap_or(heading);
            let (id, title) = heading.split_once(' ').unwrap_or((heading, ""));
            found.push(Requirement {
                id: id.to_owned(),
                title: title.to_owned(),
                text: String::new(),
                source: String::new(),
                capability: scopes.of(id).map(str::to_owned),
                level: None,
            });
            continue;
        }
        let Some(last) = found.last_mut() else { continue };
        if let Some(source) = line.strip_prefix("Source: ") {
            source.clone_into(&mut last.source);
        } else if let Some(capability) = line.strip_prefix("Capability: ") {
            last.capability = Some(capability.to_owned());
        } else if last.text.is_empty() && !line.trim().is_empty() {
            line.clone_into(&mut last.text);
            last.level = level(line);
        }
    }
    found
}

/// Capabilities of a whole chapter, and of a section of it, as they are written.
#[derive(Default)]
struct Scopes<'t> {
    chapter: Option<&'t str>,
    section: Option<&'t str>,
    place: Place,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Chapter,
    Section,
    Requirement,
}

impl<'t> Scopes<'t> {
    /// Whether `line` is about them, or begins what they are for.
    fn take(&mut self, line: &'t str) -> bool {
        if line.starts_with("# ") {
            *self = Scopes::default();
            return true;
        }
        if line.starts_with("## ") {
            (self.section, self.place) = (None, Place::Section);
            return true;
        }
        if line.starts_with("### ") {
            self.place = Place::Requirement;
        }
        match (line.strip_prefix("Capability: "), self.place) {
            (Some(scope), Place::Chapter) => self.chapter = Some(scope),
            (Some(scope), Place::Section) => self.section = Some(scope),
            _ => return false,
        }
        true
    }

    /// The capability that a requirement has of them.
    fn of(&self, id: &str) -> Option<&'t str> {
        let within = |scope: &'t str| {
            let (name, except) = scope.split_once(", but for ").unwrap_or((scope, ""));
            (!except.split(", ").any(|spared| spared == id)).then_some(name)
        };
        self.section.and_then(within).or_else(|| self.chapter.and_then(within))
    }
}

/// The first key word of RFC 2119 in a line.
fn level(text: &str) -> Option<Level> {
    text.split(|character: char| !character.is_ascii_alphabetic()).find_map(|word| match word {
        "MUST" => Some(Level::Must),
        "SHOULD" => Some(Level::Should),
        "MAY" => Some(Level::May),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_is_read() {
        let chapter = "# C\n\n### A-01a One {#A-01a}\n\nThe server SHOULD NOT wait.\n\nSource: RFC 1.\n\nCapability: tls\n\nIt MUST be.\n";
        let found = parse(chapter);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].id.as_str(), found[0].level), ("A-01a", Some(Level::Should)));
        assert_eq!(found[0].capability.as_deref(), Some("tls"));
        let scoped = "# C\n\nCapability: a, but for A-02\n\n## S\n\n### A-01 One {#A-01}\n\n### A-02 Two {#A-02}\n\n## T\n\nCapability: b\n\n\
                      ### A-03 Three {#A-03}\n\n### A-04 Four {#A-04}\n\nx\n\nCapability: c\n";
        let capabilities: Vec<_> = parse(scoped).into_iter().map(|requirement| requirement.capability).collect();
        assert_eq!(capabilities, [Some("a".into()), None, Some("b".into()), Some("c".into())]);
        assert!(requirements().len() > 300);
        let ids = |id: &str| family(id).into_iter().map(|requirement| requirement.id).collect::<Vec<_>>();
        assert_eq!(ids("TGT-10"), ["TGT-10a", "TGT-10b"]);
        assert_eq!(ids("TGT-10b"), ["TGT-10b"]);
        assert!(ids("TGT-1").is_empty() && ids("").is_empty() && ids("TGT").is_empty());
    }
}
