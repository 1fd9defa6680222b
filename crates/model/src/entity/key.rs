//! Keys: public and private keys in JWK or PEM form.

use serde_json::Value;

use crate::schema::{Faults, Reference};

crate::record! {
    /// A key pair in PEM form.
    pub struct Pem {
        /// The private half.
        private_key: Option<String>, [referenceable(), encrypted(), pem_key()];
        /// The public half.
        public_key: Option<String>, [referenceable(), pem_public_key()];
    }
    checks: [at_least_one_of(&["public_key", "private_key"])]
}

crate::entity! {
    /// A key, in JWK or PEM form.
    pub struct Key in "keys" {
        /// The set it belongs to.
        set: Option<Reference>, [to("key_sets")];
        /// A unique name.
        name: Option<String>, [unique(), len_min(1)];
        /// The key's id as tokens name it; unique in its set.
        kid: String, [len_min(1)];
        /// The key as a JSON Web Key.
        jwk: Option<String>, [referenceable(), encrypted()];
        /// The key as PEM.
        pem: Option<Pem>;
    }
    endpoint_key: "name"
    cache_key: ["kid", "set"]
    checks: [only_one_of(&["jwk", "pem"]), custom_fields(check_jwk)]
}

fn check_jwk(key: &Value, faults: &mut Faults) {
    let Some(jwk) = key["jwk"].as_str().filter(|text| !text.starts_with("{vault://")) else { return };
    match serde_json::from_str::<Value>(jwk) {
        Ok(Value::Object(jwk)) if jwk.get("kid") == Some(&key["kid"]) => {}
        Ok(Value::Object(_)) => faults.record("kid in jwk.kid must be equal to keys.kid"),
        _ => faults.field("jwk", "could not json decode jwk string"),
    }
}
