//! How many files and sockets this process may have open: asked for once, before serving.
//!
//! The soft limit is what programs with `select` can bear, often 1,024; the hard one is meant for those that can have more. Where
//! connections would not fit, fewer are let in: at its own limit a server makes room and tells, without descriptors it can't accept.

use adapter_core::ServerConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For what is not a client: listeners, logs, the application's files and databases.
const OTHERS: u64 = 100;

/// Raises the soft limit to the hard one, and lowers the connections of `config` to what fits; says so, if it has to.
pub(crate) fn make_room(config: &mut ServerConfig) -> Option<String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    // None is no limit.
    let have = (if raised { maximum } else { current })?;
    let fit = usize::try_from(fitting(have)).unwrap_or(usize::MAX);
    let asked = config.limits.connections;
    if asked <= fit {
        return None;
    }
    config.limits.connections = fit;
    Some(format!(
        "adapter: {fit} connections at most instead of {asked}: this process may have {have} files and sockets open (ulimit -Hn)\n"
    ))
}

/// Connections for which `have` descriptors are enough.
fn fitting(have: u64) -> u64 {
    // Half, where there are very few.
    have.saturating_sub(OTHERS).max(have / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_left_for_others() {
        assert_eq!([1_024, 20_000, 64, 0].map(fitting), [924, 19_900, 32, 1]);
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut config = ServerConfig::default();
        config.limits.connections = 2;
        assert_eq!(make_room(&mut config), None);
        assert_eq!(config.limits.connections, 2);
        config.limits.connections = usize::MAX;
        if let Some(line) = make_room(&mut config) {
            assert!(config.limits.connections < usize::MAX && line.starts_with("adapter: "), "{line}");
        }
    }
}
