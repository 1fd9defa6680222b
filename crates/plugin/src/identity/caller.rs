//! Who a request comes from, with all that a request needs to know of it, in one piece.
//!
//! There may be a million callers, and then none of them is in the processor's cache when its request comes: what costs is
//! the number of places in memory that are looked at, one after the other. So a caller is one allocation, which holds what it
//! is found by, the ids, and the values of the fields that the upstream is told. The consumer itself is not looked at.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use model::entity::Consumer;
use uuid::Uuid;
use wire::{Known, Values};

use super::names::OF_EVERY_CALLER;

/// How the caller proved who it is.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Id of the credential entity.
    pub id: Uuid,
    /// Value of `X-Credential-Identifier` (kong.md 3.4).
    pub identifier: Arc<str>,
}

impl Credential {
    /// One that upstreams know by its id.
    #[must_use]
    pub fn of(id: Uuid) -> Self {
        Self { id, identifier: id.hyphenated().to_string().into() }
    }
}

/// What tells the holders of tokens apart who are no entities of the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Holder<'t> {
    /// What kind of token it is, so that two kinds with equal subjects stay two.
    pub kind: &'t str,
    /// Who issued it, if that is known: a subject is one among those of its issuer (RFC 7519 4.1.2).
    pub issuer: Option<&'t str>,
    /// Whom it is about: a user, or else the client that it was issued to.
    pub subject: Option<&'t str>,
    /// The token, or what is said of it. Where it is about nobody, it is nobody's but its own.
    pub token: &'t [u8],
}

impl Holder<'_> {
    /// Who holds it, known to the upstream as `identifier`.
    #[must_use]
    pub fn credential(&self, identifier: Arc<str>) -> Credential {
        let (sign, about) = match self.subject.filter(|subject| !subject.is_empty()) {
            Some(subject) => (b's', subject.as_bytes()),
            None => (b't', self.token),
        };
        let mut name = Vec::new();
        for part in [self.kind, self.issuer.unwrap_or_default()] {
            name.extend_from_slice(&(part.len() as u64).to_be_bytes());
            name.extend_from_slice(part.as_bytes());
        }
        name.push(sign);
        name.extend_from_slice(about);
        Credential { id: Uuid::new_v5(&Uuid::NAMESPACE_URL, &name), identifier }
    }
}

/// The credential of a caller.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'c> {
    /// Its id.
    pub id: Uuid,
    caller: &'c Caller,
}

/// Bytes of values and of what a caller is found by that lie in its own piece of memory: enough for a key of 32, a custom id
/// and a username that is an address of mail.
const ROOM: usize = 247;

/// What the upstream is told, and beside it what the caller is found by.
pub(super) type Told = Values<{ OF_EVERY_CALLER.len() }, ROOM>;

/// A consumer or the holder of a credential, with what the upstream is told of it. Made at reload where that is possible,
/// so that a request only points to it.
pub struct Caller {
    /// The consumer, real or anonymous. A request among those of many callers should not look at it: see
    /// [`Caller::consumer_id`], [`Caller::username`] and [`Caller::custom_id`].
    pub consumer: Option<Arc<Consumer>>,
    /// The consumer's id, if there is one.
    consumer_id: Uuid,
    /// The id of the credential; none for an anonymous consumer.
    credential: Option<Uuid>,
    /// Whether what is told are the very names of the consumer.
    is_told_as_is: bool,
    /// When the credential stops working, in milliseconds since 1970.
    expires_ms: u64,
    /// The identifier of the credential, if that cannot be told as it is.
    identifier: Option<Box<str>>,
    /// The fields that tell the upstream (kong.md 3.4).
    told: Told,
}

// Six lines of a cache, with the two counts before it.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Caller>() == 384 - 2 * size_of::<usize>());

impl Caller {
    /// Who proved to be `consumer` by `credential`, or proved to hold that credential only.
    #[must_use]
    pub fn authenticated(consumer: Option<Arc<Consumer>>, credential: Credential) -> Arc<Self> {
        Self::new(consumer, Some(credential), b"", u64::MAX)
    }

    /// The same for a credential that is found by `key`, until `expires_ms`, in milliseconds since 1970.
    #[must_use]
    pub fn known_by(
        key: &[u8],
        expires_ms: u64,
        consumer: Arc<Consumer>,
        credential: Credential,
    ) -> Arc<Self> {
        Self::new(Some(consumer), Some(credential), key, expires_ms)
    }

    /// Who proved nothing and goes on as `consumer`.
    #[must_use]
    pub fn anonymous(consumer: Arc<Consumer>) -> Arc<Self> {
        Self::new(Some(consumer), None, b"", u64::MAX)
    }

    fn new(
        consumer: Option<Arc<Consumer>>,
        credential: Option<Credential>,
        key: &[u8],
        expires_ms: u64,
    ) -> Arc<Self> {
        let names = consumer.as_deref();
        let (username, custom_id) = (username_of(names), custom_id_of(names));
        let identifier = credential.as_ref().map(|credential| &*credential.identifier);
        let consumer_id = names.map(|consumer| consumer.id);
        let id = consumer_id.map(|id| id.hyphenated().to_string());
        let told = Told::new(
            key,
            OF_EVERY_CALLER.map(|field| {
                let value = match field {
                    Known::XConsumerId => id.as_deref(),
                    Known::XConsumerCustomId => custom_id,
                    Known::XConsumerUsername => username,
                    Known::XCredentialIdentifier => identifier,
                    _ => credential.is_none().then_some("true"),
                };
                (field, value.map(str::as_bytes))
            }),
        );
        let is_told = |field, value: Option<&str>| told.known(field) == value.map(str::as_bytes);
        let is_told_as_is =
            is_told(Known::XConsumerUsername, username) && is_told(Known::XConsumerCustomId, custom_id);
        let identifier =
            identifier.filter(|_| !is_told(Known::XCredentialIdentifier, identifier)).map(Box::from);
        let (consumer_id, credential) =
            (consumer_id.unwrap_or_default(), credential.map(|credential| credential.id));
        Arc::new(Self { consumer, consumer_id, credential, is_told_as_is, expires_ms, identifier, told })
    }

    /// The id of the consumer.
    #[must_use]
    #[inline]
    pub fn consumer_id(&self) -> Option<Uuid> {
        self.consumer.is_some().then_some(self.consumer_id)
    }

    /// The username of the consumer.
    #[must_use]
    pub fn username(&self) -> Option<&[u8]> {
        match self.is_told_as_is {
            true => self.told.known(Known::XConsumerUsername),
            false => username_of(self.consumer.as_deref()).map(str::as_bytes),
        }
    }

    /// The consumer's id in another system.
    #[must_use]
    pub fn custom_id(&self) -> Option<&[u8]> {
        match self.is_told_as_is {
            true => self.told.known(Known::XConsumerCustomId),
            false => custom_id_of(self.consumer.as_deref()).map(str::as_bytes),
        }
    }

    /// The credential; none for an anonymous consumer.
    #[must_use]
    #[inline]
    pub fn credential(&self) -> Option<Proof<'_>> {
        self.credential.map(|id| Proof { id, caller: self })
    }

    /// What it is found by; nothing, unless it was made by [`Caller::known_by`].
    #[must_use]
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.told.beside()
    }

    /// Whether the credential still works at `now_ms`, in milliseconds since 1970.
    #[must_use]
    #[inline]
    pub fn is_valid_at(&self, now_ms: u64) -> bool {
        now_ms < self.expires_ms
    }

    /// The text of the consumer's id, as the upstream is told it.
    pub(crate) fn consumer_id_text(&self) -> &[u8] {
        self.told.known(Known::XConsumerId).unwrap_or_default()
    }

    /// What the upstream is told.
    #[inline]
    pub(super) fn told(&self) -> &Told {
        &self.told
    }
}

fn username_of(consumer: Option<&Consumer>) -> Option<&str> {
    consumer?.username.as_deref()
}

fn custom_id_of(consumer: Option<&Consumer>) -> Option<&str> {
    consumer?.custom_id.as_deref()
}

impl Proof<'_> {
    /// Value of `X-Credential-Identifier` (kong.md 3.4), whether that can be told or not.
    #[must_use]
    pub fn identifier(&self) -> Cow<'_, str> {
        let Caller { identifier, told, .. } = self.caller;
        match identifier {
            Some(identifier) => Cow::Borrowed(identifier),
            None => String::from_utf8_lossy(told.known(Known::XCredentialIdentifier).unwrap_or_default()),
        }
    }
}

/// Without the key, which may be a secret.
impl fmt::Debug for Caller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, credential, told, .. } = self;
        let mut shown = out.debug_struct("Caller");
        shown
            .field("consumer", consumer)
            .field("credential", credential)
            .field("told", told)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use model::schema::Record;
    use serde_json::json;

    use super::*;

    const CONSUMER: Uuid = Uuid::from_u128(7);
    const CREDENTIAL: Uuid = Uuid::from_u128(8);

    fn consumer(username: &str, custom_id: Option<&str>) -> Arc<Consumer> {
        let fields = json!({
            "id": CONSUMER.to_string(), "created_at": 1, "updated_at": 1,
            "username": username, "custom_id": custom_id,
        });
        Arc::new(Consumer::from_value(&fields).unwrap())
    }

    fn told(caller: &Caller) -> Vec<(&'static str, String)> {
        let fields = caller.told().fields();
        fields.map(|(field, value)| (field.as_str(), String::from_utf8_lossy(value).into_owned())).collect()
    }

    #[test]
    fn all_that_a_request_needs_is_known_of_a_caller() {
        let caller = Caller::known_by(b"key", 100, consumer("ada", Some("17")), Credential::of(CREDENTIAL));
        assert_eq!(caller.key(), b"key");
        assert_eq!(caller.consumer_id(), Some(CONSUMER));
        assert_eq!((caller.username(), caller.custom_id()), (Some(&b"ada"[..]), Some(&b"17"[..])));
        assert_eq!(caller.credential().unwrap().identifier(), CREDENTIAL.to_string());
        assert_eq!((caller.is_valid_at(99), caller.is_valid_at(100)), (true, false));
        let expected = [
            ("X-Consumer-ID", CONSUMER.to_string()),
            ("X-Consumer-Custom-ID", "17".to_owned()),
            ("X-Consumer-Username", "ada".to_owned()),
            ("X-Credential-Identifier", CREDENTIAL.to_string()),
        ];
        assert_eq!(told(&caller), expected);
    }

    #[test]
    fn names_that_no_field_can_carry_as_they_are_stay_known() {
        for username in ["a\nb", " ada"] {
            let identifier = Arc::from(username);
            let proof = Credential { id: CREDENTIAL, identifier };
            let caller = Caller::authenticated(Some(consumer(username, None)), proof);
            assert_eq!(caller.username(), Some(username.as_bytes()));
            assert_eq!(caller.custom_id(), None);
            assert_eq!(caller.credential().unwrap().identifier(), username);
        }
    }

    #[test]
    fn long_names_and_keys_are_as_good_as_short_ones() {
        let (key, username) = ("k".repeat(2 * ROOM), "u".repeat(ROOM));
        let credential = Credential::of(CREDENTIAL);
        let caller = Caller::known_by(key.as_bytes(), u64::MAX, consumer(&username, None), credential);
        assert_eq!((caller.key(), caller.username()), (key.as_bytes(), Some(username.as_bytes())));
        assert_eq!(told(&caller)[1], ("X-Consumer-Username", username));
    }

    #[test]
    fn who_proved_nothing_and_who_is_no_consumer_are_told_as_such() {
        let anonymous = Caller::anonymous(consumer("ada", None));
        assert!(anonymous.credential().is_none());
        assert_eq!(told(&anonymous)[2], ("X-Anonymous-Consumer", "true".to_owned()));
        let holder = Caller::authenticated(None, Credential::of(CREDENTIAL));
        assert_eq!((holder.consumer_id(), holder.username(), holder.custom_id()), (None, None, None));
        assert_eq!(told(&holder), [("X-Credential-Identifier", CREDENTIAL.to_string())]);
    }

    #[test]
    fn holders_of_tokens_are_one_if_issuer_and_subject_are() {
        let id = |kind, issuer, subject, token: &str| {
            Holder { kind, issuer, subject, token: token.as_bytes() }.credential("".into()).id
        };
        let alice = id("access", Some("a"), Some("alice"), "1");
        assert_eq!(alice, id("access", Some("a"), Some("alice"), "2"));
        let others = [
            id("channel", Some("a"), Some("alice"), "1"),
            id("access", Some("b"), Some("alice"), "1"),
            id("access", None, Some("aalice"), "1"),
            id("access", Some("a"), Some("bob"), "1"),
            id("access", Some("a"), None, "alice"),
        ];
        assert!(others.iter().all(|other| *other != alice));
        assert_eq!(id("access", None, None, "1"), id("access", None, Some(""), "1"));
        assert_ne!(id("access", None, None, "1"), id("access", None, None, "2"));
    }

    #[test]
    fn a_key_is_never_printed() {
        let caller = Caller::known_by(b"hidden", 1, consumer("ada", None), Credential::of(CREDENTIAL));
        let shown = format!("{caller:?} {:?}", caller.credential());
        assert!(shown.contains("ada") && !shown.contains("hidden") && !shown.contains("104, 105"), "{shown}");
    }
}
