//! The usernames and passwords of all consumers.

use std::sync::Arc;

use ahash::RandomState;
use plugin::identity::{Caller, Credential};
use plugin::model::courtesy::Table;
use plugin::model::entity::Form;
use plugin::model::{self, Reference, Uuid, Value};
use plugin::{Build, BuildError};
use serde_json::Map;

use super::hash::{Sha1, Slow, Stored};

model::entity! {
    /// A username and a password of a consumer.
    pub struct BasicAuthCredential in "basicauth_credentials" {
        /// Whose they are.
        consumer: Reference, [to("consumers")];
        /// The username; without a colon, which ends it in requests.
        username: String, [unique(), len_min(1), custom_value(has_no_colon)];
        /// The password. Kept, and shown, is its SHA-1 with the consumer's id behind it, as Kong keeps it; with
        /// `_transform: false` it is that already.
        password: Option<String>, [len_min(1), referenceable(), encrypted()];
        /// A hash of the password, in place of it: of bcrypt (`$2b$12$...`) or argon2 (`$argon2id$v=19$...`).
        password_hash: Option<String>, [referenceable(), encrypted(), custom_value(is_slow_hash), extension()];
    }
    admin: ("basic-auths", "basic-auth")
    endpoint_key: "username"
    cache_key: ["username"]
    transform: conceal
    checks: [only_one_of(&["password", "password_hash"])]
}

fn has_no_colon(username: &Value) -> Result<(), String> {
    match username.as_str().is_some_and(|username| username.contains(':')) {
        true => Err("must not have a colon: requests could not name it".to_owned()),
        false => Ok(()),
    }
}

fn is_slow_hash(hash: &Value) -> Result<(), String> {
    hash.as_str().map_or(Ok(()), |hash| Slow::parse(hash).map(|_| ()))
}

/// A password becomes its hash.
fn conceal(fields: &mut Map<String, Value>, form: Form) -> Result<(), (&'static str, String)> {
    let consumer = fields["consumer"]["id"].as_str().and_then(|id| Uuid::try_parse(id).ok());
    let (Some(password), Some(consumer)) = (fields["password"].as_str(), consumer) else { return Ok(()) };
    let hash = match form {
        Form::Written => Sha1::of(password.as_bytes(), consumer),
        Form::Kept => Sha1::parse(password, consumer).ok_or_else(|| {
            let message = "with _transform: false, must be the SHA-1 of the password and the consumer's id: 40 \
                           hexadecimal digits";
            ("password", message.to_owned())
        })?,
    };
    fields["password"] = Value::String(hash.to_string());
    Ok(())
}

/// All credentials of a snapshot by username.
pub(super) struct Passwords {
    known: Table<Box<[u8]>, Known>,
    /// What passwords of unknown usernames are compared with, so that they take as long as others: what is kept for others.
    decoys: Vec<Stored>,
    hasher: RandomState,
}

/// Hashes that unknown usernames are spread over, at most.
const MOST_DECOYS: usize = 1024;

/// What is known of a username.
pub(super) struct Known {
    pub(super) caller: Arc<Caller>,
    pub(super) stored: Stored,
}

impl Passwords {
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut known = Table::default();
        for credential in cx.entities::<BasicAuthCredential>()? {
            let Some(consumer) = cx.consumer(credential.consumer.0) else { continue };
            let stored = match (&credential.password, &credential.password_hash) {
                (_, Some(hash)) => Slow::parse(hash).ok().map(|hash| Stored::Slow(Arc::new(hash))),
                (Some(hash), None) => Sha1::parse(hash, consumer.id).map(Stored::Fast),
                (None, None) => None,
            };
            let Some(stored) = stored else { continue };
            let proof = Credential { id: credential.id, identifier: credential.username.as_str().into() };
            let caller = Caller::authenticated(Some(consumer), proof);
            known.insert(credential.username.into_bytes().into_boxed_slice(), Known { caller, stored });
        }
        let step = known.len().div_ceil(MOST_DECOYS).max(1);
        let mut decoys: Vec<Stored> =
            known.values().step_by(step).map(|known| known.stored.clone()).collect();
        if decoys.is_empty() {
            decoys.push(Stored::Fast(Sha1::of(b"", Uuid::nil())));
        }
        Ok(Self { known, decoys, hasher: RandomState::new() })
    }

    /// What a password given for `username` is to be compared with, and whose it is then: nobody's, for a username that
    /// nobody has. The same one is always compared with the same.
    pub(super) fn find(&self, username: &[u8]) -> (&Stored, Option<&Arc<Caller>>) {
        match self.known.get(username) {
            Some(known) => (&known.stored, Some(&known.caller)),
            None => {
                let place = self.hasher.hash_one(username) as usize % self.decoys.len();
                (&self.decoys[place], None)
            }
        }
    }
}
