#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_containerd::fuzz::fuzz_answers(data));
