//! Request heads: one verdict for every split, no panic, printing is stable.
//! Run with `cargo +nightly fuzz run request_head`.

#![no_main]

#[path = "../../crates/wire/tests/properties/mod.rs"]
mod properties;

use libfuzzer_sys::fuzz_target;
use wire::Limits;

fuzz_target!(|bytes: &[u8]| {
    properties::request_head(bytes, &Limits::default());
});
