//! Whom a session is about.

use plugin::Exchange;
use uuid::Uuid;

/// What stands in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) consumer: Uuid,
    pub(super) credential: Uuid,
    pub(super) groups: Vec<Box<str>>,
}

impl Data {
    /// Whom the request comes from, as its plugins have found out; none for nobody in particular and the anonymous.
    pub(super) fn of(exchange: &Exchange) -> Option<Self> {
        let identity = &exchange.identity;
        let credential = identity.credential()?.id;
        let groups = identity.groups.as_ref().map_or_else(Vec::new, |groups| groups.to_vec());
        Some(Self { consumer: identity.consumer_id()?, credential, groups })
    }

    /// Whether both come from the same consumer with the same credential.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (self.consumer, self.credential) == (other.consumer, other.credential)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(self.consumer.as_bytes());
        bytes.extend_from_slice(self.credential.as_bytes());
        for group in &self.groups {
            bytes.extend_from_slice(&(group.len() as u64).to_be_bytes());
            bytes.extend_from_slice(group.as_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (consumer, rest) = bytes.split_first_chunk::<16>()?;
        let (credential, mut rest) = rest.split_first_chunk::<16>()?;
        let mut groups = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
            let (group, after) = after.split_at_checked(length)?;
            groups.push(std::str::from_utf8(group).ok()?.into());
            rest = after;
        }
        let whole = rest.is_empty();
        let ids = (Uuid::from_bytes(*consumer), Uuid::from_bytes(*credential));
        whole.then_some(Self { consumer: ids.0, credential: ids.1, groups })
    }
}
