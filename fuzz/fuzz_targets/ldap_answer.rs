//! What directories say, by libFuzzer: `fuzz/run ldap_answer`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::credentials::directory::run(bytes));
