//! What a client asks for, and what it makes of the answers.

use adapter_core::dispatch::failure;
use adapter_core::http::StatusCode;

use super::DRIP;
use super::world::Dice;

pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) status: u16,
    /// What the answer to it says.
    pub(crate) said: Vec<u8>,
}

/// Requests, and their octets.
pub(crate) fn requests(dice: &mut Dice) -> (Vec<Asked>, Vec<u8>) {
    let (mut asked, mut octets) = (Vec::new(), Vec::new());
    for number in 0..=dice.below(5) {
        let kind = ["hello", "read", "echo", "leave", "late", "drip", "fail"][dice.below(7)];
        let length = [0, 1, 10, 5000, 20_000, 100_000][dice.below(6)];
        let path = format!("/{kind}/{number}");
        let body: Vec<u8> = (0..length).map(|at| b'a' + (at % 23) as u8).collect();
        octets.extend(format!("POST {path} HTTP/1.1\r\nHost: a\r\n").bytes());
        // Where the end of a body is not in sight that nobody reads, the connection ends. [REQ-12]
        if dice.one_in(2) || !["read", "echo"].contains(&kind) {
            octets.extend(format!("Content-Length: {length}\r\n\r\n").bytes());
            octets.extend(&body);
        } else {
            octets.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            let mut rest = &body[..];
            while !rest.is_empty() {
                let (chunk, behind) = rest.split_at((1 + dice.below(9000)).min(rest.len()));
                octets.extend(format!("{:x}\r\n", chunk.len()).bytes());
                octets.extend(chunk);
                octets.extend(b"\r\n");
                rest = behind;
            }
            octets.extend(b"0\r\n\r\n");
        }
        let said = match kind {
            "read" => format!("{path} {length}").into_bytes(),
            "echo" => body,
            "drip" => format!("{path} {}", "x".repeat(DRIP)).into_bytes(),
            "fail" => failure(StatusCode::INTERNAL_SERVER_ERROR).into_body().try_into_bytes().unwrap().to_vec(),
            _ => path.clone().into_bytes(),
        };
        asked.push(Asked { path, status: if kind == "fail" { 500 } else { 200 }, said });
    }
    (asked, octets)
}

/// A response as it came.
pub(crate) struct Said {
    /// 0 for one whose head is not whole.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) whole: bool,
}

pub(crate) fn responses(mut octets: &[u8]) -> Vec<Said> {
    let mut found = Vec::new();
    while !octets.is_empty() {
        let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else {
            found.push(Said { status: 0, body: Vec::new(), whole: false });
            break;
        };
        let head = String::from_utf8(octets[..end].to_vec()).expect("a head is text").to_lowercase();
        assert!(head.starts_with("http/1.1 "), "no response: {head}");
        let status = head[9..12].parse().expect("a status is a number");
        octets = &octets[end + 4..];
        let field = |name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let (mut body, mut whole) = (Vec::new(), false);
        if let Some(length) = field("content-length:") {
            let length: usize = length.parse().expect("a length is a number");
            whole = octets.len() >= length;
            body.extend(&octets[..length.min(octets.len())]);
            octets = &octets[length.min(octets.len())..];
        } else {
            assert_eq!(field("transfer-encoding:").as_deref(), Some("chunked"), "{head}");
            while let Some(line) = octets.windows(2).position(|two| two == b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&octets[..line]).unwrap(), 16).unwrap();
                octets = &octets[line + 2..];
                whole = size == 0 && octets.len() >= 2;
                body.extend(&octets[..size.min(octets.len())]);
                octets = &octets[(size + 2).min(octets.len())..];
                if size == 0 {
                    break;
                }
            }
            if !whole {
                octets = &[];
            }
        }
        found.push(Said { status, body, whole });
    }
    found
}
