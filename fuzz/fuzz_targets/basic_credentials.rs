//! `Authorization` of basic-auth, by libFuzzer: `fuzz/run basic_credentials`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::credentials::basic(bytes));
