//! Every input of `fuzz/corpus/websocket`, and all of them cut and changed a little.

#![cfg(feature = "deflate")]

#[allow(unreachable_pub, dead_code, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/src/websocket.rs"]
mod websocket;

use std::fs;
use std::path::Path;

#[test]
fn whatever_the_corpus_sends_what_comes_back_is_well_formed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/websocket");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let input = fs::read(entry.expect("an entry").path()).expect("an input");
        websocket::websocket(&input);
        let step = input.len() / 32 + 1;
        for at in (0..input.len()).step_by(step) {
            websocket::websocket(&input[..at]);
            let mut other = input.clone();
            other[at] ^= 0x41;
            websocket::websocket(&other);
        }
        count += 1;
    }
    assert!(count >= 10, "{count} inputs");
}
