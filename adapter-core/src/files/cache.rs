//! Which rule for caches a path falls under. No I/O.

use http::HeaderValue;

/// Patterns with what they say, the first that matches counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(Vec<(String, HeaderValue)>);

impl Rules {
    pub(super) fn add(&mut self, pattern: &str, value: HeaderValue) {
        self.0.push((pattern.trim_start_matches('/').to_owned(), value));
    }

    /// What is said of `path`, below the root, with slashes.
    pub(super) fn of(&self, path: &str) -> Option<&HeaderValue> {
        self.0.iter().find(|(pattern, _)| matches(pattern.as_bytes(), path.as_bytes())).map(|(_, value)| value)
    }
}

/// Whether `text` is as `pattern` has it, where `*` stands for any number of octets, slashes too. Takes the product of both lengths at most.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Behind the last `*`, and what it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, seen));
                at += 1;
            }
            Some(octet) if Some(octet) == text.get(seen) => (at, seen) = (at + 1, seen + 1),
            _ => match &mut star {
                Some((behind, taken)) => {
                    *taken += 1;
                    (at, seen) = (*behind, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|octet| *octet == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "aa", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("assets/*", "assets/js/app.js", true),
            ("assets/*", "asset/app.js", false),
            ("*.js", "js/app.js", true),
            ("*.js", "app.js.map", false),
            ("*.????.js", "app.????.js", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_long_pattern_takes_no_time() {
        let (pattern, text) = ("*a".repeat(2000), "a".repeat(1999) + "b");
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn the_first_rule_counts() {
        let mut rules = Rules::default();
        rules.add("/index.html", HeaderValue::from_static("no-cache"));
        rules.add("*", HeaderValue::from_static("max-age=60"));
        assert_eq!(rules.of("index.html").unwrap(), "no-cache");
        assert_eq!(rules.of("a/index.html").unwrap(), "max-age=60");
        assert_eq!(Rules::default().of("x"), None);
    }
}
