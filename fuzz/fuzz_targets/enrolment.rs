#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_attest::fuzz::fuzz_enrol(data));
