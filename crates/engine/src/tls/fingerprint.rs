//! Digests of things made of several parts, by which they are told apart over reloads.

use aws_lc_rs::digest::{Context, SHA256};

/// A digest.
pub type Fingerprint = [u8; 32];

/// Takes the parts, in order.
pub struct Fingerprinter(Context);

impl Default for Fingerprinter {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Fingerprinter {
    /// Takes one more part. Where it ends is part of the digest.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The digest of all parts.
    pub fn finish(self) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(self.0.finish().as_ref());
        fingerprint
    }
}
