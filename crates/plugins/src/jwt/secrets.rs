//! The credentials of all consumers.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use plugin::claims::Claims;
use plugin::identity::{Caller, Credential};
use plugin::jose::{Algorithm, NAMES, Remembered, Verifier};
use plugin::model::courtesy::Table;
use plugin::model::schema::Faults;
use plugin::model::secret::is_reference;
use plugin::model::{self, Reference, Value};
use plugin::{Build, BuildError};

use super::times::Times;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

model::entity! {
    /// What a consumer signs its tokens with.
    pub struct JwtSecret in "jwt_secrets" {
        /// Whose credential it is.
        consumer: Reference, [to("consumers")];
        /// The value by which tokens name the credential. Made up at random when left out.
        key: String, [auto(), unique(), len_min(1)];
        /// The shared secret of the HS algorithms. Made up at random when left out.
        secret: String, [auto(), len_min(1), referenceable(), encrypted()];
        /// The public key of all other algorithms, in PEM form; RSA keys have at least 2048 bits.
        rsa_public_key: Option<String>, [referenceable()];
        /// The only algorithm that is accepted with this credential.
        algorithm: String = "HS256", [one_of(NAMES)];
    }
    admin: ("jwts", "jwt")
    endpoint_key: "key"
    cache_key: ["key"]
    checks: [
        conditional("algorithm", not_matches("^HS"), "rsa_public_key", required()),
        custom_fields(check_public_key),
    ]
}

/// Credentials by key, and the tokens already verified with them.
pub(super) struct Index {
    secrets: Table<Box<str>, Arc<Secret>>,
    pub(super) verified: Remembered<Finding>,
}

/// The credentials with secrets as they are written (`false`) or as Base64 (`true`).
pub(super) struct Secrets<const BASE64: bool>(pub(super) Arc<Index>);

/// What stays true of a token.
#[derive(Clone)]
pub(super) struct Finding {
    /// Whose it is.
    pub(super) secret: Arc<Secret>,
    /// What it says about time.
    pub(super) times: Times,
    /// What else it says, as far as a room wants to know.
    pub(super) claims: Option<Arc<Claims>>,
}

/// One credential, ready to check tokens.
pub(super) struct Secret {
    pub(super) caller: Arc<Caller>,
    pub(super) algorithm: Algorithm,
    /// None when the secret is not the Base64 text it should be.
    pub(super) verifier: Option<Verifier>,
}

impl<const BASE64: bool> Secrets<BASE64> {
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut secrets = Table::default();
        for row in cx.entities::<JwtSecret>()? {
            let Some(consumer) = cx.consumer(row.consumer.0) else { continue };
            let Some(algorithm) = Algorithm::named(&row.algorithm) else { continue };
            let verifier = match (&row.rsa_public_key, algorithm.is_symmetric()) {
                (_, true) => {
                    secret_bytes(&row.secret, BASE64).and_then(|secret| algorithm.with_secret(&secret))
                }
                (Some(pem), false) => algorithm.with_public_key(pem),
                (None, false) => None,
            };
            let credential = Credential { id: row.id, identifier: row.key.as_str().into() };
            let caller = Caller::authenticated(Some(consumer), credential);
            let secret = Secret { caller, algorithm, verifier };
            secrets.insert(row.key.into_boxed_str(), Arc::new(secret));
        }
        Ok(Self(Arc::new(Index { secrets, verified: Remembered::new(cx.services) })))
    }
}

impl Index {
    /// The credential that tokens name by `key`.
    pub(super) fn find(&self, key: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(key)
    }
}

/// The secret itself. Base64 may be of either alphabet, with or without padding.
fn secret_bytes(secret: &str, is_base64: bool) -> Option<Vec<u8>> {
    if !is_base64 {
        return Some(secret.as_bytes().to_vec());
    }
    let bytes = BASE64.decode(secret.replace('-', "+").replace('_', "/")).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

fn check_public_key(secret: &Value, faults: &mut Faults) {
    let algorithm = secret["algorithm"].as_str().and_then(Algorithm::named);
    // What a reference stands for is looked at once it is known.
    let pem = secret["rsa_public_key"].as_str().filter(|pem| !is_reference(pem));
    let (Some(algorithm), Some(pem)) = (algorithm, pem) else { return };
    if !algorithm.is_symmetric() && algorithm.with_public_key(pem).is_none() {
        faults.field("rsa_public_key", "invalid key");
    }
}
