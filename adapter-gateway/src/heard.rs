//! What a framing makes of octets, for who tries them with whatever there is: fuzzing. Not for programs.

use crate::fastcgi::FastCgi;
use crate::framing::{Event, Framing, Malformed};
use crate::scgi::Scgi;
use crate::uwsgi::Uwsgi;

/// A thing that was heard, with body octets in one piece however they came.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A request with its variables, and whether the connection is kept.
    Request(Vec<(Vec<u8>, Vec<u8>)>, bool),
    /// Octets of a body.
    Data(Vec<u8>),
    /// Its end.
    End,
    /// The request is given up.
    Abort,
    /// Octets to send back at once.
    Reply(Vec<u8>),
    /// Nonsense, or too much. Nothing comes behind it.
    Malformed,
}

/// Hears `pieces`, one after the other, as `protocol` has them, on a connection whose requests have at most `limit` octets of variables. `None`
/// for a protocol that is none.
pub fn heard(protocol: &str, limit: usize, pieces: &[&[u8]]) -> Option<Vec<Heard>> {
    match protocol {
        "fastcgi" => Some(hear::<FastCgi>(limit, pieces)),
        "scgi" => Some(hear::<Scgi>(limit, pieces)),
        "uwsgi" => Some(hear::<Uwsgi>(limit, pieces)),
        _ => None,
    }
}

fn hear<F: Framing>(limit: usize, pieces: &[&[u8]]) -> Vec<Heard> {
    let mut framing = F::new(limit);
    let mut all = Vec::new();
    for piece in pieces {
        let mut event = |event| match (event, all.last_mut()) {
            (Event::Data(data), Some(Heard::Data(before))) => before.extend_from_slice(&data),
            (Event::Data(data), _) => all.push(Heard::Data(data.to_vec())),
            (Event::Request { variables, keep }, _) => {
                let pairs = variables.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
                // What a connection does with any of them.
                let _ = (variables.head(100), variables.mount("/"), variables.peer(), variables.local());
                all.push(Heard::Request(pairs, keep));
            }
            (Event::End, _) => all.push(Heard::End),
            (Event::Abort, _) => all.push(Heard::Abort),
            (Event::Reply(octets), _) => all.push(Heard::Reply(octets)),
        };
        let malformed: Option<Malformed> = framing.receive(piece, &mut event).err();
        if malformed.is_some() {
            all.push(Heard::Malformed);
            break;
        }
    }
    all
}
