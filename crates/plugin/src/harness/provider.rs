//! An OpenID Connect provider on the loopback, for rooms that ask one.

use serde_json::{Value, json};

use crate::outbound::loopback::{Given, Loopback, Received};

/// A provider that describes itself and publishes these keys. What else it is asked, or the same in other words, it answers as
/// `answers` says; what that leaves open is not there.
pub fn provider(
    keys: &[Value],
    answers: impl Fn(&Received) -> Option<Given> + Send + Sync + 'static,
) -> Loopback {
    let keys = json!({ "keys": keys }).to_string();
    Loopback::answering(move |asked: &Received| {
        answers(asked).unwrap_or_else(|| match asked.target.as_str() {
            "/.well-known/openid-configuration" => Given::json(&description(&base(asked)).to_string()),
            "/keys" => Given::json(&keys),
            _ => Given::answer(404, &[], ""),
        })
    })
}

/// The address that a provider was asked at, without path and query.
#[must_use]
pub fn base(asked: &Received) -> String {
    format!("http://{}", asked.header("Host").unwrap_or_default())
}

/// What a provider at this address says about itself (OpenID Connect Discovery 1.0, 3).
#[must_use]
pub fn description(base: &str) -> Value {
    json!({
        "issuer": base, "jwks_uri": format!("{base}/keys"), "authorization_endpoint": format!("{base}/auth?tenant=1"),
        "token_endpoint": format!("{base}/token"), "userinfo_endpoint": format!("{base}/me"),
        "introspection_endpoint": format!("{base}/introspect"), "revocation_endpoint": format!("{base}/revoke"),
        "pushed_authorization_request_endpoint": format!("{base}/par"),
    })
}
