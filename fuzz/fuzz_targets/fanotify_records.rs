#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_sys::fanotify::fuzz::fuzz_records(data));
