//! ClientHellos, by libFuzzer: `fuzz/run client_hello`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::wire_input::client_hello(bytes));
