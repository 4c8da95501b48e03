//! What the protocols of gateways have in common, without I/O: octets in, events out; pieces of a response in, octets out.

use bytes::Bytes;

use crate::variables::Variables;

/// What a web server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A request, of which the body follows.
    Request {
        /// Its head and its facts.
        variables: Variables,
        /// The web server wants to send another one behind it.
        keep: bool,
    },
    /// Octets of the request's body.
    Data(Bytes),
    /// The body is whole.
    End,
    /// The web server does not want the answer any more.
    Abort,
    /// To be sent back at once.
    Reply(Vec<u8>),
}

/// What it says is none of the protocol, or too much of it.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Malformed {
    /// There is nobody to be answered.
    Protocol(&'static str),
    /// More variables than there is room for.
    TooLarge,
}

/// How the head of a response begins.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Form {
    /// With the field `Status`: RFC 3875 §6.3.3.
    Cgi,
    /// With a status line of HTTP/1.1: RFC 9112 §4.
    Http,
}

/// A protocol between a web server and an application. What is given here is for protocols of one request a connection, where a response
/// is what is written until the connection ends.
pub(crate) trait Framing: Send + 'static {
    /// For a connection whose requests may have variables of `limit` octets, names included.
    fn new(limit: usize) -> Self;

    /// Takes `octets` that came, and gives what they say through `event`, in order.
    ///
    /// # Errors
    /// The connection is of no more use.
    fn receive(&mut self, octets: &[u8], event: &mut dyn FnMut(Event)) -> Result<(), Malformed>;

    /// How the head of a response begins.
    fn form(&self) -> Form;

    /// Appends `data`, a piece of the response with its head in front, to `out`.
    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(data);
    }

    /// The response is whole.
    fn end(&mut self, _out: &mut Vec<u8>) {}

    /// The response is broken off: appends what shows that, as far as the protocol can.
    fn broken(&mut self, _out: &mut Vec<u8>) {}

    /// Whether the end of the connection is the end of the response, so that one that is broken off needs a reset.
    fn ends_by_close(&self) -> bool {
        true
    }

    /// Whether a body without a declared length may follow.
    fn has_open_bodies(&self) -> bool {
        false
    }
}
