//! Response heads: one verdict for every split, no panic, printing is stable. The first byte picks the method.
//! Run with `cargo +nightly fuzz run response_head`.

#![no_main]

#[path = "../../crates/wire/tests/properties/mod.rs"]
mod properties;

use libfuzzer_sys::fuzz_target;
use wire::{Limits, Method};

fuzz_target!(|bytes: &[u8]| {
    if let Some((pick, bytes)) = bytes.split_first() {
        let method = [Method::Get, Method::Head, Method::Connect][usize::from(*pick) % 3];
        properties::response_head(bytes, &method, &Limits::default());
    }
});
