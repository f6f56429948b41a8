#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_policyd::fuzz::fuzz_attest(data));
