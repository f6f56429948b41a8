#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_cli::fuzz::fuzz_records(data));
