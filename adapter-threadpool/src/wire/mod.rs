//! The HTTP/1.1 engine without I/O: bytes in, facts out, and back. Pure functions and small state machines.
//!
//! Whichever thread serves a connection runs them; nothing here blocks, panics on any input, or keeps what it was not
//! told to keep.

pub mod body_decoder;
pub mod encoder;
pub mod head;
