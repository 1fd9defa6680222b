//! `Authorization` of hmac-auth, by libFuzzer: `fuzz/run hmac_authorization`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::credentials::hmac(bytes));
