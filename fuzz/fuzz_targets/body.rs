//! Bodies, by libFuzzer: `fuzz/run body`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::wire_input::body(bytes));
