//! Records inside of fields.

use plugin::certificate::TrustFields;
use plugin::model::schema::{Faults, Value};
use plugin::record;
use plugin::redis::fields::SocketRedis;

use super::rules;

record! {
    /// A header and where its value is.
    pub struct ClaimHeader {
        /// Name of the header.
        header: String, [header_name()];
        /// Path of the claim.
        path: Vec<String>, [len_min(1)];
    }
}

record! {
    /// A private JSON Web Key.
    #[allow(dead_code)]
    pub struct ClientKey {
        /// Its algorithm.
        alg: Option<String>;
        /// Its curve.
        crv: Option<String>;
        /// Private part.
        d: Option<String>, [referenceable(), encrypted()];
        /// Private part.
        dp: Option<String>, [referenceable(), encrypted()];
        /// Private part.
        dq: Option<String>, [referenceable(), encrypted()];
        /// Public exponent.
        e: Option<String>;
        /// Issuer of the key. Not used, and refused.
        issuer: Option<String>, [len_min(1)];
        /// The secret.
        k: Option<String>, [referenceable(), encrypted()];
        /// What it is for; `sign` must be among it.
        key_ops: Option<Vec<String>>;
        /// Its id.
        kid: Option<String>;
        /// Its kind.
        kty: Option<String>;
        /// Modulus.
        n: Option<String>;
        /// Further primes. Not used, and refused.
        oth: Option<String>, [referenceable(), encrypted()];
        /// Private part.
        p: Option<String>, [referenceable(), encrypted()];
        /// Private part.
        q: Option<String>, [referenceable(), encrypted()];
        /// Private part.
        qi: Option<String>, [referenceable(), encrypted()];
        /// Part of a further prime. Not used, and refused.
        r: Option<String>, [referenceable(), encrypted()];
        /// Part of a further prime. Not used, and refused.
        t: Option<String>, [referenceable(), encrypted()];
        /// What it is for: `sig`, where it is given.
        r#use: Option<String>;
        /// First coordinate.
        x: Option<String>;
        /// Certificates of the key; what is signed with it names them in its header.
        x5c: Option<Vec<String>>;
        /// SHA-1 of the key's certificate; what is signed with it names it in its header.
        x5t: Option<String>;
        /// SHA-256 of the key's certificate; what is signed with it names it in its header.
        #[rename = "x5t#S256"]
        x5t_s256: Option<String>;
        /// Address of certificates. Not used, and refused.
        x5u: Option<String>;
        /// Second coordinate.
        y: Option<String>;
    }
    checks: [custom_fields(only_what_signs)]
}

/// Refuses members that would change nothing.
fn only_what_signs(key: &Value, faults: &mut Faults) {
    for name in ["issuer", "oth", "r", "t", "x5u"] {
        if !key[name].is_null() {
            faults.field(name, format!("'{name}' is not used when the gateway signs: leave it out"));
        }
    }
}

impl ClientKey {
    /// The key as JSON, as far as signing needs it.
    pub fn to_json(&self) -> Value {
        let lists = [("key_ops", &self.key_ops), ("x5c", &self.x5c)];
        let members = [
            ("alg", &self.alg),
            ("crv", &self.crv),
            ("d", &self.d),
            ("dp", &self.dp),
            ("dq", &self.dq),
            ("e", &self.e),
            ("k", &self.k),
            ("kid", &self.kid),
            ("kty", &self.kty),
            ("n", &self.n),
            ("p", &self.p),
            ("q", &self.q),
            ("qi", &self.qi),
            ("use", &self.r#use),
            ("x", &self.x),
            ("x5t", &self.x5t),
            ("x5t#S256", &self.x5t_s256),
            ("y", &self.y),
        ];
        let texts = members.into_iter().map(|(name, value)| (name, value.clone().map(Value::from)));
        let lists = lists.into_iter().map(|(name, value)| (name, value.clone().map(Value::from)));
        Value::Object(
            texts.chain(lists).filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        )
    }
}

record! {
    /// Principals in place of consumers.
    #[allow(dead_code)]
    pub struct Principals {
        /// Where principals are.
        directory: String = "default";
        /// Use principals.
        enabled: bool = false;
        /// Refuse who is no principal.
        error_on_miss: bool = true;
        /// Find the consumer of the principal.
        match_consumer: bool = true;
        /// Find the groups of the principal.
        match_consumer_groups: bool = true;
        /// What principals are found by.
        principal_by: Option<String>, [len_min(1)];
        /// Path of the claim that names the principal.
        principal_claim: Option<Vec<String>>, [each(len_min(1)), len_min(1)];
    }
}

record! {
    /// The header in which a proxy in front passes on the certificate of the client.
    pub struct CertificateHeader {
        ..trust: TrustFields;
        /// How the certificate is written: `base64_encoded`, DER or PEM, or `url_encoded`, PEM.
        certificate_header_format: String = "url_encoded", [one_of(&["base64_encoded", "url_encoded"])];
        /// Name of the header.
        certificate_header_name: String, [header_name()];
        /// Whether the header counts only where it comes from one of `KONG_TRUSTED_IPS`. Without it, anybody may say
        /// which certificate they have, as nobody has seen them use its key.
        secure_source: bool = true;
    }
}

record! {
    /// What exchanged tokens are remembered for.
    pub struct ExchangeCache {
        /// Use an exchanged token for the same token again.
        enabled: bool = true;
        /// Seconds for which it is at most. It never is beyond its end.
        ttl: Option<i64>;
    }
}

record! {
    /// What is asked for in an exchange.
    pub struct ExchangeRequest {
        /// Audiences that are asked for, in place of `audience`.
        audience: Option<Vec<String>>;
        /// Ask for no audience.
        empty_audience: bool = false;
        /// Ask for no scopes.
        empty_scopes: bool = false;
        /// Scopes that are asked for, in place of `scopes`.
        scopes: Option<Vec<String>>;
    }
}

record! {
    /// When a token is exchanged.
    pub struct ExchangeConditions {
        /// It has one of these audiences.
        has_audience: Option<Vec<String>>;
        /// It has one of these scopes.
        has_scopes: Option<Vec<String>>;
        /// It has none of these audiences.
        missing_audience: Option<Vec<String>>;
        /// It has none of these scopes.
        missing_scopes: Option<Vec<String>>;
    }
}

record! {
    /// Whose tokens are exchanged.
    pub struct ExchangeIssuer {
        /// When they are: all conditions that are given have to be met. Always without one.
        conditions: Option<ExchangeConditions>;
        /// The issuer, as its tokens name it.
        issuer: String, [len_min(1)];
        /// Address of its keys, where signatures are checked.
        jwks_uri: Option<String>, [custom_value(rules::address)];
        /// Check the signature of a token before it is exchanged. The provider has to in any
        /// case, but without it anybody can have it asked.
        verify_signature: bool = false;
    }
}

record! {
    /// Exchange of tokens.
    pub struct TokenExchange {
        /// What exchanged tokens are remembered for.
        cache: ExchangeCache;
        /// What is asked for.
        request: ExchangeRequest;
        /// Whose tokens are exchanged.
        subject_token_issuers: Vec<ExchangeIssuer>, [len_min(1)];
    }
}

record! {
    /// The Redis server with sessions.
    pub struct SessionRedis {
        ..redis: SocketRedis;
        /// What keys begin with; `sessions` without it.
        prefix: Option<String>;
    }
}
