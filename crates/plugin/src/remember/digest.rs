//! Under what something is remembered.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 over several parts. What it was made of, a token say, cannot be read out of it or out of the memory of the
/// gateway, and nobody can make up another input with the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `parts`, each with its length, so that no two lists of parts run into one another.
    #[must_use]
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    /// A number spread evenly over all digests.
    pub(super) fn number(&self) -> usize {
        usize::from(self.0[0])
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
