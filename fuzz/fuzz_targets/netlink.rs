#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lacre_executor::fuzz::fuzz_netlink(data));
