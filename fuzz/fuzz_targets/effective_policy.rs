#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_policy::fuzz::fuzz_effective(data));
