//! The little language in which a client says what the application is to do.
//!
//! Steps are separated by `;`, words of a step by spaces, and each word is percent-encoded:
//! `read; status 201; header x-a b; stream text:one gate:go text:two`.

use crate::text;

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What to do.
    pub(super) name: String,
    /// With what, percent-encoded.
    words: Vec<String>,
}

impl Step {
    /// The octets of argument `index`, empty if there is none.
    pub(super) fn bytes(&self, index: usize) -> Vec<u8> {
        self.words.get(index).map(|word| text::decode(word)).unwrap_or_default()
    }

    /// Argument `index` as text.
    pub(super) fn text(&self, index: usize) -> String {
        String::from_utf8_lossy(&self.bytes(index)).into_owned()
    }

    /// Argument `index` as a number, 0 if it is none.
    pub(super) fn number(&self, index: usize) -> u64 {
        self.text(index).parse().unwrap_or(0)
    }

    /// The arguments from `index` on, still encoded.
    pub(super) fn rest(&self, index: usize) -> &[String] {
        self.words.get(index..).unwrap_or_default()
    }

    /// How many arguments there are.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }
}

/// The steps of a script.
pub(super) fn parse(script: &str) -> Vec<Step> {
    let step = |text: &str| {
        let mut words = text.split_ascii_whitespace();
        let name = words.next()?.to_owned();
        Some(Step { name, words: words.map(str::to_owned).collect() })
    };
    script.split(';').filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_after_splitting() {
        let steps = parse("read; text a%20b%3Bc  d;");
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[1].text(0), "a b;c");
        assert_eq!(steps[1].rest(1), ["d"]);
    }
}
