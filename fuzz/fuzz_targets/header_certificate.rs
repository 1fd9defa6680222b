//! Certificates in headers, by libFuzzer: `fuzz/run header_certificate`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::credentials::certificate(bytes));
