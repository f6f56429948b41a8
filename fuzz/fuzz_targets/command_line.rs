#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_measure::fanotify::fuzz::fuzz_command_line(data));
