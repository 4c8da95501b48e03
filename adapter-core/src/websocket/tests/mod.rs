//! Handshakes, frames and sockets, in memory.
