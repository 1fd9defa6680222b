//! Keys in every place that key-auth looks at, by libFuzzer: `fuzz/run key_places`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::credentials::places::run(bytes));
