//! Lists of revoked certificates, by libFuzzer: `fuzz/run revocation_list`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::revocation::list(bytes));
