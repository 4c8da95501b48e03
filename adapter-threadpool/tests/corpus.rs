//! Replays the fuzz corpus: the seeds, and every input that was once a bug.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test, and a file of the fuzz targets")]

#[path = "../../fuzz/src/checks.rs"]
mod checks;

use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        check(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "the corpus of {target} is missing");
}

#[test]
fn heads() {
    replay("head", checks::head);
}

#[test]
fn chunked_bodies() {
    replay("chunked", checks::chunked);
}

#[test]
fn ordinary_bodies() {
    replay("ordinary", checks::ordinary);
}

#[test]
fn proxy_protocol() {
    replay("proxy_protocol", checks::proxy_protocol);
}

#[test]
fn connections() {
    replay("connection", checks::connection);
}
