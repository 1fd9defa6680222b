//! Sets of keys, by libFuzzer: `fuzz/run jwk_set`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::credentials::keys::run(bytes));
