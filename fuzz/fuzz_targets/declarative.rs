//! Declarative files, by libFuzzer: `fuzz/run declarative`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::declarative::run(bytes));
