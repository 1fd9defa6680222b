//! The keys of all consumers.

use std::sync::Arc;

use plugin::identity::{Caller, Credential};
use plugin::keys;
use plugin::model::{self, Reference};
use plugin::roll::Roll;
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
pub(super) struct Keys(Roll);

impl Keys {
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let caller = |credential: KeyAuthCredential| {
            let consumer = cx.consumer(credential.consumer.0)?;
            let expires_ms = keys::expiry_ms(credential.created_at, credential.ttl);
            Some(Caller::known_by(
                credential.key.as_bytes(),
                expires_ms,
                consumer,
                Credential::of(credential.id),
            ))
        };
        Ok(Self(cx.entities()?.filter_map(caller).collect()))
    }
}

impl keys::Keys for Keys {
    fn find(&self, key: &[u8], now_ms: u64) -> Option<&Arc<Caller>> {
        self.0.find(key).filter(|caller| caller.is_valid_at(now_ms))
    }
}
