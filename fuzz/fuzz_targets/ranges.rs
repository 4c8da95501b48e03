#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adapter_fuzz::fields::ranges(data));
