//! The plain model: what has to come back for what a client says, by RFC 9112 as simply as it can be read, and by what the application
//! does. Nothing of the crate is used here, so that both would have to be wrong in the same way.
//!
//! All that a client has to say is read at once; how far it has come says which of it is there.

use super::DRIP;

/// A request, in the octets of the client from `at` on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) at: usize,
    /// Where its head ends; `None`: never.
    pub(crate) head_end: Option<usize>,
    /// The status of the server's own answer.
    pub(crate) refused: Option<u16>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) is_http10: bool,
    /// What it says of the connection.
    pub(crate) persists: bool,
    pub(crate) expects: bool,
    pub(crate) chunked: bool,
    /// Where its body's octets are.
    pub(crate) data: Vec<(usize, usize)>,
    /// Where its body ends; `None`: never.
    pub(crate) end: Option<usize>,
    /// From which octet on it is no body.
    pub(crate) bad: Option<usize>,
}

/// What an answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    Nothing,
    Gate,
    Body,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// `None`: there is no head yet.
    pub(crate) status: Option<u16>,
    /// Octets of its body.
    pub(crate) given: usize,
    pub(crate) waits: Waits,
    /// It goes no further, and is not whole.
    pub(crate) cut: bool,
}

/// What becomes of the connection behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Goes,
    Ends,
    /// The server says which.
    Either,
}

/// The requests in all that a client says.
pub(crate) fn read(octets: &[u8]) -> Vec<Asked> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < octets.len() {
        let asked = one(octets, at);
        let next = asked.end.filter(|_| asked.refused.is_none());
        found.push(asked);
        // Behind what can't be told from a request nothing is one.
        let Some(next) = next else { break };
        at = next;
    }
    found
}

fn one(octets: &[u8], at: usize) -> Asked {
    let mut asked = Asked { at, ..Asked::default() };
    let Some(length) = octets[at..].windows(4).position(|four| four == b"\r\n\r\n") else { return asked };
    let start = at + length + 4;
    asked.head_end = Some(start);
    let head = String::from_utf8_lossy(&octets[at..at + length]).into_owned();
    let mut lines = head.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, path, version] = first[..] else {
        asked.refused = Some(400);
        return asked;
    };
    (asked.method, asked.path) = (method.to_owned(), path.to_owned());
    asked.is_http10 = version == "HTTP/1.0";
    if !["HTTP/1.0", "HTTP/1.1"].contains(&version) {
        asked.refused = Some(505);
        return asked;
    }
    let (mut hosts, mut length, mut coding, mut close, mut keep) = (0, None, None, false, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| !name.is_empty() && !name.ends_with(' '))
        else {
            asked.refused = Some(400);
            return asked;
        };
        match (name.to_lowercase().as_str(), value.trim()) {
            ("host", _) => hosts += 1,
            ("content-length", value) => length = Some(value.parse::<usize>()),
            ("transfer-encoding", value) => coding = Some(value.to_owned()),
            ("connection", value) => (close, keep) = (value == "close", value == "keep-alive"),
            ("expect", "100-continue") => asked.expects = !asked.is_http10,
            ("expect", _) => asked.refused = Some(417),
            _ => {}
        }
    }
    asked.persists = !close && (keep || !asked.is_http10);
    asked.chunked = coding.is_some();
    match (&coding, &length) {
        _ if hosts > 1 || (hosts == 0 && !asked.is_http10) => asked.refused = Some(400),
        (_, Some(Err(_))) => asked.refused = Some(400),
        (Some(coding), _) if coding != "chunked" => asked.refused = Some(501),
        // What is both is read as chunked, and the last of its connection.
        (Some(_), Some(_)) => asked.persists = false,
        _ => {}
    }
    if asked.refused.is_some() {
        return asked;
    }
    if asked.chunked {
        chunks(octets, start, &mut asked);
    } else {
        let length = length.map_or(0, |length| length.expect("it was looked at"));
        asked.data = vec![(start, octets.len().min(start + length))];
        asked.end = Some(start + length);
        asked.expects &= length > 0;
    }
    asked
}

fn chunks(octets: &[u8], mut at: usize, asked: &mut Asked) {
    while let Some(length) = octets[at..].windows(2).position(|two| two == b"\r\n") {
        let line = String::from_utf8_lossy(&octets[at..at + length]);
        let Ok(size) = usize::from_str_radix(&line, 16) else {
            asked.bad = Some(at);
            return;
        };
        let start = at + length + 2;
        asked.data.push((start, octets.len().min(start + size)));
        at = octets.len().min(start + size + 2);
        if size == 0 {
            asked.end = Some(at);
            return;
        }
    }
}

impl Asked {
    fn kind(&self) -> &str {
        self.path.split('/').nth(1).unwrap_or_default()
    }

    /// Whether the application reads its body.
    pub(crate) fn is_read(&self) -> bool {
        ["read", "echo"].contains(&self.kind())
    }

    pub(crate) fn is_echo(&self) -> bool {
        self.kind() == "echo"
    }

    pub(crate) fn is_drip(&self) -> bool {
        self.kind() == "drip"
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether it has a body at all.
    pub(crate) fn has_body(&self) -> bool {
        self.chunked || self.data.iter().any(|(start, end)| start < end) || self.end > self.head_end
    }

    /// Octets of its body in the first `said` of the client's, and where the last of them is.
    pub(crate) fn sent(&self, said: usize) -> usize {
        self.data.iter().map(|(start, end)| (*end).min(said).saturating_sub(*start)).sum()
    }

    /// Whether all of it is in the first `said`.
    pub(crate) fn is_whole(&self, said: usize) -> bool {
        self.end.is_some_and(|end| end <= said)
    }

    /// The body of the whole answer; `None`: what the server says by itself.
    pub(crate) fn answer(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let path = &self.path;
        match self.kind() {
            _ if self.refused.is_some() => None,
            "fail" => None,
            "read" => Some(format!("{path} {}", self.sent(octets.len())).into_bytes()),
            "echo" => Some(self.data.iter().flat_map(|(start, end)| octets[*start..*end].iter().copied()).collect()),
            "drip" => Some(format!("{path} {}", "x".repeat(DRIP)).into_bytes()),
            _ => Some(path.clone().into_bytes()),
        }
    }

    /// How far the answer is where the first `said` octets are here, and the gate is open or not; `length` is that of the whole answer.
    pub(crate) fn progress(&self, said: usize, gate: bool, length: usize) -> Answer {
        let length = if self.is_head() { 0 } else { length };
        let answer = |status, given, waits, cut| Answer { status: Some(status), given, waits, cut };
        let nothing = |waits| Answer { status: None, given: 0, waits, cut: false };
        let is_bad = self.bad.is_some_and(|bad| bad < said);
        match self.kind() {
            _ if self.refused.is_some() => answer(self.refused.unwrap_or(0), length, Waits::Nothing, false),
            "fail" => answer(500, length, Waits::Nothing, false),
            "read" if is_bad => answer(400, length, Waits::Nothing, false),
            "read" if !self.is_whole(said) => nothing(Waits::Body),
            "echo" if self.is_head() => answer(200, 0, Waits::Nothing, false),
            "echo" if is_bad => answer(200, self.sent(said), Waits::Nothing, true),
            "echo" if !self.is_whole(said) => answer(200, self.sent(said), Waits::Body, false),
            "late" if !gate => nothing(Waits::Gate),
            "drip" if !gate && !self.is_head() => answer(200, self.path.len() + 1, Waits::Gate, false),
            _ => answer(200, length, Waits::Nothing, false),
        }
    }

    /// What becomes of the connection where it was answered with `status` when the first `said` octets were here.
    pub(crate) fn then(&self, status: u16, said: usize) -> Then {
        let is_left = self.has_body() && !self.is_read();
        if self.refused.is_some() || !self.persists || [400, 408].contains(&status) {
            Then::Ends
        } else if (is_left || self.is_echo()) && self.expects || status == 503 {
            // Who did not ask for a body before its answer may get it all the same. [EXP-02b]
            Then::Either
        } else if is_left && self.chunked {
            // There is no end in sight, or it may be too far away.
            if self.is_whole(said) { Then::Either } else { Then::Ends }
        } else {
            Then::Goes
        }
    }
}
