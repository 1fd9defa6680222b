//! Paths, expressions and hosts of routes, by libFuzzer: `fuzz/run router`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::router::run(bytes));
