//! Requests and responses in a piece of what goes over a connection, as far as they begin in it.

use crate::fault::Way;

/// A piece taken apart.
pub(super) struct Messages {
    /// What comes before the first head: the rest of a body.
    pub(super) before: Vec<u8>,
    pub(super) all: Vec<Message>,
}

/// A head, and what follows it up to the next one.
#[derive(Clone)]
pub(super) struct Message {
    /// The first line and those of fields, without their ends.
    pub(super) lines: Vec<Vec<u8>>,
    pub(super) body: Vec<u8>,
}

/// Whether a head begins with this line.
fn is_first(way: Way, line: &[u8]) -> bool {
    match way {
        Way::Up => line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0"),
        Way::Down => line.starts_with(b"HTTP/1."),
    }
}

fn line_end(data: &[u8]) -> Option<usize> {
    data.windows(2).position(|pair| pair == b"\r\n")
}

/// Where the next whole head is: its beginning, and the beginning of what follows it.
fn next_head(way: Way, data: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    loop {
        let line = &data[at..at + line_end(&data[at..])?];
        // A body need not end with a line.
        let begins = match way {
            Way::Up => is_first(way, line).then_some(0),
            Way::Down => line.windows(7).position(|window| is_first(way, window)),
        };
        if let Some(begins) = begins {
            let rest = &data[at..];
            let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
            return Some((at + begins, at + end + 4));
        }
        at += line.len() + 2;
    }
}

impl Messages {
    pub(super) fn of(way: Way, mut data: &[u8]) -> Self {
        let mut it = Messages { before: Vec::new(), all: Vec::new() };
        while let Some((begin, end)) = next_head(way, data) {
            it.append(&data[..begin]);
            let mut lines: Vec<Vec<u8>> = Vec::new();
            let mut rest = &data[begin..end - 2];
            while let Some(length) = line_end(rest) {
                lines.push(rest[..length].to_vec());
                rest = &rest[length + 2..];
            }
            it.all.push(Message { lines, body: Vec::new() });
            data = &data[end..];
        }
        it.append(data);
        it
    }

    fn append(&mut self, octets: &[u8]) {
        self.all.last_mut().map_or(&mut self.before, |message| &mut message.body).extend_from_slice(octets);
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.before.clone();
        for message in &self.all {
            message.lines.iter().for_each(|line| bytes.extend([line, &b"\r\n"[..]].concat()));
            bytes.extend([b"\r\n", &message.body[..]].concat());
        }
        bytes
    }
}

impl Message {
    /// The names of its fields, in lower case.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.lines.iter().skip(1).filter_map(|line| name(line))
    }

    pub(super) fn is_chunked(&self) -> bool {
        self.lines.iter().any(|line| line.eq_ignore_ascii_case(b"transfer-encoding: chunked"))
    }

    pub(super) fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.lines.first()?.get(9..12)?).ok()?.parse().ok()
    }

    pub(super) fn is_interim(&self) -> bool {
        self.status().is_some_and(|status| (100..200).contains(&status) && status != 101)
    }
}

/// The name of a field's line, in lower case.
pub(super) fn name(line: &[u8]) -> Option<String> {
    let name = &line[..line.iter().position(|octet| *octet == b':')?];
    let is_token = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    (!name.is_empty() && name.iter().all(is_token)).then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}
