//! Which servers, broken on purpose, fail which case: what the suite's own test proves, as data for reports. \[TST-03\]
//!
//! `kills.txt` repeats what the faults in `tests/faults` declare and that test shows. Its trial `table_is_current` fails
//! where the two differ, and says how to write the file anew.

/// The table: a line for each case, its name and the faults it notices.
pub const TABLE: &str = include_str!("kills.txt");

/// The faults that `case` (`group::case`) notices.
pub fn faults_of(case: &str) -> Vec<&'static str> {
    let line = TABLE.lines().find_map(|line| line.strip_prefix(case)?.strip_prefix(' '));
    line.unwrap_or_default().split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn faults_are_found_by_the_whole_name() {
        assert!(faults_of("host::missing_host_is_refused").contains(&"refusals_say_200"));
        assert!(faults_of("host::missing_host").is_empty());
        let known: Vec<String> = registry::all().map(|listed| listed.name()).collect();
        for line in TABLE.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            assert!(known.iter().any(|known| known == name), "no case is called {name}");
        }
    }
}
