//! One thing changed by rule: a field, a status, a setting, a kind of frame, each of them in the same few ways.
//!
//! A mutation of the wire changes what it finds whole in one piece, which is how servers and clients send heads, and leaves the suite's own requests
//! about the records alone.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use adapter_core::ServerConfig;

use super::messages::{Message, Messages, name};
use super::settings;
use crate::fault::Way;
use crate::frames::{Http2Frame, is_http2};
use crate::proxy::Flow;

/// What is changed. Its name says all of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mutation {
    /// Fields of this name (`response date dropped`).
    Field(Way, &'static str, &'static str),
    /// Another part of messages (`response-body cut`).
    Part(Way, &'static str),
    /// A status is another (`status 200 201`).
    Status(u16, u16),
    /// What becomes of a connection (`end lost`).
    End(&'static str),
    /// A kind of frame of HTTP/2 (`frame-down 4 dropped`).
    Frame(Way, u8, &'static str),
    /// A setting is another (`config head_bytes doubled`).
    Config(&'static str, &'static str),
    /// Nothing is: the names of what would have changed something are kept.
    Watch(&'static Mutex<BTreeSet<String>>),
}

/// What is done to a field.
const FIELD: [&str; 3] = ["dropped", "doubled", "changed"];
/// What is done to a response besides.
const RESPONSE: [&str; 19] = [
    "version-1.0",
    "reason-dropped",
    "reason-changed",
    "fields-reversed",
    "body-begins-changed",
    "body-ends-changed",
    "body-cut",
    "body-longer",
    "body-dropped",
    "chunk-size-changed",
    "last-chunk-dropped",
    "last-chunk-doubled",
    "trailers-dropped",
    "trailers-doubled",
    "interim-dropped",
    "interim-doubled",
    "message-dropped",
    "message-doubled",
    "messages-reversed",
];
/// What is done to a request besides.
const REQUEST: [&str; 16] = [
    "version-1.0",
    "method-lowered",
    "target-shortened",
    "target-decoded",
    "target-lowered",
    "query-dropped",
    "query-added",
    "fields-reversed",
    "body-begins-changed",
    "body-ends-changed",
    "body-cut",
    "body-longer",
    "chunk-size-changed",
    "trailers-dropped",
    "message-doubled",
    "messages-reversed",
];
/// What becomes of a connection.
const END: [&str; 3] = ["lost", "early", "reset"];
/// What is done to frames.
const FRAME: [&str; 5] = ["dropped", "doubled", "flagged", "cut", "elsewhere"];

/// Fields between the suite and its application.
const OWN: &str = "x-conformance-";

fn word(way: Way) -> &'static str {
    match way {
        Way::Up => "request",
        Way::Down => "response",
    }
}

impl Mutation {
    /// By its name.
    pub(crate) fn named(name: &'static str) -> Option<Self> {
        let words: Vec<&'static str> = name.split(' ').collect();
        Some(match words[..] {
            ["request", field, how] => Mutation::Field(Way::Up, field, how),
            ["response", field, how] => Mutation::Field(Way::Down, field, how),
            ["request", how] => Mutation::Part(Way::Up, how),
            ["response", how] => Mutation::Part(Way::Down, how),
            ["status", from, to] => Mutation::Status(from.parse().ok()?, to.parse().ok()?),
            ["end", how] => Mutation::End(how),
            ["frame-up", kind, how] => Mutation::Frame(Way::Up, kind.parse().ok()?, how),
            ["frame-down", kind, how] => Mutation::Frame(Way::Down, kind.parse().ok()?, how),
            ["config", which, how] => Mutation::Config(which, how),
            _ => return None,
        })
    }

    /// Whether it is for the proxy.
    pub(crate) fn is_proxied(&self) -> bool {
        !matches!(self, Mutation::Config(..))
    }

    /// Changes a configuration.
    pub(crate) fn config(&self, config: &mut ServerConfig) {
        match self {
            Mutation::Config(which, how) => settings::change(config, which, how),
            Mutation::Watch(seen) => {
                for (which, how) in settings::all() {
                    let mut changed = config.clone();
                    settings::change(&mut changed, which, how);
                    let is_other = changed.values.len() != config.values.len();
                    if is_other || format!("{changed:?}") != format!("{config:?}") {
                        note(seen, &format!("config {which} {how}"));
                    }
                }
            }
            _ => {}
        }
    }

    /// Changes octets on their way; an empty piece downwards is the end.
    pub(crate) fn filter(&self, way: Way, flow: &mut Flow, data: &mut Vec<u8>) {
        // 22 begins TLS.
        if flow.asks("x-conformance-control") || flow.sent.first() == Some(&22) {
            return;
        }
        let http2 = is_http2(&flow.sent);
        match *self {
            Mutation::Frame(which, kind, how) if which == way && http2 => {
                edit_frames(way, flow, data, |frames| change_frame(frames, kind, how));
            }
            Mutation::Field(which, field, how) if which == way && !http2 => {
                edit(way, data, |messages| messages.all.iter_mut().for_each(|one| change_field(one, field, how)));
            }
            Mutation::Part(which, how) if which == way && !http2 => {
                edit(way, data, |messages| change_part(way, messages, how));
            }
            Mutation::Status(from, to) if way == Way::Down && !http2 => {
                edit(way, data, |messages| messages.all.iter_mut().for_each(|one| change_status(one, from, to)));
            }
            Mutation::End(how) if way == Way::Down => match how {
                "lost" => flow.swallow_end = true,
                "early" => flow.close = !data.is_empty(),
                "reset" => flow.reset = data.is_empty(),
                _ => {}
            },
            Mutation::Watch(seen) => watch(seen, way, http2, flow, data),
            _ => {}
        }
    }
}

/// Notes what would change `data`.
fn watch(seen: &Mutex<BTreeSet<String>>, way: Way, http2: bool, flow: &mut Flow, data: &mut Vec<u8>) {
    END.iter().for_each(|how| note(seen, &format!("end {how}")));
    if http2 {
        let word = if way == Way::Up { "frame-up" } else { "frame-down" };
        return edit_frames(way, flow, data, |frames| {
            for (frame, how) in frames.iter().flat_map(|frame| FRAME.map(|how| (frame, how))) {
                note(seen, &format!("{word} {} {how}", frame.kind));
            }
        });
    }
    let messages = Messages::of(way, data);
    for message in &messages.all {
        for field in message.names().filter(|field| !field.starts_with(OWN)) {
            FIELD.iter().for_each(|how| note(seen, &format!("{} {field} {how}", word(way))));
        }
        if let Some(status) = message.status().filter(|_| way == Way::Down) {
            let class = if status < 500 { status + 100 } else { status - 100 };
            [status + 1, class].iter().for_each(|to| note(seen, &format!("status {status} {to}")));
        }
    }
    let parts = if way == Way::Up { &REQUEST[..] } else { &RESPONSE[..] };
    for how in parts {
        let mut changed = data.clone();
        edit(way, &mut changed, |messages| change_part(way, messages, how));
        if changed != *data {
            note(seen, &format!("{} {how}", word(way)));
        }
    }
}

fn note(seen: &Mutex<BTreeSet<String>>, name: &str) {
    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
}

fn edit(way: Way, data: &mut Vec<u8>, change: impl FnOnce(&mut Messages)) {
    let mut messages = Messages::of(way, data);
    change(&mut messages);
    *data = messages.bytes();
}

fn edit_frames(way: Way, flow: &mut Flow, data: &mut Vec<u8>, change: impl FnMut(&mut Vec<Http2Frame>)) {
    let tap = if way == Way::Up { &mut flow.up } else { &mut flow.down };
    tap.edit_http2(data, change);
}

fn change_frame(frames: &mut Vec<Http2Frame>, kind: u8, how: &str) {
    let Some(frame) = frames.first_mut().filter(|frame| frame.kind == kind) else { return };
    match how {
        "dropped" => frames.clear(),
        "doubled" => frames.extend_from_within(..1),
        "flagged" => frame.flags ^= 1,
        "cut" => drop(frame.payload.pop()),
        _ => frame.stream += 2,
    }
}

/// Another octet of the same kind.
fn other(octet: u8) -> u8 {
    match octet {
        b'9' => b'0',
        b'z' => b'a',
        b'Z' => b'A',
        b'0'..=b'8' | b'a'..=b'y' | b'A'..=b'Y' => octet + 1,
        _ => b'x',
    }
}

fn change_field(message: &mut Message, field: &str, how: &str) {
    let mut lines = Vec::new();
    for (at, mut line) in std::mem::take(&mut message.lines).into_iter().enumerate() {
        if at == 0 || name(&line).as_deref() != Some(field) {
            lines.push(line);
            continue;
        }
        match how {
            "dropped" => {}
            "doubled" => lines.extend([line.clone(), line]),
            _ => {
                let last = line.pop().filter(|octet| *octet != b':');
                line.extend(last.map_or(&b": x"[..], |_| b""));
                line.extend(last.map(other));
                lines.push(line);
            }
        }
    }
    message.lines = lines;
}

fn change_status(message: &mut Message, from: u16, to: u16) {
    if message.status() == Some(from) {
        message.lines[0].splice(9..12, to.to_string().into_bytes());
    }
}

fn change_part(way: Way, messages: &mut Messages, how: &str) {
    match how {
        "messages-reversed" => messages.all.reverse(),
        "message-dropped" => messages.all.retain(Message::is_interim),
        "interim-dropped" => messages.all.retain(|message| !message.is_interim()),
        "message-doubled" | "interim-doubled" => {
            let chosen = |one: &Message| way == Way::Up || one.is_interim() == (how == "interim-doubled");
            let doubled = |one: Message| if chosen(&one) { vec![one.clone(), one] } else { vec![one] };
            messages.all = std::mem::take(&mut messages.all).into_iter().flat_map(doubled).collect();
        }
        "last-chunk-dropped" => last_chunks(messages, |_| Vec::new()),
        "last-chunk-doubled" => last_chunks(messages, |chunk| chunk.repeat(2)),
        "trailers-dropped" => last_chunks(messages, |_| b"0\r\n\r\n".to_vec()),
        "trailers-doubled" => last_chunks(messages, |chunk| {
            let fields = &chunk[3..chunk.len() - 2];
            [b"0\r\n", fields, fields, b"\r\n"].concat()
        }),
        _ => messages.all.iter_mut().for_each(|message| change_one(message, how)),
    }
}

/// Changes the last chunk and its trailers, where a piece ends with them.
fn last_chunks(messages: &mut Messages, change: impl Fn(&[u8]) -> Vec<u8>) {
    let Messages { before, all } = messages;
    let bodies = all.iter_mut().filter(|message| message.is_chunked()).map(|message| &mut message.body);
    for body in bodies.chain([before]) {
        let begins = body
            .windows(3)
            .rposition(|window| window == b"0\r\n")
            .filter(|at| body.ends_with(b"\r\n\r\n") && (*at == 0 || body[..*at].ends_with(b"\r\n")));
        if let Some(begins) = begins {
            let chunk = body.split_off(begins);
            body.extend(change(&chunk));
        }
    }
}

fn change_one(message: &mut Message, how: &str) {
    let Some(first) = std::str::from_utf8(&message.lines[0]).ok().filter(|line| line.is_ascii()) else { return };
    let first = first.to_owned();
    let parts: Vec<&str> = first.splitn(3, ' ').collect();
    let &[one, two, three] = &parts[..] else { return };
    let line = match how {
        "version-1.0" => first.replace("HTTP/1.1", "HTTP/1.0"),
        "reason-dropped" => format!("{one} {two} "),
        "reason-changed" => format!("{one} {two} {three}x"),
        "method-lowered" => format!("{} {two} {three}", one.to_ascii_lowercase()),
        "target-shortened" if two.len() > 1 => format!("{one} {} {three}", &two[..two.len() - 1]),
        "target-decoded" => format!("{one} {} {three}", two.replace("%2F", "/").replace("%41", "A")),
        "target-lowered" => format!("{one} {} {three}", two.to_ascii_lowercase()),
        "query-dropped" => format!("{one} {} {three}", two.split('?').next().unwrap_or_default()),
        "query-added" if !two.contains('?') => format!("{one} {two}? {three}"),
        _ => return change_rest(message, how),
    };
    message.lines[0] = line.into_bytes();
}

fn change_rest(message: &mut Message, how: &str) {
    let is_chunked = message.is_chunked();
    let size = message.body.windows(2).position(|pair| pair == b"\r\n");
    let begins = if is_chunked { size.map_or(message.body.len(), |at| at + 2) } else { 0 };
    match how {
        "fields-reversed" => message.lines[1..].reverse(),
        "body-begins-changed" => {
            if let Some(octet) = message.body.get_mut(begins) {
                *octet = other(*octet);
            }
        }
        "body-ends-changed" if !is_chunked => {
            if let Some(octet) = message.body.last_mut() {
                *octet = other(*octet);
            }
        }
        "body-cut" => drop(message.body.pop()),
        "body-longer" if !message.body.is_empty() => message.body.push(b'x'),
        "body-dropped" => message.body.clear(),
        "chunk-size-changed" if is_chunked => {
            if let Some(octet) = message.body.first_mut() {
                *octet = other(*octet);
            }
        }
        _ => {}
    }
}
