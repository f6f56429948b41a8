#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_baseline::fuzz::fuzz_baseline(data));
