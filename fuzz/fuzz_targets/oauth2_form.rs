//! Forms for tokens of oauth2, by libFuzzer: `fuzz/run oauth2_form`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::credentials::oauth2(bytes));
