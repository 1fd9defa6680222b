//! The fields, as Kong has them.

mod grants;
mod login;
mod nested;
mod possession;
mod rules;
mod sharing;
mod tokens;
mod unavailable;

use plugin::lockout::Protection;
use plugin::model::schema::{Faults, Field, Kind, Record, Value};
use plugin::record;

pub use grants::Grants;
pub use login::{Login, Sessions};
pub use nested::{ClaimHeader, ExchangeConditions, ExchangeIssuer, TokenExchange};
pub use possession::Possession;
pub use rules::told_header;
pub use sharing::{Places, Sharing};
pub use tokens::{Bounds, Claims, Introspection, Provider, Tokens, is_old};
use unavailable::Unavailable;

/// Ways to prove who one is.
const METHODS: &[&str] = &[
    "authorization_code",
    "bearer",
    "client_credentials",
    "introspection",
    "kong_oauth2",
    "password",
    "refresh_token",
    "session",
    "userinfo",
];

/// Ways to sign in to the provider (OpenID Connect Core 9, RFC 8705).
const CLIENT_AUTH: &[&str] = &[
    "client_secret_basic",
    "client_secret_jwt",
    "client_secret_post",
    "none",
    "private_key_jwt",
    "self_signed_tls_client_auth",
    "tls_client_auth",
];

record! {
    /// Lets callers in who bring a token of an OpenID Connect provider, or log in there.
    #[allow(dead_code)]
    pub struct Config {
        ..provider: Provider;
        ..tokens: Tokens;
        ..claims: Claims;
        ..introspection: Introspection;
        ..grants: Grants;
        ..login: Login;
        ..sessions: Sessions;
        ..sharing: Sharing;
        ..possession: Possession;
        ..unavailable: Unavailable;
        /// Path of the claim that names the consumer: the same as one entry of `consumer_claims`.
        consumer_claim: Option<Vec<String>>, [extension()];
        /// What happens to who fails again and again with a name and a secret, by the methods `password` and
        /// `client_credentials`.
        brute_force_protection: Protection, [extension()];
    }
    checks: [custom_fields(one_way_to_name_consumers), custom_fields(rules::lists_go_together)]
}

/// Two spellings of one setting are one too many.
fn one_way_to_name_consumers(config: &Value, faults: &mut Faults) {
    if !config["consumer_claim"].is_null() && !config["consumer_claims"].is_null() {
        faults.field("consumer_claim", "stands in 'consumer_claims' already: leave one of them out");
    }
}

/// Refuses every value of the fields of `T` that is not the default.
fn only_defaults<T: Record>(config: &Value, faults: &mut Faults) {
    for field in T::schema().fields {
        if let Some(place) = beyond_default(&field, &config[field.name]) {
            let message = format!("'{place}' is not available in this version: leave it out");
            faults.field(place, message);
        }
    }
}

/// The place within `field` of a value that is not the default.
fn beyond_default(field: &Field, value: &Value) -> Option<String> {
    match (&field.element.kind, value) {
        (_, Value::Null) => None,
        (Kind::Record(record), Value::Object(members)) if field.required => {
            let mut inner = record.fields.iter();
            let inner = inner.find_map(|inner| beyond_default(inner, members.get(inner.name)?));
            inner.map(|inner| format!("{}.{inner}", field.name))
        }
        _ => (field.default.as_ref().is_none_or(|default| !is_same(default, value)))
            .then(|| field.name.to_owned()),
    }
}

/// Whether two values are the same, numbers of different kinds included.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() < f64::EPSILON,
        _ => one == other,
    }
}
