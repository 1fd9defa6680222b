//! Whom a session is about, and what was found out about them.

use plugin::Exchange;
use plugin::claims::{Kept, WantedClaims};
use plugin::exchange::Identity;
use serde::{Deserialize, Serialize};

/// What stands in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Data {
    /// The id of the consumer.
    pub(super) consumer: uuid::Bytes,
    /// That of the credential.
    pub(super) credential: uuid::Bytes,
    /// The groups that were vouched for.
    pub(super) groups: Vec<Box<str>>,
    /// The names of the consumer groups that were vouched for: rules for these groups hold for the session, too.
    pub(super) consumer_groups: Vec<Box<str>>,
    /// What the caller's token said, as far as somebody wanted to know.
    pub(super) claims: Kept,
}

impl Data {
    /// Whom the request comes from, as its plugins have found out; none for nobody in particular and the anonymous.
    pub(super) fn of(exchange: &Exchange, wanted: &WantedClaims) -> Option<Self> {
        let Identity { groups, consumer_groups, claims, .. } = &exchange.identity;
        let consumer_groups = consumer_groups.as_ref().map(|groups| groups.names.to_vec());
        Some(Self {
            consumer: exchange.identity.consumer_id()?.into_bytes(),
            credential: exchange.identity.credential()?.id.into_bytes(),
            groups: groups.as_ref().map_or_else(Vec::new, |groups| groups.to_vec()),
            consumer_groups: consumer_groups.unwrap_or_default(),
            claims: wanted.keep(claims.as_deref()),
        })
    }

    /// What a session says; none if it is not about anybody.
    pub(super) fn read(session: &[u8]) -> Option<Self> {
        serde_json::from_slice(session).ok()
    }
}
