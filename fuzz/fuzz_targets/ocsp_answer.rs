//! Responses of OCSP, by libFuzzer: `fuzz/run ocsp_answer`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::revocation::response(bytes));
