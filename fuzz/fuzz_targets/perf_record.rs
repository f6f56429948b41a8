#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_measure::exec_map::fuzz::fuzz_record(data));
