//! Claims of the tokens by which callers prove who they are, for rooms that want to know them.
//!
//! A room says at reload which claims it wants; the room that verifies tokens reads those and no others, and only where
//! somebody wants some.

pub mod said;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::build::{Build, BuildError};

/// The claims that the rooms of one configuration want.
#[derive(Default)]
pub struct WantedClaims {
    names: Mutex<Names>,
    /// The names once all rooms are made, so that requests need no lock.
    settled: OnceLock<Names>,
}

/// Names of claims by their numbers.
#[derive(Default, Clone)]
struct Names {
    /// Those that are wanted as text.
    texts: Vec<Box<str>>,
    /// Those that are wanted as they are.
    values: Vec<Box<str>>,
}

/// The wanted claims of one token, by their numbers.
#[derive(Debug)]
pub struct Claims {
    texts: Box<[Option<Box<str>>]>,
    values: Box<[Option<Value>]>,
}

/// Claims for later requests of the same caller, see [`WantedClaims::keep`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The names of those that were wanted, whether the token had them or not.
    asked: Vec<Box<str>>,
    said: said::Claims,
}

/// A claim is wanted that was not looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeverAsked;

impl WantedClaims {
    /// Asks for the claim `name`, as text, while rooms are made ready, and tells the number it has for [`Claims::value`].
    pub fn want(&self, name: &str) -> usize {
        number_of(name, &mut self.names.lock().unwrap_or_else(PoisonError::into_inner).texts)
    }

    /// Asks for the claim `name` as it is, lists and objects included, and tells the number it has for [`Claims::json`].
    pub fn want_json(&self, name: &str) -> usize {
        number_of(name, &mut self.names.lock().unwrap_or_else(PoisonError::into_inner).values)
    }

    /// Whether somebody wants the claim `name`. For requests, as [`Self::read`].
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let Names { texts, values } = self.settled();
        texts.iter().chain(values).any(|wanted| **wanted == *name)
    }

    /// What a verified token says, `json` being its claims (RFC 7519 4); none if nobody wants to know. For requests: what is
    /// asked for later is not read.
    #[must_use]
    pub fn read(&self, json: &[u8]) -> Option<Arc<Claims>> {
        let names = self.settled();
        (!names.is_empty()).then(|| names.among(&serde_json::from_slice(json).unwrap_or_default()))
    }

    /// What a caller's token says and what was looked for in it, so that it can be kept for later requests.
    #[must_use]
    pub fn keep(&self, claims: Option<&Claims>) -> Kept {
        let names = self.settled();
        let mut said = said::Claims::new();
        if let Some(claims) = claims {
            let texts = names.texts.iter().zip(&claims.texts);
            let texts = texts.map(|(name, text)| (name, text.as_deref().map(Value::from)));
            let values = names.values.iter().zip(&claims.values);
            let values = values.map(|(name, value)| (name, value.clone()));
            said.extend(texts.chain(values).filter_map(|(name, value)| Some((name.to_string(), value?))));
        }
        Kept { asked: names.texts.iter().chain(&names.values).cloned().collect(), said }
    }

    /// What was kept; none if nobody wants to know.
    ///
    /// # Errors
    /// If a claim is wanted now that was not looked for then: nobody knows what the token said.
    pub fn recall(&self, kept: &Kept) -> Result<Option<Arc<Claims>>, NeverAsked> {
        let names = self.settled();
        let mut wanted = names.texts.iter().chain(&names.values);
        match wanted.all(|name| kept.asked.contains(name)) {
            true => Ok((!names.is_empty()).then(|| names.among(&kept.said))),
            false => Err(NeverAsked),
        }
    }

    fn settled(&self) -> &Names {
        self.settled.get_or_init(|| self.names.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Names {
    fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.values.is_empty()
    }

    fn among(&self, claims: &said::Claims) -> Arc<Claims> {
        Arc::new(Claims {
            texts: self.texts.iter().map(|name| claims.get(&**name).and_then(text)).collect(),
            values: self.values.iter().map(|name| claims.get(&**name).cloned()).collect(),
        })
    }
}

fn number_of(name: &str, names: &mut Vec<Box<str>>) -> usize {
    names.iter().position(|known| **known == *name).unwrap_or_else(|| {
        names.push(name.into());
        names.len() - 1
    })
}

/// A claim as text: a string as it is, a number or a truth value as JSON has it. Lists, objects and empty strings are as
/// good as absent.
fn text(claim: &Value) -> Option<Box<str>> {
    match claim {
        Value::String(text) if !text.is_empty() => Some(text.as_str().into()),
        Value::Number(_) | Value::Bool(_) => Some(claim.to_string().into()),
        _ => None,
    }
}

impl Claims {
    /// The claim of that number, if the token has it and it has a text.
    #[must_use]
    pub fn value(&self, number: usize) -> Option<&str> {
        self.texts.get(number)?.as_deref()
    }

    /// The claim that was asked for as it is, by its number, if the token has it.
    #[must_use]
    pub fn json(&self, number: usize) -> Option<&Value> {
        self.values.get(number)?.as_ref()
    }
}

impl Build<'_> {
    /// The claims that the rooms of this configuration want.
    ///
    /// # Errors
    /// None; the signature is that of [`Build::shared`].
    pub fn wanted_claims(&self) -> Result<Arc<WantedClaims>, BuildError> {
        self.shared(|_| Ok(WantedClaims::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::WantedClaims;

    #[test]
    fn claims_are_read_where_somebody_wants_them() {
        assert!(WantedClaims::default().read(b"{\"tenant\":\"acme\"}").is_none());
        let wanted = WantedClaims::default();
        let numbers = ["tenant", "level", "roles", "tenant"].map(|name| wanted.want(name));
        assert_eq!(numbers, [0, 1, 2, 0]);
        let claims =
            wanted.read(b"{\"level\":7,\"roles\":[\"a\"],\"tenant\":\"acme\",\"sub\":\"x\"}").unwrap();
        assert_eq!([0, 1, 2, 3].map(|number| claims.value(number)), [Some("acme"), Some("7"), None, None]);
        let claims = wanted.read(b"{\"tenant\":\"\",\"level\":true}").unwrap();
        assert_eq!([0, 1].map(|number| claims.value(number)), [None, Some("true")]);
        assert!(claims.json(0).is_none());
    }

    #[test]
    fn what_was_kept_is_recalled_unless_more_is_wanted_now() {
        let before = WantedClaims::default();
        assert_eq!(["tenant", "level"].map(|name| before.want(name)), [0, 1]);
        assert_eq!(["roles", "tenant"].map(|name| before.want_json(name)), [0, 1]);
        let kept = before.keep(before.read(br#"{"tenant":"acme","roles":["a"],"sub":"x"}"#).as_deref());
        let kept: super::Kept = serde_json::from_slice(&serde_json::to_vec(&kept).unwrap()).unwrap();
        let wanted = WantedClaims::default();
        assert_eq!(["level", "tenant"].map(|name| wanted.want(name)), [0, 1]);
        assert_eq!(wanted.want_json("roles"), 0);
        let claims = wanted.recall(&kept).unwrap().unwrap();
        assert_eq!((claims.value(0), claims.value(1)), (None, Some("acme")));
        assert_eq!(claims.json(0), Some(&serde_json::json!(["a"])));
        let more = WantedClaims::default();
        more.want("sub");
        assert_eq!(more.recall(&kept).unwrap_err(), super::NeverAsked);
        assert!(WantedClaims::default().recall(&kept).unwrap().is_none());
        assert!(wanted.recall(&wanted.keep(None)).unwrap().unwrap().value(1).is_none());
    }

    #[test]
    fn claims_are_kept_as_they_are_where_somebody_wants_that() {
        let wanted = WantedClaims::default();
        assert_eq!(["roles", "sub", "roles"].map(|name| wanted.want_json(name)), [0, 1, 0]);
        assert_eq!(wanted.want("sub"), 0);
        let claims = wanted.read(b"{\"roles\":[\"a\",\"b\"],\"sub\":\"x\",\"other\":1}").unwrap();
        assert_eq!(claims.json(0), Some(&serde_json::json!(["a", "b"])));
        assert_eq!((claims.json(1).and_then(|sub| sub.as_str()), claims.value(0)), (Some("x"), Some("x")));
        assert_eq!((claims.json(2), claims.value(1)), (None, None));
    }
}
