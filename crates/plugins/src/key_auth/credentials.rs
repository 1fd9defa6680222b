//! The keys of all consumers.

use std::sync::Arc;

use plugin::identity::{Caller, Credential};
use plugin::keys;
use plugin::model::courtesy::Table;
use plugin::model::{self, Reference};
use plugin::{Build, BuildError};

model::entity! {
    /// A key that a consumer may use.
    pub struct KeyAuthCredential in "keyauth_credentials" {
        /// Whose key it is.
        consumer: Reference, [to("consumers")];
        /// The key itself. Made up at random when left out.
        key: String, [auto(), unique(), len_min(1), referenceable(), encrypted()];
        /// Seconds after `created_at` at which the key stops working. It works forever when left out.
        ttl: Option<i64>, [between(0, 100_000_000)];
    }
    admin: ("key-auths", "key-auth")
    endpoint_key: "key"
    cache_key: ["key"]
}

/// All keys of a snapshot by value.
///
/// Found by hash, not compared in constant time: the hash is seeded at random, so timing tells nothing about how much
/// of a guess is right.
pub(super) struct Keys(Table<Box<[u8]>, Known>);

/// Whom a key belongs to.
struct Known {
    caller: Arc<Caller>,
    expires_ms: u64,
}

impl Keys {
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut keys = Table::default();
        for credential in cx.entities::<KeyAuthCredential>()? {
            let Some(consumer) = cx.consumer(credential.consumer.0) else { continue };
            let identifier = credential.id.hyphenated().to_string().into();
            let proof = Credential { id: credential.id, identifier };
            let caller = Caller::authenticated(Some(consumer), proof);
            let known = Known { caller, expires_ms: keys::expiry_ms(credential.created_at, credential.ttl) };
            keys.insert(credential.key.into_bytes().into_boxed_slice(), known);
        }
        Ok(Self(keys))
    }
}

impl keys::Keys for Keys {
    fn find(&self, key: &[u8], now_ms: u64) -> Option<&Arc<Caller>> {
        self.0.get(key).filter(|known| now_ms < known.expires_ms).map(|known| &known.caller)
    }
}
