//! Whose requests are counted together.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::AHashMap;
use uuid::Uuid;

use crate::build::{Build, BuildError};
use crate::exchange::{Exchange, Matched};

/// One thing that tells callers apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// The consumer.
    Consumer,
    /// The consumer, by another of its names; one without it is told by its id.
    ConsumerBy(ConsumerName),
    /// The consumer, or else the credential.
    ConsumerOrCredential,
    /// The first group of the consumer.
    Group,
    /// The credential.
    Credential,
    /// The client's address.
    Address,
    /// The service.
    Service,
    /// The route.
    Route,
    /// The value of a request field.
    Header(String),
    /// This path, compared as a whole.
    Path(String),
    /// The value of a claim of the token by which the caller proved who it is, by its number in
    /// [`Claims`](crate::claims::Claims).
    Claim(usize),
}

/// A name of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerName {
    /// `username`.
    Username,
    /// `custom_id`.
    CustomId,
}

/// What tells callers apart. Where a request has nothing of it, the client's address stands in.
pub struct Caller {
    namings: Vec<Naming>,
    groups: Option<Arc<FirstGroups>>,
}

/// The first group of each consumer that is in one.
struct FirstGroups(AHashMap<Uuid, Uuid>);

/// Where a request goes, or would go.
pub struct Target<'a> {
    /// Its route, if there is one, or one is meant.
    pub matched: Option<&'a Matched>,
    /// Its path. Without it, any path that a limit is for.
    pub path: Option<&'a [u8]>,
}

/// Who is calling: a kind, so that an address never equals a header's value, and bytes.
#[derive(Debug, Clone, Copy)]
pub struct Identifier<'a> {
    /// The kind.
    pub kind: u8,
    /// The bytes.
    pub bytes: &'a [u8],
}

const HEADER: u8 = 1;
const PATH: u8 = 2;
const ENTITY: u8 = 3;
const ADDRESS: u8 = 4;
const NAME: u8 = 5;
const COMPOUND: u8 = 6;
const CLAIM: u8 = 7;

impl Caller {
    /// A caller told by all of `namings` together.
    ///
    /// # Errors
    /// When the configuration's groups cannot be read.
    pub fn new(namings: Vec<Naming>, cx: &Build<'_>) -> Result<Self, BuildError> {
        let groups = match namings.contains(&Naming::Group) {
            true => Some(cx.shared(|cx| {
                let ids = cx.config.consumers.iter().map(|consumer| consumer.id);
                let first = |id| Some((id, cx.config.groups_of(id).first().copied()?));
                Ok(FirstGroups(ids.filter_map(first).collect()))
            })?),
            false => None,
        };
        Ok(Self { namings, groups })
    }

    /// Calls `with` with who is calling.
    pub fn identify<R>(&self, cx: &Exchange, with: impl FnOnce(Identifier<'_>) -> R) -> R {
        let target = Target { matched: cx.matched.as_deref(), path: Some(&cx.normalized_path) };
        self.identify_at(cx, &target, with)
    }

    /// Calls `with` with who would be calling if the request went to `target`.
    pub fn identify_at<R>(
        &self,
        cx: &Exchange,
        target: &Target<'_>,
        with: impl FnOnce(Identifier<'_>) -> R,
    ) -> R {
        if let [naming] = self.namings.as_slice() {
            return self.one(naming, cx, target, with);
        }
        let mut bytes = Vec::with_capacity(64);
        for naming in &self.namings {
            self.one(naming, cx, target, |part| {
                bytes.push(part.kind);
                bytes.extend_from_slice(&(part.bytes.len() as u64).to_le_bytes());
                bytes.extend_from_slice(part.bytes);
            });
        }
        with(Identifier { kind: COMPOUND, bytes: &bytes })
    }

    /// Whether `target` says enough to tell callers apart.
    #[must_use]
    pub fn is_told_by(&self, target: &Target<'_>) -> bool {
        let is_of_target = |naming: &Naming| matches!(naming, Naming::Service | Naming::Route);
        target.matched.is_some() || !self.namings.iter().any(is_of_target)
    }

    fn one<R>(
        &self,
        naming: &Naming,
        cx: &Exchange,
        target: &Target<'_>,
        with: impl FnOnce(Identifier<'_>) -> R,
    ) -> R {
        let identity = &cx.identity;
        let consumer = || identity.consumer_id();
        let credential = || identity.credential().map(|credential| credential.id);
        let matched = target.matched;
        let id = match naming {
            Naming::Consumer => consumer(),
            Naming::ConsumerBy(name) => {
                let name = identity.caller.as_deref().and_then(|caller| match name {
                    ConsumerName::Username => caller.username(),
                    ConsumerName::CustomId => caller.custom_id(),
                });
                if let Some(bytes) = name {
                    return with(Identifier { kind: NAME, bytes });
                }
                consumer()
            }
            Naming::ConsumerOrCredential => consumer().or_else(credential),
            Naming::Group => {
                // What is vouched for counts first, as it does where configurations are chosen.
                let vouched =
                    identity.consumer_groups.as_ref().and_then(|groups| groups.ids.first().copied());
                vouched.or_else(|| self.groups.as_ref()?.0.get(&consumer()?).copied())
            }
            Naming::Credential => credential(),
            Naming::Service => matched.and_then(|matched| matched.service.as_ref()).map(|found| found.id),
            Naming::Route => matched.map(|matched| matched.route.id),
            Naming::Header(name) => {
                if let Some(value) = cx.request.headers.get(name) {
                    return with(Identifier { kind: HEADER, bytes: value });
                }
                None
            }
            Naming::Path(path) if target.path.is_none_or(|asked| asked == path.as_bytes()) => {
                return with(Identifier { kind: PATH, bytes: path.as_bytes() });
            }
            Naming::Claim(number) => {
                if let Some(value) = identity.claims.as_ref().and_then(|claims| claims.value(*number)) {
                    return with(Identifier { kind: CLAIM, bytes: value.as_bytes() });
                }
                None
            }
            Naming::Path(_) | Naming::Address => None,
        };
        match (id, cx.client.ip.to_canonical()) {
            (Some(id), _) => with(Identifier { kind: ENTITY, bytes: id.as_bytes() }),
            (None, IpAddr::V4(address)) => with(Identifier { kind: ADDRESS, bytes: &address.octets() }),
            (None, IpAddr::V6(address)) => with(Identifier { kind: ADDRESS, bytes: &address.octets() }),
        }
    }
}

impl Identifier<'_> {
    /// A text for keys of a shared store: the same in every gateway, of a bounded length, and without braces.
    #[must_use]
    pub fn text(&self) -> String {
        const LONGEST: usize = 64;
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:@/".contains(byte);
        match (self.kind, self.bytes) {
            (ENTITY, bytes) if bytes.len() == 16 => {
                format!("e:{}", Uuid::from_slice(bytes).unwrap_or_default())
            }
            (ADDRESS, &[a, b, c, d]) => format!("a:{}", IpAddr::from([a, b, c, d])),
            (ADDRESS, bytes) if bytes.len() == 16 => {
                let octets: [u8; 16] = bytes.try_into().unwrap_or_default();
                format!("a:{}", IpAddr::from(octets))
            }
            (kind, bytes) if bytes.len() <= LONGEST && bytes.iter().all(is_plain) => {
                format!("{kind}:{}", String::from_utf8_lossy(bytes))
            }
            // Version 5: SHA-1, so that nobody meets another's key by chance.
            (kind, bytes) => format!("{kind}:~{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_free_of_braces_and_different() {
        let text = |kind, bytes: &[u8]| Identifier { kind, bytes }.text();
        assert_eq!(text(ADDRESS, &[127, 0, 0, 1]), "a:127.0.0.1");
        assert_eq!(text(HEADER, b"acme"), "1:acme");
        let odd = [text(HEADER, b"a}b"), text(HEADER, b"a{b"), text(HEADER, &[b'a'; 65]), text(PATH, b"a}b")];
        for (index, text) in odd.iter().enumerate() {
            assert!(text.len() < 48 && !text.contains(['{', '}']), "{text}");
            assert!(odd[..index].iter().all(|other| other != text), "{text}");
        }
    }
}
