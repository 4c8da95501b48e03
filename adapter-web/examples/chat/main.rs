//! A chat: rooms, names, who is online, history; browsers on WebSockets and scripts on long-polls in the same room.
//!
//! `cargo run --release --example chat`, then open the address it prints in two windows. From a terminal:
//!
//! ```text
//! curl -s 'localhost:8080/poll?room=lobby&since=0'
//! curl -s -d 'Hello from curl' 'localhost:8080/send?room=lobby&name=curl'
//! ```

mod chat;
mod log;
mod query;
mod room;

use std::process::ExitCode;

fn main() -> ExitCode {
    adapter_web::serve!(chat::Chat::new(log::Memory::default()))
}
