//! What a client makes of the answers, as they come.

/// A response as it came.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// 0 for one whose head is not whole.
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) whole: bool,
    /// Ends with the connection.
    pub(crate) to_the_end: bool,
    /// So many 1xx were in front of it.
    pub(crate) interim: usize,
}

impl Said {
    /// The value of a field; there is at most one.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()));
        let value = values.next();
        assert!(value.is_none() || values.next().is_none(), "{name} twice: {}", self.head);
        value
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Head,
    Sized(usize),
    Size,
    Chunk(usize),
    ToTheEnd,
}

/// Reads answers in whatever pieces they come.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) found: Vec<Said>,
    rest: Vec<u8>,
    place: Place,
    interim: usize,
}

impl Answers {
    /// More of them; `is_head` says of which requests the answer has no body.
    pub(crate) fn hear(&mut self, octets: &[u8], is_head: impl Fn(usize) -> bool) {
        self.rest.extend(octets);
        let rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        while at < rest.len() {
            let Some(count) = self.step(&rest[at..], &is_head) else { break };
            at += count;
        }
        self.rest = rest[at..].to_vec();
    }

    /// How many octets it was, of what comes next; `None`: there is not all of it.
    fn step(&mut self, octets: &[u8], is_head: &impl Fn(usize) -> bool) -> Option<usize> {
        if let Place::Head = self.place {
            let end = octets.windows(4).position(|four| four == b"\r\n\r\n")?;
            let head = String::from_utf8(octets[..end].to_vec()).expect("a head is text").to_lowercase();
            assert!(head.starts_with("http/1.1 ") || head.starts_with("http/1.0 "), "no response: {head}");
            let status = head[9..12].parse().expect("a status is a number");
            if status < 200 {
                self.interim += 1;
                return Some(end + 4);
            }
            let interim = std::mem::take(&mut self.interim);
            let mut said = Said { status, head, interim, ..Said::default() };
            let length = said.field("content-length").map(|length| length.parse().expect("a length is a number"));
            let coding = said.field("transfer-encoding").map(str::to_owned);
            // Whether it was a HEAD that is refused the server may not know yet; nothing comes behind it.
            let is_early = [400, 408].contains(&status) && is_head(self.found.len());
            self.place = match (length, coding.as_deref()) {
                (Some(length), None) if is_early => Place::Sized(length),
                _ if is_head(self.found.len()) => Place::Sized(0),
                (Some(length), None) => Place::Sized(length),
                (None, Some("chunked")) => Place::Size,
                (None, None) => Place::ToTheEnd,
                _ => panic!("its framing: {}", said.head),
            };
            said.to_the_end = matches!(self.place, Place::ToTheEnd);
            said.whole = is_early || matches!(self.place, Place::Sized(0));
            if matches!(self.place, Place::Sized(0)) {
                self.place = Place::Head;
            }
            self.found.push(said);
            return Some(end + 4);
        }
        let said = self.found.last_mut().expect("its head was read");
        let mut take = |left: usize| {
            let count = left.min(octets.len());
            said.body.extend(&octets[..count]);
            (count, left - count)
        };
        match self.place {
            Place::Head => None,
            Place::Sized(left) => {
                let (count, left) = take(left);
                said.whole |= left == 0;
                self.place = if left == 0 { Place::Head } else { Place::Sized(left) };
                Some(count)
            }
            Place::Size => {
                let line = octets.windows(2).position(|two| two == b"\r\n")?;
                let size =
                    std::str::from_utf8(&octets[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
                match size.expect("a chunk has a size") {
                    0 if octets.len() < line + 4 => return None,
                    0 => {
                        assert_eq!(&octets[line + 2..line + 4], b"\r\n", "behind the last chunk");
                        said.whole = true;
                        self.place = Place::Head;
                        return Some(line + 4);
                    }
                    size => self.place = Place::Chunk(size),
                }
                Some(line + 2)
            }
            Place::Chunk(0) => {
                assert_eq!(octets.get(..2)?, b"\r\n", "behind a chunk");
                self.place = Place::Size;
                Some(2)
            }
            Place::Chunk(left) => {
                let (count, left) = take(left);
                self.place = Place::Chunk(left);
                Some(count)
            }
            Place::ToTheEnd => Some(take(usize::MAX).0),
        }
    }

    /// The server has ended its side, or has reset the connection.
    pub(crate) fn end(&mut self, reset: bool) {
        if let (Place::ToTheEnd, Some(said)) = (self.place, self.found.last_mut()) {
            said.whole |= !reset;
        }
    }

    /// Whether something of an answer has come that is not whole.
    pub(crate) fn is_within(&self) -> bool {
        !self.rest.is_empty() || self.found.last().is_some_and(|said| !said.whole)
    }

    /// Of the 1xx behind the last answer.
    pub(crate) fn interim(&self) -> usize {
        self.interim
    }
}

/// All of them.
pub(crate) fn responses(octets: &[u8]) -> Vec<Said> {
    let mut answers = Answers::default();
    answers.hear(octets, |_| false);
    if matches!(answers.place, Place::Head) && !answers.rest.is_empty() {
        answers.found.push(Said::default());
    }
    answers.found
}
