//! The whole suite under a mount prefix (TST-05): one prefix for the process, set before anything runs.

use std::sync::OnceLock;

static PREFIX: OnceLock<&'static str> = OnceLock::new();

/// Mounts the application under `prefix` in every configuration of the suite, and sends well-formed requests below it.
/// What the application saw is compared without it. Raw requests stay where they are, beside the mount. Only the first
/// call of a process counts.
pub fn under(prefix: &'static str) {
    let _ = PREFIX.set(prefix);
}

/// The prefix, empty where there is none.
pub(crate) fn prefix() -> &'static str {
    PREFIX.get().copied().unwrap_or("")
}

/// `target` below the prefix, if it is in origin-form.
pub(crate) fn mounted(target: &str) -> String {
    if target.starts_with('/') { format!("{}{target}", prefix()) } else { target.to_owned() }
}

/// What is left of `target` without the prefix.
pub(crate) fn unmounted(target: &str) -> &str {
    match target.strip_prefix(prefix()) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => target,
    }
}
