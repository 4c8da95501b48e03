//! All cases, and finding some of them.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use crate::case::{Case, Group};
use crate::{cases, specification};

/// The capability of servers that their clients speak HTTP/1.1 with, and not a web server in front of them.
pub const HTTP1: &str = "http1";

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

    /// Capabilities a server must declare, or the case is skipped: those of the case, and [`HTTP1`] where a requirement of it has that. Other
    /// capabilities of requirements are the case's to name, as some test that what is not declared is not there.
    pub fn capabilities(&self) -> impl Iterator<Item = &'static str> {
        static OF_THE_WIRE: OnceLock<BTreeSet<String>> = OnceLock::new();
        let of_the_wire = OF_THE_WIRE.get_or_init(|| {
            let all = specification::requirements().into_iter();
            all.filter(|one| one.capability.as_deref() == Some(HTTP1)).map(|one| one.id).collect()
        });
        let scoped = self.case.requirements.iter().any(|id| of_the_wire.contains(*id)).then_some(HTTP1);
        let own = self.case.capabilities();
        own.filter(move |name| scoped != Some(*name)).chain(scoped)
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
