//! Response heads, by libFuzzer: `fuzz/run response_head`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::wire_input::response_head(bytes));
