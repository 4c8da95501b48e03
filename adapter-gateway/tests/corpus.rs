//! Every input of `fuzz/corpus/gateway`, and all of them cut and changed a little.

#[allow(unreachable_pub, dead_code, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/src/gateway.rs"]
mod gateway;

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_is_heard_alike_in_any_pieces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/gateway");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let input = fs::read(entry.expect("an entry").path()).expect("an input");
        gateway::gateway(&input);
        let step = input.len() / 64 + 1;
        for at in (0..input.len()).step_by(step) {
            gateway::gateway(&input[..at]);
            let mut other = input.clone();
            other[at] ^= 0x81;
            gateway::gateway(&other);
        }
        count += 1;
    }
    assert!(count >= 12, "{count} inputs");
}
