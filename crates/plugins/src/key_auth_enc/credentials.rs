//! The digests of the keys of all consumers.

use std::fmt::Write;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use plugin::identity::{Caller, Credential};
use plugin::keys;
use plugin::model::entity::Form;
use plugin::model::{self, Reference, Value};
use plugin::roll::Roll;
use plugin::{Build, BuildError};
use serde_json::Map;

model::entity! {
    /// A key that a consumer may use, of which only a digest is kept.
    pub struct KeyAuthEncCredential in "keyauth_enc_credentials" {
        /// Whose key it is.
        consumer: Reference, [to("consumers")];
        /// The key itself. Kept, and shown, is its SHA-256 in hexadecimal digits; with `_transform: false` it is that
        /// already. None is made up when it is left out, as nobody could ever read it.
        key: String, [unique(), len_min(1), referenceable(), encrypted()];
        /// Seconds after `created_at` at which the key stops working. It works forever when left out.
        ttl: Option<i64>, [between(0, 100_000_000)];
    }
    admin: ("key-auths-enc", "key-auth-enc")
    endpoint_key: "key"
    cache_key: ["key"]
    transform: conceal
}

type Sha256 = [u8; 32];

fn sha256(key: &[u8]) -> Sha256 {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    bytes
}

/// The digest that its digits stand for.
fn read(digits: &str) -> Option<Sha256> {
    let digits = digits.as_bytes();
    if digits.len() != 64 || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// A key becomes its digest.
fn conceal(fields: &mut Map<String, Value>, form: Form) -> Result<(), (&'static str, String)> {
    let Some(key) = fields["key"].as_str() else { return Ok(()) };
    match form {
        Form::Written => {
            let digits = sha256(key.as_bytes()).iter().fold(String::new(), |mut digits, byte| {
                // Writing to a string cannot fail.
                let _ = write!(digits, "{byte:02x}");
                digits
            });
            fields["key"] = Value::String(digits);
            Ok(())
        }
        Form::Kept if read(key).is_some() => Ok(()),
        Form::Kept => {
            let message = "with _transform: false, must be the SHA-256 of the key: 64 hexadecimal digits";
            Err(("key", message.to_owned()))
        }
    }
}

/// All keys of a snapshot by digest.
///
/// Found by hash, not compared in constant time: what timing tells about a digest tells nothing about a key.
pub(super) struct Keys(Roll);

impl Keys {
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let caller = |credential: KeyAuthEncCredential| {
            let (consumer, digest) = (cx.consumer(credential.consumer.0)?, read(&credential.key)?);
            let expires_ms = keys::expiry_ms(credential.created_at, credential.ttl);
            Some(Caller::known_by(&digest, expires_ms, consumer, Credential::of(credential.id)))
        };
        Ok(Self(cx.entities()?.filter_map(caller).collect()))
    }
}

impl keys::Keys for Keys {
    fn find(&self, key: &[u8], now_ms: u64) -> Option<&Arc<Caller>> {
        self.0.find(&sha256(key)).filter(|caller| caller.is_valid_at(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_sixty_four_small_digits() {
        let digits = "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90";
        assert_eq!(read(digits), Some(sha256(b"alice")));
        for bad in
            [&digits[1..], &digits.to_uppercase(), &digits.replace('2', "g"), &digits.replace('2', "+"), ""]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
