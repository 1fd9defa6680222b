//! What providers answer, by libFuzzer: `fuzz/run provider_answer`. What must hold is said in `properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::openid::answers::run(bytes));
