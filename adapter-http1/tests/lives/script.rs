//! A life as it can be written down, read and had again: what it is set up with, what the client has to say, and what happens, in order.
//!
//! One thing a line. `ADAPTER_SCRIPT=file` plays one; a life that goes wrong prints its own, with what it does not need left out.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use super::world::Dice;

/// What a life is set up with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) tls: bool,
    pub(crate) proxied: bool,
    /// Turns need a permit; when it is given, this says.
    pub(crate) ration: Option<u64>,
    /// The client sends all and takes all, in time.
    pub(crate) good: bool,
    /// Whoever drives the connection does so at once and at each deadline, so that all happens at a time that is known.
    pub(crate) prompt: bool,
    /// The client says close_notify before it ends.
    pub(crate) notifies: bool,
    /// Answered with `close` from that one on.
    pub(crate) requests: Option<u64>,
    pub(crate) no_keep_alive: bool,
    pub(crate) times: Times,
}

/// The timeouts, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) head: u64,
    pub(crate) idle: u64,
    pub(crate) body: u64,
    pub(crate) write: u64,
    pub(crate) handler: Option<u64>,
}

impl Default for Times {
    fn default() -> Self {
        Times { head: 30_000, idle: 75_000, body: 60_000, write: 60_000, handler: Some(20_000) }
    }
}

/// What the client says: one request, or what is none.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Request {
        method: String,
        path: String,
        /// `None`: HTTP/1.1, without a word about the connection.
        version: String,
        connection: Option<String>,
        expects: bool,
        body: Content,
    },
    Raw(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    None,
    Length(usize),
    /// In chunks of sizes by chance, which the seed says.
    Chunked(usize, u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Event {
    /// The client says so many octets more of what it has to say.
    Say(usize),
    /// It takes so many more.
    Room(usize),
    /// What `/late` and `/drip` wait for.
    Gate,
    Pass(Duration),
    /// Until the deadline that the connection says, or for a second.
    PassDue,
    /// Until just before that.
    PassEarly,
    Reset,
    End,
    Drain,
    Force,
    /// Of TLS.
    CloseNotify,
    Update,
    Garbage,
    /// The connection is looked after; a prompt one is so after each event.
    Turn,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) setup: Setup,
    pub(crate) asks: Vec<Ask>,
    pub(crate) events: Vec<Event>,
}

/// More than anybody has to say, or to take.
pub(crate) const ALL: usize = usize::MAX / 4;

impl Ask {
    /// As it is on the wire.
    pub(crate) fn octets(&self, to: &mut Vec<u8>) {
        let (method, path, version, connection, expects, body) = match self {
            Ask::Raw(octets) => return to.extend(octets),
            Ask::Request { method, path, version, connection, expects, body } => {
                (method, path, version, connection, *expects, *body)
            }
        };
        to.extend(format!("{method} {path} HTTP/{version}\r\nHost: a\r\n").bytes());
        if let Some(connection) = connection {
            to.extend(format!("Connection: {connection}\r\n").bytes());
        }
        if expects {
            to.extend(b"Expect: 100-continue\r\n");
        }
        let content = |length: usize| -> Vec<u8> { (0..length).map(|at| b'a' + (at % 23) as u8).collect() };
        match body {
            Content::None => to.extend(b"\r\n"),
            Content::Length(length) => {
                to.extend(format!("Content-Length: {length}\r\n\r\n").bytes());
                to.extend(content(length));
            }
            Content::Chunked(length, seed) => {
                to.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                let (body, mut dice) = (content(length), Dice(seed | 1));
                let mut rest = &body[..];
                while !rest.is_empty() {
                    let most = [1, 20, 9000][dice.below(3)].max(rest.len() / 20);
                    let (chunk, behind) = rest.split_at((1 + dice.below(most)).min(rest.len()));
                    to.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    to.extend(chunk);
                    to.extend(b"\r\n");
                    rest = behind;
                }
                to.extend(b"0\r\n\r\n");
            }
        }
    }
}

impl Script {
    /// All that the client has to say.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        self.asks.iter().for_each(|ask| ask.octets(&mut octets));
        octets
    }

    /// That of a seed.
    pub(crate) fn of(seed: u64, tls: bool, proxied: bool) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let dice = &mut dice;
        let mut setup = Setup { tls, proxied, good: dice.one_in(3), prompt: dice.one_in(2), ..Setup::default() };
        setup.ration = dice.one_in(2).then_some(seed);
        setup.notifies = tls && dice.one_in(2);
        setup.requests = dice.one_in(12).then(|| 1 + dice.below(3) as u64);
        setup.no_keep_alive = dice.one_in(40);
        if dice.one_in(2) {
            let mut short = |long: u64, short: u64| if dice.one_in(2) { short } else { long };
            setup.times = Times {
                head: short(30_000, 3_011),
                idle: short(75_000, 5_003),
                body: short(60_000, 4_001),
                write: short(60_000, 6_007),
                handler: [Some(20_000), Some(2_003), None][dice.below(3)],
            };
        }
        let asks: Vec<_> = (0..=dice.below(6)).map(|number| ask(dice, number, setup.good)).collect();
        let mut script = Script { setup, asks, events: Vec::new() };
        script.events = script.chance(dice);
        script
    }

    /// What happens, by chance.
    fn chance(&self, dice: &mut Dice) -> Vec<Event> {
        let Setup { good, tls, .. } = self.setup;
        let mut events = Vec::new();
        let mut rest = self.octets().len();
        // How often time passes as far as it can go.
        let patience = [4, 12, 60][dice.below(3)];
        if dice.one_in(3) {
            events.push(Event::Room(ALL));
        }
        for _ in 0..10 + dice.below(150) {
            let event = match dice.below(if good { 7 } else { 12 }) {
                0..=2 if rest > 0 => {
                    let most = [1, 40, 3000, 90_000][dice.below(4)];
                    let count = (1 + dice.below(most)).min(rest);
                    rest -= count;
                    Some(Event::Say(count))
                }
                3 | 4 => Some(Event::Room([1, 100, 5000, 200_000][dice.below(4)])),
                5 if dice.one_in(8) => Some(Event::Gate),
                5 | 6 => Some(Event::Pass(Duration::from_millis(dice.below(20) as u64))),
                7 if dice.one_in(patience) => Some(match dice.below(6) {
                    0 => Event::PassEarly,
                    1 => Event::Pass(Duration::from_millis(dice.below(8000) as u64)),
                    _ => Event::PassDue,
                }),
                8 if dice.one_in(20) => Some(Event::Reset),
                9 if dice.one_in(12) => Some(Event::End),
                9 if tls && dice.one_in(20) => Some(Event::CloseNotify),
                9 if tls && dice.one_in(3) => Some(Event::Update),
                9 if tls && dice.one_in(20) => Some(Event::Garbage),
                10 if dice.one_in(12) => Some(Event::Drain),
                11 if dice.one_in(60) => Some(Event::Force),
                _ => None,
            };
            events.extend(event);
            if !self.setup.prompt && dice.one_in(2) {
                events.push(Event::Turn);
            }
        }
        // It ends also where the application or the client does nothing any more.
        if good || dice.one_in(2) {
            events.push(Event::Gate);
        }
        if good || dice.one_in(2) {
            events.push(Event::Room(ALL));
        }
        if good {
            events.push(Event::Say(ALL));
        }
        events.push(Event::Turn);
        events
    }
}

/// What a client asks, the seldom things seldom.
fn ask(dice: &mut Dice, number: usize, good: bool) -> Ask {
    let kind = ["hello", "read", "echo", "leave", "late", "drip", "fail"][dice.below(7)];
    if !good && dice.one_in(25) {
        return Ask::Raw(FAULTS[dice.below(FAULTS.len())].to_vec());
    }
    let path = format!("/{kind}/{number}");
    let length = [0, 1, 10, 700, 5000, 20_000, 100_000][[0, 1, 2, 3, 4, 5, 6, 3, 4, 2][dice.below(10)]];
    let version = if dice.one_in(12) { "1.0" } else { "1.1" };
    let says = dice.one_in(if version == "1.0" { 2 } else { 20 });
    let connection = says.then(|| if dice.one_in(2) { "close" } else { "keep-alive" }.to_owned());
    let method = ["POST", "POST", "POST", "GET", "HEAD"][dice.below(5)];
    let body = match method {
        "POST" if version == "1.1" && dice.one_in(if ["read", "echo"].contains(&kind) { 2 } else { 8 }) => {
            Content::Chunked(length, dice.next())
        }
        "POST" => Content::Length(length),
        _ => Content::None,
    };
    let expects = dice.one_in(12) && method == "POST";
    Ask::Request { method: method.to_owned(), path, version: version.to_owned(), connection, expects, body }
}

/// What has to be refused, or read as an error.
const FAULTS: [&[u8]; 10] = [
    b"GET /hello/f HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /hello/f HTTP/1.1\r\nAccept: a\r\n\r\n",
    b"GET /hello/f HTTP/1.1\r\nHost: a\r\nAccept : a\r\n\r\n",
    b"GET /hello/f HTTP/3.0\r\nHost: a\r\n\r\n",
    b"POST /hello/f HTTP/1.1\r\nHost: a\r\nContent-Length: 5x\r\n\r\n",
    b"POST /hello/f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"POST /hello/f HTTP/1.1\r\nHost: a\r\nExpect: a-wonder\r\n\r\n",
    b"POST /read/f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    b"POST /read/f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n",
    b"POST /echo/f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n",
];

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Setup { tls, proxied, ration, good, prompt, notifies, requests, no_keep_alive, times } = &self.setup;
        let words = [
            (*tls, "tls"),
            (*proxied, "proxied"),
            (*good, "good"),
            (*prompt, "prompt"),
            (*notifies, "notifies"),
            (*no_keep_alive, "no-keep-alive"),
        ];
        for (_, word) in words.iter().filter(|(is, _)| *is) {
            writeln!(f, "{word}")?;
        }
        if let Some(seed) = ration {
            writeln!(f, "ration {seed}")?;
        }
        if let Some(most) = requests {
            writeln!(f, "requests {most}")?;
        }
        let Times { head, idle, body, write, handler } = times;
        writeln!(f, "times head {head} idle {idle} body {body} write {write} handler {}", handler.unwrap_or(0))?;
        for ask in &self.asks {
            match ask {
                Ask::Raw(octets) => writeln!(f, "raw {}", octets.escape_ascii())?,
                Ask::Request { method, path, version, connection, expects, body } => {
                    write!(f, "ask {method} {path} {version}")?;
                    if let Some(connection) = connection {
                        write!(f, " {connection}")?;
                    }
                    if *expects {
                        write!(f, " expects")?;
                    }
                    match body {
                        Content::None => writeln!(f)?,
                        Content::Length(length) => writeln!(f, " length {length}")?,
                        Content::Chunked(length, seed) => writeln!(f, " chunked {length} {seed}")?,
                    }
                }
            }
        }
        self.events.iter().try_for_each(|event| match event {
            Event::Say(ALL) => writeln!(f, "say all"),
            Event::Say(count) => writeln!(f, "say {count}"),
            Event::Room(ALL) => writeln!(f, "room all"),
            Event::Room(count) => writeln!(f, "room {count}"),
            Event::Pass(time) => writeln!(f, "pass {}", time.as_millis()),
            other => writeln!(f, "{}", WORDS.iter().find(|(event, _)| event == other).map_or("?", |(_, word)| word)),
        })
    }
}

const WORDS: [(Event, &str); 11] = [
    (Event::Gate, "gate"),
    (Event::PassDue, "pass due"),
    (Event::PassEarly, "pass early"),
    (Event::Reset, "reset"),
    (Event::End, "end"),
    (Event::Drain, "drain"),
    (Event::Force, "force"),
    (Event::CloseNotify, "close-notify"),
    (Event::Update, "update"),
    (Event::Garbage, "garbage"),
    (Event::Turn, "turn"),
];

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut script = Script::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            script.add(line).ok_or_else(|| format!("not understood: {line}"))?;
        }
        Ok(script)
    }
}

impl Script {
    fn add(&mut self, line: &str) -> Option<()> {
        let setup = &mut self.setup;
        let words: Vec<&str> = line.split(' ').collect();
        let count = |word: &str| if word == "all" { Some(ALL) } else { word.parse().ok() };
        match words[..] {
            ["tls"] => setup.tls = true,
            ["proxied"] => setup.proxied = true,
            ["good"] => setup.good = true,
            ["prompt"] => setup.prompt = true,
            ["notifies"] => setup.notifies = true,
            ["no-keep-alive"] => setup.no_keep_alive = true,
            ["ration", seed] => setup.ration = Some(seed.parse().ok()?),
            ["requests", most] => setup.requests = Some(most.parse().ok()?),
            ["times", "head", head, "idle", idle, "body", body, "write", write, "handler", handler] => {
                setup.times = Times {
                    head: head.parse().ok()?,
                    idle: idle.parse().ok()?,
                    body: body.parse().ok()?,
                    write: write.parse().ok()?,
                    handler: Some(handler.parse().ok()?).filter(|handler| *handler > 0),
                };
            }
            ["raw", ..] => self.asks.push(Ask::Raw(unescaped(line.strip_prefix("raw ")?)?)),
            ["ask", method, path, version, ref rest @ ..] => {
                let (mut connection, mut expects, mut body) = (None, false, Content::None);
                let mut rest = rest.iter();
                while let Some(word) = rest.next() {
                    match *word {
                        "expects" => expects = true,
                        "length" => body = Content::Length(rest.next()?.parse().ok()?),
                        "chunked" => body = Content::Chunked(rest.next()?.parse().ok()?, rest.next()?.parse().ok()?),
                        word => connection = Some(word.to_owned()),
                    }
                }
                let (method, path, version) = (method.to_owned(), path.to_owned(), version.to_owned());
                self.asks.push(Ask::Request { method, path, version, connection, expects, body });
            }
            ["say", octets] => self.events.push(Event::Say(count(octets)?)),
            ["room", octets] => self.events.push(Event::Room(count(octets)?)),
            _ => {
                let known = WORDS.iter().find(|(_, word)| *word == line).map(|(event, _)| *event);
                let passes = || Some(Event::Pass(Duration::from_millis(line.strip_prefix("pass ")?.parse().ok()?)));
                self.events.push(known.or_else(passes)?);
            }
        }
        Some(())
    }

    /// Each script that has something less, the larger parts first.
    pub(crate) fn shorter(&self, part: usize) -> impl Iterator<Item = Script> + '_ {
        let events = (0..self.events.len()).step_by(part).map(move |at| {
            let mut script = self.clone();
            script.events.drain(at..(at + part).min(self.events.len()));
            script
        });
        let asks = (0..self.asks.len()).filter(move |_| part == 1).map(|at| {
            let mut script = self.clone();
            script.asks.remove(at);
            script
        });
        let whole = Some(Script { setup: Setup { ration: None, ..self.setup.clone() }, ..self.clone() });
        events.chain(asks).chain(whole.filter(|_| self.setup.ration.is_some()))
    }
}

/// What `escape_ascii` has made of octets.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let (mut octets, mut rest) = (Vec::new(), text.chars());
    while let Some(next) = rest.next() {
        octets.push(match next {
            '\\' => match rest.next()? {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                'x' => u8::from_str_radix(&rest.by_ref().take(2).collect::<String>(), 16).ok()?,
                other => u8::try_from(other).ok()?,
            },
            other => u8::try_from(other).ok()?,
        });
    }
    Some(octets)
}
