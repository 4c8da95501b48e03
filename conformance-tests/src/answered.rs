//! Who made the last response of a case that failed: the application, the server, or something in front of it.

use crate::application::MARK;
use crate::front::Kind;
use crate::wire::{Direction, Exchange, Head};

/// Who else than the application may have answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Others {
    /// The server, and nobody else.
    Server,
    /// The server, or the web server that the suite has put in front of it.
    Behind(Kind),
    /// Who knows: it is somewhere.
    Unknown,
}

/// A sentence about it; `None` where no head of a response in HTTP/1 has come.
pub(crate) fn by(exchanges: &[Exchange], others: Others) -> Option<String> {
    let received = exchanges.iter().rev().filter(|exchange| exchange.direction == Direction::Received);
    let (head, body) = received.filter_map(|exchange| last_head(&exchange.bytes)).next()?;
    let who = if head.has(MARK) {
        "the application's".to_owned()
    } else {
        match others {
            Others::Server => "the server's own".to_owned(),
            // Of the two only the web servers make pages.
            Others::Behind(kind) if is_page(&head, body) => {
                format!("of {}, which is in front of the server", kind.name())
            }
            Others::Behind(_) => "the server's own".to_owned(),
            Others::Unknown => {
                let names = ["server", "via"].map(|name| head.get(name).map(|value| format!("{name}: {value}")));
                let names: Vec<String> = names.into_iter().flatten().collect();
                let told = if names.is_empty() { "it does not say whose".to_owned() } else { names.join(", ") };
                format!("not the application's, but the server's or of something in front of it ({told})")
            }
        }
    };
    Some(format!("the last response, a {}, was {who}", head.status))
}

fn is_page(head: &Head, body: &[u8]) -> bool {
    let is_html = head.get("content-type").is_some_and(|value| value.starts_with("text/html"));
    is_html && body.trim_ascii_start().starts_with(b"<")
}

/// The last head in `octets`, and what is behind it.
fn last_head(octets: &[u8]) -> Option<(Head, &[u8])> {
    let mut starts =
        (0..octets.len()).rev().filter(|at| octets.get(*at..).is_some_and(|rest| rest.starts_with(b"HTTP/1.")));
    starts.find_map(|start| {
        let rest = octets.get(start..)?;
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let (head, body) = rest.split_at_checked(end)?;
        Some((Head::parse(head).ok()?, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(octets: &str, others: Others) -> Option<String> {
        let received = |bytes: &str| Exchange {
            connection: 1,
            direction: Direction::Received,
            bytes: bytes.as_bytes().to_vec(),
            more: 0,
        };
        by(&[received("HTTP/1.1 200 OK\r\n\r\n"), received(octets)], others)
    }

    #[test]
    fn the_last_head_says_whose_it_is() {
        let marked = format!("HTTP/1.1 400 Bad Request\r\n\r\nHTTP/1.1 200 OK\r\n{MARK}: 1\r\n\r\nbody");
        assert_eq!(told(&marked, Others::Unknown).unwrap(), "the last response, a 200, was the application's");
        let plain = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\r\nno";
        assert_eq!(told(plain, Others::Server).unwrap(), "the last response, a 400, was the server's own");
        assert_eq!(told(plain, Others::Behind(Kind::Nginx)), told(plain, Others::Server));
        let page = "HTTP/1.1 502 Bad Gateway\r\nserver: nginx\r\ncontent-type: text/html\r\n\r\n<html>";
        assert!(
            told(page, Others::Behind(Kind::Nginx)).unwrap().ends_with("was of nginx, which is in front of the server")
        );
        assert!(told(page, Others::Unknown).unwrap().ends_with("in front of it (server: nginx)"));
        assert!(told("HTTP/1.1 200 OK\r\nhalf", Others::Server).unwrap().contains("a 200"), "the one before counts");
        assert_eq!(by(&[], Others::Server), None);
    }
}
