//! What a public key is known by (RFC 7638).

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value};

use super::parts::to_base64url;

/// The SHA-256 thumbprint of a JSON Web Key, in Base64; none of what is no public key with all members that its kind has
/// (RFC 7638 3.2, RFC 8037 2).
#[must_use]
pub fn thumbprint(jwk: &Value) -> Option<String> {
    let names: &[&str] = match jwk["kty"].as_str()? {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    // They are written as they are added, which has to be in the order of their names.
    let mut members = Map::new();
    for name in names {
        members.insert((*name).to_owned(), jwk[name].as_str()?.into());
    }
    Some(to_base64url(digest(&SHA256, Value::Object(members).to_string().as_bytes()).as_ref()))
}
