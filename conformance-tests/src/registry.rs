//! All cases, and finding some of them.

use crate::case::{Case, Group};
use crate::cases;

/// A case and the group it is of.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The group.
    pub group: &'static Group,
    /// The case.
    pub case: &'static Case,
}

impl Listed {
    /// `group::case`.
    pub fn name(&self) -> String {
        format!("{}::{}", self.group.name, self.case.id)
    }
}

/// All groups, in the order of the specification.
pub fn groups() -> &'static [&'static Group] {
    cases::GROUPS
}

/// All cases, in the order of the specification.
pub fn all() -> impl Iterator<Item = Listed> {
    groups().iter().flat_map(|group| group.cases.iter().map(|case| Listed { group, case }))
}

/// The cases whose name contains `filter`, or that test the requirement of that id.
pub fn matching(filter: &str) -> Vec<Listed> {
    all().filter(|listed| listed.name().contains(filter) || listed.case.requirements.contains(&filter)).collect()
}
