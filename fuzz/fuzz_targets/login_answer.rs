//! What browsers bring from a login, by libFuzzer: `fuzz/run login_answer`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::openid::callers::login(bytes));
