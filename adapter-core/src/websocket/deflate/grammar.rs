//! The grammar of Sec-WebSocket-Extensions, to the letter. RFC 6455 §9.1
//!
//! Pure, and linear in the length of the field.

use std::borrow::Cow;

/// One member of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extension<'f> {
    pub(super) name: &'f [u8],
    /// In their order.
    pub(super) parameters: Vec<Parameter<'f>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter<'f> {
    pub(super) name: &'f [u8],
    /// Without its quotes.
    pub(super) value: Option<Cow<'f, [u8]>>,
}

/// The members of one line of the field, `None` where it is not formed as one. Empty members are left out, as in any list.
pub(super) fn extensions(field: &[u8]) -> Option<Vec<Extension<'_>>> {
    let mut text = Text(field);
    let mut found = Vec::new();
    loop {
        while text.takes(b',') {}
        if text.0.is_empty() {
            return Some(found);
        }
        found.push(text.extension()?);
        if !text.0.is_empty() && !text.takes(b',') {
            return None;
        }
    }
}

/// What is left to read.
struct Text<'f>(&'f [u8]);

impl<'f> Text<'f> {
    fn extension(&mut self) -> Option<Extension<'f>> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        while self.takes(b';') {
            let name = self.token()?;
            let value = if self.takes(b'=') { Some(self.value()?) } else { None };
            parameters.push(Parameter { name, value });
        }
        Some(Extension { name, parameters })
    }

    fn value(&mut self) -> Option<Cow<'f, [u8]>> {
        if !self.takes(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = Vec::new();
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' => value.push(self.next()?),
                octet => value.push(octet),
            }
        }
        self.skip_space();
        // Unquoted it must be a token, too.
        (!value.is_empty() && value.iter().all(is_token)).then_some(Cow::Owned(value))
    }

    fn token(&mut self) -> Option<&'f [u8]> {
        self.skip_space();
        let end = self.0.iter().position(|octet| !is_token(octet)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at_checked(end).filter(|(token, _)| !token.is_empty())?;
        self.0 = rest;
        self.skip_space();
        Some(token)
    }

    /// Whether `octet` comes next, but for spaces; then it is taken. What follows a quote is left as it is.
    fn takes(&mut self, octet: u8) -> bool {
        self.skip_space();
        match self.0 {
            [first, rest @ ..] if *first == octet => {
                self.0 = rest;
                if octet != b'"' {
                    self.skip_space();
                }
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }
}

/// RFC 9110 §5.6.2
fn is_token(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In a form of one spelling, with quotes around all values.
    fn read(field: &str) -> Option<String> {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let mut said = String::new();
        for extension in extensions(field.as_bytes())? {
            said += &text(extension.name);
            for Parameter { name, value } in extension.parameters {
                said +=
                    &format!(";{}{}", text(name), value.map_or(String::new(), |value| format!("={:?}", text(&value))));
            }
            said.push(',');
        }
        Some(said)
    }

    #[test]
    fn members_and_their_parameters_are_found() {
        for (field, expected) in [
            ("a", "a,"),
            ("a;b;c=1, d", "a;b;c=\"1\",d,"),
            (" a ;\tb = \"1\\0\" , ", "a;b=\"10\","),
            ("a;b;b;b=x", "a;b;b;b=\"x\","),
            ("", ""),
            (" ", ""),
            (" , ,\t", ""),
        ] {
            assert_eq!(read(field).as_deref(), Some(expected), "{field}");
        }
    }

    #[test]
    fn what_is_not_formed_so_is_none() {
        for field in [
            "a b",
            "a;",
            "a;;b",
            "a;b=",
            "a;=1",
            ";a",
            "=",
            "a=1",
            "a;b=\"",
            "a;b=\"\"",
            "a;b=\"1 0\"",
            "a;b=\"1\"0",
            "a;b=\"1\\",
            "a;b=\" 1\"",
            "a;b=\"1,0\"",
            "a;b==1",
            "a;b=1=2",
            "a/b",
            "a;b=ä",
            "a\r\nb",
            "\"a\"",
            "a;\"b\"",
        ] {
            assert_eq!(read(field), None, "{field}");
        }
    }

    /// A value, and whether it is quoted.
    fn any_value() -> impl Strategy<Value = Option<(String, bool)>> {
        prop::option::of(("[a-z0-9!#$%&'*+.^_`|~-]{1,9}", any::<bool>()))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            list in prop::collection::vec(("[a-z-]{1,9}", prop::collection::vec(("[a-z_]{1,9}", any_value()), 0..4)), 0..4),
            space in "[ \t]{0,2}",
        ) {
            let (mut field, mut expected) = (String::new(), String::new());
            for (name, parameters) in &list {
                field += &format!("{space}{name}{space}");
                expected += name;
                for (name, value) in parameters {
                    field += &format!(";{space}{name}{space}");
                    expected += &format!(";{name}");
                    if let Some((value, is_quoted)) = value {
                        let escaped: String = value.chars().flat_map(|one| ['\\', one]).collect();
                        let written = if *is_quoted { format!("\"{escaped}\"") } else { value.clone() };
                        field += &format!("={space}{written}{space}");
                        expected += &format!("={value:?}");
                    }
                }
                field.push(',');
                expected.push(',');
            }
            prop_assert_eq!(read(&field), Some(expected));
        }

        #[test]
        fn any_octets_are_read_or_refused(field in prop::collection::vec(any::<u8>(), 0..60)) {
            extensions(&field);
        }
    }
}
