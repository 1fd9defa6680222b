//! Tokens and codes as text, the way Redis keeps them. There are hashes in it, and no token.

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::secret::{Hash, hash_of_hex, hex};
use super::super::store::{Code, Grant, Token};

pub(super) fn of_token(token: &Token) -> Vec<u8> {
    let record = json!({
        "access": hex(&token.access),
        "refresh": token.refresh.as_ref().map(hex),
        "grant": of_grant(&token.grant),
        "created": token.created,
        "expires": token.expires,
        "gone": token.gone,
    });
    record.to_string().into_bytes()
}

pub(super) fn token(bytes: &[u8]) -> Option<Token> {
    let record: Value = serde_json::from_slice(bytes).ok()?;
    Some(Token {
        access: hash(&record["access"])?,
        refresh: optional(&record["refresh"], hash)?,
        grant: grant(&record["grant"])?,
        created: record["created"].as_u64()?,
        expires: record["expires"].as_u64()?,
        gone: record["gone"].as_u64()?,
    })
}

pub(super) fn of_code(code: &Code) -> Vec<u8> {
    let record = json!({
        "grant": of_grant(&code.grant),
        "redirect_uri": code.redirect_uri,
        "challenge": code.challenge,
        "gone": code.gone,
    });
    record.to_string().into_bytes()
}

/// The code with this hash. Whether it has been used is known by the consent.
pub(super) fn code(code: Hash, bytes: &[u8]) -> Option<Code> {
    let record: Value = serde_json::from_slice(bytes).ok()?;
    Some(Code {
        code,
        grant: grant(&record["grant"])?,
        redirect_uri: record["redirect_uri"].as_str()?.to_owned(),
        challenge: optional(&record["challenge"], text)?,
        gone: record["gone"].as_u64()?,
        used: false,
    })
}

fn of_grant(grant: &Grant) -> Value {
    json!({
        "family": grant.family.to_string(),
        "credential": grant.credential.to_string(),
        "service": grant.service.map(|id| id.to_string()),
        "user": grant.user,
        "scope": grant.scope,
    })
}

fn grant(value: &Value) -> Option<Grant> {
    Some(Grant {
        family: uuid(&value["family"])?,
        credential: uuid(&value["credential"])?,
        service: optional(&value["service"], uuid)?,
        user: optional(&value["user"], text)?,
        scope: optional(&value["scope"], text)?,
    })
}

/// None for what is not there, and none at all for what cannot be read.
fn optional<T>(value: &Value, read: fn(&Value) -> Option<T>) -> Option<Option<T>> {
    if value.is_null() { Some(None) } else { read(value).map(Some) }
}

fn uuid(value: &Value) -> Option<Uuid> {
    value.as_str()?.parse().ok()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn hash(value: &Value) -> Option<Hash> {
    hash_of_hex(value.as_str()?)
}
