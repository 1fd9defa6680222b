//! What the token says of who calls (RFC 7519 4.1).

use std::sync::Arc;

use plugin::claims::WantedClaims;
use plugin::groups::Groups;
use plugin::{Build, BuildError, Known};
use serde_json::{Map, Value, from_str, json};
use uuid::Uuid;

use super::Config;
use super::issued::Who;

/// Claims that no configuration sets.
pub(super) const OURS: [&str; 11] =
    ["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "consumer", "credential", "groups", "anonymous"];

/// The headers that say the same.
pub(super) const TOLD: [Known; 9] = [
    Known::XConsumerId,
    Known::XConsumerCustomId,
    Known::XConsumerUsername,
    Known::XCredentialIdentifier,
    Known::XAnonymousConsumer,
    Known::XConsumerGroups,
    Known::XAuthenticatedGroups,
    Known::XAuthenticatedScope,
    Known::XAuthenticatedUserId,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Id,
    Username,
    CustomId,
    Credential,
}

/// How it is said who calls.
pub(super) struct Telling {
    pub(super) reading: Arc<str>,
    issuer: String,
    audience: Option<Value>,
    subject: Subject,
    /// Claims of the caller's token, by their numbers.
    of_token: Vec<(String, usize)>,
    fixed: Map<String, Value>,
    groups: Arc<Groups>,
}

impl Telling {
    pub(super) fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let wanted: Arc<WantedClaims> = cx.wanted_claims()?;
        let number = |name: &String| (name.clone(), wanted.want_json(name));
        let fixed = config.set_claims.iter().map(|(name, value)| (name.clone(), read(value)));
        Ok(Self {
            reading: "".into(),
            issuer: config.issuer.clone(),
            audience: config.audience.as_ref().map(|audience| match audience.as_slice() {
                [one] => json!(one),
                several => json!(several),
            }),
            subject: match config.subject.as_str() {
                "username" => Subject::Username,
                "custom_id" => Subject::CustomId,
                "credential" => Subject::Credential,
                _ => Subject::Id,
            },
            of_token: config.claims_from_token.iter().map(number).collect(),
            fixed: fixed.collect(),
            groups: Groups::of_configuration(cx)?,
        })
    }

    /// What is said of `who`, whenever.
    pub(super) fn claims(&self, who: &Who) -> Map<String, Value> {
        let mut claims = self.fixed.clone();
        if let Some(theirs) = &who.claims {
            for (name, number) in &self.of_token {
                if let Some(value) = theirs.json(*number) {
                    claims.insert(name.clone(), value.clone());
                }
            }
        }
        let mut say = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        say("iss", json!(self.issuer));
        if let Some(audience) = self.audience.clone().or_else(|| who.audience()) {
            say("aud", audience);
        }
        let caller = &who.caller;
        if let Some(consumer) = &caller.consumer {
            say(
                "consumer",
                named(&[
                    ("id", Some(&consumer.id.to_string())),
                    ("username", consumer.username.as_deref()),
                    ("custom_id", consumer.custom_id.as_deref()),
                ]),
            );
        }
        match caller.credential() {
            Some(credential) => say(
                "credential",
                named(&[
                    ("id", Some(&credential.id.to_string())),
                    ("identifier", Some(&credential.identifier())),
                ]),
            ),
            None => say("anonymous", Value::Bool(true)),
        }
        let groups = self.groups_of(who);
        if !groups.is_empty() {
            say("groups", json!(groups));
        }
        if let Some(subject) = self.subject_of(who) {
            say("sub", json!(subject));
        }
        claims
    }

    /// When it is said.
    pub(super) fn date(&self, claims: &mut Map<String, Value>, now_s: u64, lifetime_s: u64) {
        claims.insert("iat".to_owned(), json!(now_s));
        claims.insert("exp".to_owned(), json!(now_s.saturating_add(lifetime_s)));
        claims.insert("jti".to_owned(), json!(Uuid::new_v4().to_string()));
    }

    /// Groups that authentication vouches for, and those of the consumer.
    fn groups_of<'w>(&'w self, who: &'w Who) -> Vec<&'w str> {
        let vouched = who.groups.iter().flat_map(|groups| groups.iter()).map(|group| &**group);
        let consumer = who.caller.consumer.as_ref();
        let own =
            consumer.map_or(&[][..], |consumer| self.groups.of(consumer.id)).iter().map(|group| &**group);
        let mut groups: Vec<&str> = vouched.chain(own).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    fn subject_of(&self, who: &Who) -> Option<String> {
        let consumer = who.caller.consumer.as_ref();
        let wanted = match self.subject {
            Subject::Id => consumer.map(|consumer| consumer.id.to_string()),
            Subject::Username => consumer.and_then(|consumer| consumer.username.clone()),
            Subject::CustomId => consumer.and_then(|consumer| consumer.custom_id.clone()),
            Subject::Credential => None,
        };
        wanted.or_else(|| who.caller.credential().map(|credential| credential.identifier().into_owned()))
    }
}

fn named(members: &[(&str, Option<&str>)]) -> Value {
    let known = members.iter().filter_map(|(name, value)| Some(((*name).to_owned(), json!((*value)?))));
    Value::Object(known.collect())
}

/// JSON as what it says, any other text as it is.
fn read(text: &str) -> Value {
    from_str(text).unwrap_or_else(|_| Value::from(text))
}
