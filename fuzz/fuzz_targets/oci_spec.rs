#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_shim::fuzz::fuzz_spec(data));
