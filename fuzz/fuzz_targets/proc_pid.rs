#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_types::fuzz::fuzz_proc_pid(data));
