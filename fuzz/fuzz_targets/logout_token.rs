//! What is posted about logouts, by libFuzzer: `fuzz/run logout_token`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::openid::callers::logout(bytes));
