//! What is agreed on in the handshake: offers in, the answer out. RFC 7692 §5.1, §7.1
//!
//! Pure. The first offer that can be accepted is; one with a parameter that is unknown, repeated, or of a value it can't
//! have is declined, and so is one for a window of 256 octets, which zlib can't do for a stream without its head.

use std::fmt::Write as _;

use super::Deflate;
use super::grammar::{Extension, Parameter, extensions};

const NAME: &[u8] = b"permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";
/// The largest window, which is meant where none is named. RFC 7692 §7.1.2
pub(super) const MOST_BITS: u8 = 15;
/// The smallest window of zlib-rs (and of zlib) for such streams.
pub(super) const LEAST_BITS: u8 = 9;

/// What was agreed on, as seen by one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Agreed {
    pub(super) level: u8,
    /// Smaller messages are sent as they are.
    pub(super) threshold: usize,
    /// The window for what is sent.
    pub(super) window_bits: u8,
    /// The window goes from one message that is sent to the next.
    pub(super) keeps_sent: bool,
    /// And of those that are received.
    pub(super) keeps_received: bool,
}

/// A field that is not formed as one: the handshake fails. RFC 6455 §9.1
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The parameters of one offer, or of an answer.
#[derive(Debug, Default)]
struct Parameters {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// `Some(None)`: a client knows the parameter and names no number.
    client_bits: Option<Option<u8>>,
}

/// Looks through the lines of Sec-WebSocket-Extensions for an offer that `wanted` can accept; the answer and what it means.
pub(super) fn agree<'f>(
    fields: impl IntoIterator<Item = &'f [u8]>,
    wanted: &Deflate,
) -> Result<Option<(String, Agreed)>, Malformed> {
    let mut accepted = None;
    for field in fields {
        // Those behind the accepted one, too: they must be formed well.
        for extension in extensions(field).ok_or(Malformed)? {
            accepted = accepted.or_else(|| accept(&Parameters::of(&extension)?, wanted));
        }
    }
    Ok(accepted)
}

fn accept(offer: &Parameters, wanted: &Deflate) -> Option<(String, Agreed)> {
    let most = offer.server_bits.unwrap_or(MOST_BITS);
    if most < LEAST_BITS {
        return None;
    }
    let agreed = Agreed {
        level: wanted.level,
        threshold: wanted.threshold,
        window_bits: most.min(wanted.server_bits),
        keeps_sent: wanted.server_takeover && !offer.server_no_takeover,
        keeps_received: wanted.client_takeover && !offer.client_no_takeover,
    };
    let mut answer = String::from_utf8_lossy(NAME).into_owned();
    let mut add = |parameter: &str, value: Option<u8>| {
        // Writing to a String does not fail.
        let _ = write!(answer, "; {parameter}");
        let _ = value.map(|value| write!(answer, "={value}"));
    };
    if !agreed.keeps_sent {
        add(SERVER_NO_CONTEXT_TAKEOVER, None);
    }
    if !agreed.keeps_received {
        add(CLIENT_NO_CONTEXT_TAKEOVER, None);
    }
    if offer.server_bits.is_some() {
        add(SERVER_MAX_WINDOW_BITS, Some(agreed.window_bits));
    }
    // Only to one that knows it, RFC 7692 §7.1.2.2; others may have any window, which costs us nothing.
    if offer.client_bits.is_some_and(|theirs| theirs.unwrap_or(MOST_BITS) > wanted.client_bits) {
        add(CLIENT_MAX_WINDOW_BITS, Some(wanted.client_bits));
    }
    Some((answer, agreed))
}

/// What a client has agreed on by the server's answer; `None` without one.
pub(super) fn agreed_by_answer<'f>(fields: impl IntoIterator<Item = &'f [u8]>) -> Option<Agreed> {
    let answer = fields.into_iter().find_map(|field| Parameters::of(extensions(field)?.first()?))?;
    let wanted = Deflate::default();
    Some(Agreed {
        level: wanted.level,
        threshold: wanted.threshold,
        window_bits: answer.client_bits.flatten().unwrap_or(MOST_BITS).max(LEAST_BITS),
        keeps_sent: !answer.client_no_takeover,
        keeps_received: !answer.server_no_takeover,
    })
}

impl Parameters {
    /// `None` for another extension, and where one of them is none that can be.
    fn of(extension: &Extension<'_>) -> Option<Self> {
        let mut found = Parameters::default();
        if extension.name != NAME {
            return None;
        }
        for Parameter { name, value } in &extension.parameters {
            let name = std::str::from_utf8(name).ok()?;
            let again = match name {
                SERVER_NO_CONTEXT_TAKEOVER if value.is_none() => std::mem::replace(&mut found.server_no_takeover, true),
                CLIENT_NO_CONTEXT_TAKEOVER if value.is_none() => std::mem::replace(&mut found.client_no_takeover, true),
                SERVER_MAX_WINDOW_BITS => found.server_bits.replace(bits(value.as_deref()?)?).is_some(),
                CLIENT_MAX_WINDOW_BITS => {
                    let bits = value.as_deref().map(bits);
                    // Without a value it is one that can be; with one that is no number of bits it is not.
                    if bits == Some(None) {
                        return None;
                    }
                    found.client_bits.replace(bits.flatten()).is_some()
                }
                _ => return None,
            };
            if again {
                return None;
            }
        }
        Some(found)
    }
}

/// 8 to 15, without leading zeros. RFC 7692 §7.1.2
fn bits(value: &[u8]) -> Option<u8> {
    (8..=MOST_BITS).find(|bits| bits.to_string().as_bytes() == value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answer to one line.
    fn answer(field: &str, wanted: &Deflate) -> Option<String> {
        agree([field.as_bytes()], wanted).unwrap().map(|(answer, _)| answer)
    }

    fn keeping() -> Deflate {
        Deflate::default().server_context_takeover(true).client_context_takeover(true)
    }

    #[test]
    fn an_offer_is_answered_with_what_it_knows() {
        let narrow = keeping().server_window_bits(12).client_window_bits(11);
        let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for (field, wanted, expected) in [
            ("permessage-deflate", Deflate::default(), none),
            ("permessage-deflate; client_max_window_bits", Deflate::default(), none),
            ("permessage-deflate", keeping(), "permessage-deflate"),
            // RFC 7692 §7.1.1
            (
                "permessage-deflate; server_no_context_takeover",
                keeping(),
                "permessage-deflate; server_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                keeping(),
                "permessage-deflate; client_no_context_takeover",
            ),
            // §7.1.2.1: the same or smaller, and here only where it was offered
            ("permessage-deflate", narrow.clone(), "permessage-deflate"),
            (
                "permessage-deflate; server_max_window_bits=10",
                narrow.clone(),
                "permessage-deflate; server_max_window_bits=10",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"1\\5\"",
                narrow.clone(),
                "permessage-deflate; server_max_window_bits=12",
            ),
            // §7.1.2.2: never where it was not offered
            (
                "permessage-deflate; client_max_window_bits",
                narrow.clone(),
                "permessage-deflate; client_max_window_bits=11",
            ),
            (
                "permessage-deflate; client_max_window_bits=15",
                narrow.clone(),
                "permessage-deflate; client_max_window_bits=11",
            ),
            // its own limit is smaller
            ("permessage-deflate; client_max_window_bits=8", narrow, "permessage-deflate"),
        ] {
            assert_eq!(answer(field, &wanted).as_deref(), Some(expected), "{field}");
        }
    }

    #[test]
    fn an_offer_that_can_not_be_accepted_is_declined_and_the_next_one_looked_at() {
        for declined in [
            "x-webkit-deflate-frame",
            "permessage-bzip2",
            "Permessage-Deflate",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=\"010\"",
            "permessage-deflate; server_max_window_bits=99999999999999999999",
            "permessage-deflate; server_max_window_bits=ten",
            "permessage-deflate; server_max_window_bits=-9",
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=010",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=9; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; Server_no_context_takeover",
            "permessage-deflate; mem_level=9",
        ] {
            assert_eq!(answer(declined, &keeping()), None, "{declined}");
            let list = format!("{declined}, permessage-deflate; server_max_window_bits=13, permessage-deflate");
            let second = "permessage-deflate; server_max_window_bits=13";
            assert_eq!(answer(&list, &keeping()).as_deref(), Some(second), "{list}");
            let lines = [declined.as_bytes(), b"", b"permessage-deflate; server_max_window_bits=13"];
            let (in_lines, agreed) = agree(lines, &keeping()).unwrap().unwrap();
            assert_eq!((in_lines.as_str(), agreed.window_bits), (second, 13), "{declined}");
        }
        assert_eq!(agree([], &keeping()), Ok(None));
        assert_eq!(answer("", &keeping()), None);
    }

    #[test]
    fn what_is_no_list_fails_the_handshake_wherever_it_stands() {
        let good = &b"permessage-deflate"[..];
        assert_eq!(agree([good, b"a b"], &keeping()), Err(Malformed));
        assert_eq!(agree([b"permessage-deflate; server_max_window_bits=", good], &keeping()), Err(Malformed));
    }

    proptest! {
        /// RFC 7692 §5.1, §7.1: what the answer may say, whatever was offered and wanted.
        #[test]
        fn an_answer_says_no_more_than_it_may(
            server_no: bool, client_no: bool,
            server in prop::option::of(8_u8..=15), client in prop::option::of(prop::option::of(8_u8..=15)),
            server_takeover: bool, client_takeover: bool, server_bits: u8, client_bits: u8,
        ) {
            let mut offer = "permessage-deflate".to_owned();
            if server_no { offer += ";server_no_context_takeover"; }
            if client_no { offer += ";client_no_context_takeover"; }
            if let Some(bits) = server { offer += &format!(";server_max_window_bits={bits}"); }
            if let Some(bits) = client {
                offer += ";client_max_window_bits";
                if let Some(bits) = bits { offer += &format!("={bits}"); }
            }
            let wanted = Deflate::default().server_context_takeover(server_takeover)
                .client_context_takeover(client_takeover).server_window_bits(server_bits).client_window_bits(client_bits);
            let Some((answer, ours)) = agree([offer.as_bytes()], &wanted).unwrap() else {
                prop_assert_eq!(server, Some(8));
                return Ok(());
            };
            let said = Parameters::of(&extensions(answer.as_bytes()).unwrap()[0]).unwrap();
            prop_assert!(said.server_no_takeover || !server_no);
            prop_assert_eq!(said.server_bits.is_some(), server.is_some());
            prop_assert!(said.server_bits <= server);
            prop_assert!(said.client_bits.is_none() || client.is_some());
            if let (Some(Some(said)), Some(Some(hint))) = (said.client_bits, client) { prop_assert!(said <= hint); }
            prop_assert!(said.client_bits.is_none_or(|said| said.is_some()));
            // both sides mean the same
            let theirs = agreed_by_answer([answer.as_bytes()]).unwrap();
            prop_assert_eq!((ours.keeps_sent, ours.keeps_received), (theirs.keeps_received, theirs.keeps_sent));
            prop_assert!((LEAST_BITS..=MOST_BITS).contains(&ours.window_bits));
            prop_assert!(ours.window_bits <= server.unwrap_or(15) && ours.window_bits <= server_bits.clamp(9, 15));
        }

        #[test]
        fn any_octets_are_answered_or_refused(field in "[ ,;=\"\\\\a-z_0-9-]{0,80}|(permessage-deflate[;, =a-z_0-9\"]{0,40})") {
            let _ = agree([field.as_bytes()], &Deflate::default());
        }
    }
}
