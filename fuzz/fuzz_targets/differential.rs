#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| if let Err(disagreement) = adapter_fuzz::differential::check(data) {
    panic!("{disagreement}");
});
