//! The usernames and secrets of all consumers.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use plugin::identity::{Caller, Credential};
use plugin::model::courtesy::Table;
use plugin::model::{self, Reference, Uuid};
use plugin::{Build, BuildError};

use super::signature::{Algorithm, NAMES};

model::entity! {
    /// A username and the secret with which a consumer signs.
    pub struct HmacAuthCredential in "hmacauth_credentials" {
        /// Whose they are.
        consumer: Reference, [to("consumers")];
        /// The username, by which signatures name the credential.
        username: String, [unique(), len_min(1)];
        /// The shared secret. Made up at random when left out.
        secret: String, [auto(), len_min(1), referenceable(), encrypted()];
    }
    admin: ("hmac-auths", "hmac-auth")
    endpoint_key: "username"
    cache_key: ["username"]
}

/// All credentials of a snapshot by username.
pub(super) struct Secrets {
    known: Table<Box<str>, (Secret, Arc<Caller>)>,
    /// What signatures of unknown usernames are compared with, so that they take as long as others.
    decoy: Secret,
}

/// A secret, with its keys for the algorithms that have been used.
pub(super) struct Secret {
    text: Box<str>,
    keys: [OnceLock<Box<hmac::Key>>; NAMES.len()],
}

impl Secrets {
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut known = Table::default();
        for credential in cx.entities::<HmacAuthCredential>()? {
            let Some(consumer) = cx.consumer(credential.consumer.0) else { continue };
            let proof = Credential { id: credential.id, identifier: credential.username.as_str().into() };
            let caller = Caller::authenticated(Some(consumer), proof);
            let secret = Secret::new(credential.secret.into_boxed_str());
            known.insert(credential.username.into_boxed_str(), (secret, caller));
        }
        let decoy = Secret::new(Uuid::new_v4().to_string().into_boxed_str());
        Ok(Self { known, decoy })
    }

    /// What a signature for `username` is to be checked with, and whose it is then: nobody's, for a username that nobody has.
    pub(super) fn find(&self, username: &str) -> (&Secret, Option<&Arc<Caller>>) {
        match self.known.get(username) {
            Some((secret, caller)) => (secret, Some(caller)),
            None => (&self.decoy, None),
        }
    }
}

impl Secret {
    fn new(text: Box<str>) -> Self {
        Self { text, keys: [const { OnceLock::new() }; NAMES.len()] }
    }

    pub(super) fn key(&self, algorithm: Algorithm) -> &hmac::Key {
        self.keys[algorithm as usize].get_or_init(|| Box::new(algorithm.key(self.text.as_bytes())))
    }
}
