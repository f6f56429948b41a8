#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_report::fuzz::fuzz_stored_policy(data));
