//! The programs of the pages, taken from there by `build.rs` and asked what the pages say that they answer: in memory, and where a
//! wire matters on every server.

#![allow(dead_code, reason = "their main functions")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod begin;
mod keeping;
mod live;
mod other;

use adapter_web::{Application, DynApplication, ServerConfig, registry};

/// Serves `application` by each server in turn, and hands its URL to `test`.
fn each(application: impl Application, test: impl Fn(&str)) {
    let application = DynApplication::new(application);
    for server in registry::servers() {
        println!("on {}", server.info().name);
        let config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
        let handle = server.start(application.clone(), config).unwrap();
        test(&format!("http://{}", handle.local_addrs()[0]));
        handle.stop().unwrap();
    }
}

/// What is answered at `url`.
fn get(url: &str) -> String {
    ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap()
}
