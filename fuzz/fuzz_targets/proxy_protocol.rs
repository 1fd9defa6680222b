//! PROXY protocol headers, by libFuzzer: `fuzz/run proxy_protocol`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::wire_input::proxy_protocol(bytes));
