//! Every input of `fuzz/corpus/values`, and all of them cut and changed a little.

#![cfg(feature = "cli")]

#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/src/values.rs"]
mod values;

use std::fs;
use std::path::Path;

#[test]
fn what_is_read_is_said_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/values");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let input = fs::read(entry.expect("an entry").path()).expect("an input");
        values::values(&input);
        for at in 0..input.len() {
            values::values(&input[..at]);
            let mut other = input.clone();
            other[at] ^= 0x11;
            values::values(&other);
        }
        count += 1;
    }
    assert!(count > 2, "{count} inputs");
}
