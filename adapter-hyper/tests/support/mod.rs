//! The servers of this crate, and the facade's WebSocket client.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "tests; not every test uses all of it")]

#[path = "../../../adapter-web/tests/wire/mod.rs"]
mod wire;

use adapter_core::{Application, Server};
use adapter_hyper::{ActixServer, HyperServer};

#[allow(unused_imports, reason = "not every test uses all of it")]
pub use self::wire::*;

/// The servers of this crate.
pub fn servers() -> [Box<dyn Server>; 2] {
    [Box::new(HyperServer::new()), Box::new(ActixServer::new())]
}

pub fn serve(application: impl Application) -> Running {
    start(&HyperServer::new(), application, config())
}
