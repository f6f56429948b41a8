#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_proto::fuzz::fuzz_requests(data));
