//! Paths and their normal form, by libFuzzer: `fuzz/run path`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::path::run(bytes));
