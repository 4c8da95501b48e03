//! Every input of `fuzz/corpus/forwarded` and `ranges`, and all of them cut and changed a little.

#![cfg(feature = "files")]

#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/src/fields.rs"]
mod fields;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let input = fs::read(entry.expect("an entry").path()).expect("an input");
        check(&input);
        for at in 0..input.len() {
            check(&input[..at]);
            let mut other = input.clone();
            other[at] ^= 0x11;
            check(&other);
        }
        count += 1;
    }
    assert!(count > 5, "{count} inputs");
}

#[test]
fn what_proxies_say() {
    replay("forwarded", fields::forwarded);
}

#[test]
fn parts_of_a_file() {
    replay("ranges", fields::ranges);
}
