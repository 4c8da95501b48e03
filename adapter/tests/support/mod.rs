//! A test on every server of this build that hands connections over.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "tests; not every test uses all of it")]

#[path = "../wire/mod.rs"]
mod wire;

use std::sync::Arc;

use adapter_core::{Application, ServerConfig};

#[allow(unused_imports, reason = "not every test uses all of it")]
pub use self::wire::*;

/// Runs `test` with each server in turn.
#[track_caller]
pub fn each(application: impl Application, test: impl FnMut(Running)) {
    each_with(config(), application, test);
}

#[track_caller]
pub fn each_with(config: ServerConfig, application: impl Application, mut test: impl FnMut(Running)) {
    let application = Arc::new(application);
    for server in adapter::servers() {
        let info = server.info();
        if info.capabilities.upgrade && info.capabilities.websocket {
            // Shown where the test fails.
            println!("on {}", info.name);
            test(start(server, application.clone(), config.clone()));
        }
    }
}
