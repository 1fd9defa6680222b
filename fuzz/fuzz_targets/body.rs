//! Bodies: one outcome for every split, no panic, printing is stable. The first byte picks the framing.
//! Run with `cargo +nightly fuzz run body`.

#![no_main]

#[path = "../../crates/wire/tests/properties/mod.rs"]
mod properties;

use libfuzzer_sys::fuzz_target;
use wire::{BodyLength, Limits};

fuzz_target!(|bytes: &[u8]| {
    if let Some((pick, bytes)) = bytes.split_first() {
        let length = match pick % 4 {
            0 => BodyLength::Exact(u64::from(*pick)),
            1 => BodyLength::UntilClose,
            _ => BodyLength::Chunked,
        };
        // A refusal is an answer; what matters is that every split gives the same.
        let _ = properties::body(bytes, length, &Limits::default());
    }
});
