//! `--access-log json`: one object a line, with the same keys in each; what is not known is null. Pure text.

use std::fmt::{Display, Write as _};

/// A line in the making.
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        Object(String::with_capacity(384))
    }

    fn key(&mut self, key: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        // Keys are ours, and need no escapes; writing to a String can't fail.
        let _ = write!(self.0, "\"{key}\":");
    }

    /// Text of any octets; what is no UTF-8 in it becomes U+FFFD.
    pub(super) fn text(mut self, key: &str, value: Option<&[u8]>) -> Self {
        self.key(key);
        match value {
            Some(value) => quoted(&mut self.0, &String::from_utf8_lossy(value)),
            None => self.0.push_str("null"),
        }
        self
    }

    /// Text that is made here, and has nothing in it to escape.
    pub(super) fn plain(mut self, key: &str, value: Option<impl Display>) -> Self {
        self.key(key);
        let _ = match value {
            Some(value) => write!(self.0, "\"{value}\""),
            None => write!(self.0, "null"),
        };
        self
    }

    /// A number.
    pub(super) fn number(mut self, key: &str, value: Option<impl Display>) -> Self {
        self.key(key);
        let _ = match value {
            Some(value) => write!(self.0, "{value}"),
            None => write!(self.0, "null"),
        };
        self
    }

    /// The line, with its end.
    pub(super) fn line(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

/// RFC 8259 §7. Beyond what that demands, what could end a line or move a terminal's cursor is escaped, too.
fn quoted(line: &mut String, value: &str) {
    line.push('"');
    for c in value.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(value: &[u8]) -> String {
        Object::new()
            .text("a", Some(value))
            .number("n", Some(0.25))
            .number("m", None::<u8>)
            .plain("b", Some("x"))
            .line()
    }

    #[test]
    fn lines_are_objects() {
        assert_eq!(
            of(b"a\"b\\c\n\x1b[2J\x7f\xff"),
            "{\"a\":\"a\\\"b\\\\c\\u000a\\u001b[2J\\u007f\u{fffd}\",\"n\":0.25,\"m\":null,\"b\":\"x\"}\n"
        );
    }

    proptest! {
        #[test]
        fn any_octets_are_one_line_and_come_back(value in prop::collection::vec(any::<u8>(), 0..100)) {
            let line = of(&value);
            prop_assert_eq!(line.lines().count(), 1);
            prop_assert!(line.trim_end_matches('\n').chars().all(|c| !c.is_control()));
            let back: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(back["a"].as_str().unwrap(), &*String::from_utf8_lossy(&value));
        }
    }
}
