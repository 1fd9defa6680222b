//! ID tokens beside other tokens, by libFuzzer: `fuzz/run id_token`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::openid::callers::beside(bytes));
