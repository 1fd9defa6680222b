//! Signed tokens: JSON Web Signature (RFC 7515), Algorithms (RFC 7518, RFC 8037), Key (RFC 7517) and Token (RFC 7519).
//!
//! Whoever verifies tokens takes them apart ([`Parts`], [`Token`]), finds a key ([`KeySet`]), and remembers what was found
//! right ([`Remembered`]). A key has its algorithms from the start, so that a token cannot choose how it is checked; `none` is
//! no algorithm, and keys that a token brings with it (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.

mod algorithm;
mod der;
mod key;
mod parts;
mod remembered;
mod signer;
mod thumbprint;
mod token;

pub use algorithm::{Algorithm, NAMES, Verifier};
pub use key::{Key, KeyProblem, KeySet};
pub use parts::{Parts, from_base64url, to_base64url};
pub use remembered::Remembered;
pub use signer::Signer;
pub use thumbprint::thumbprint;
pub use token::{Defect, Header, LONGEST, Token};

#[cfg(test)]
mod tests;
