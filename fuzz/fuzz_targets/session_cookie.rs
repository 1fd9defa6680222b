//! Cookies of sessions, by libFuzzer: `fuzz/run session_cookie`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::credentials::session(bytes));
