//! JSON Web Tokens, by libFuzzer: `fuzz/run jwt_token`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::credentials::jwt(bytes));
