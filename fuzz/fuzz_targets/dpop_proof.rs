//! Proofs of possession, by libFuzzer: `fuzz/run dpop_proof`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::openid::callers::proof(bytes));
