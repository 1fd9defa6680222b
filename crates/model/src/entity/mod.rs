//! Kong's entities, one file each, and what makes a record an entity: a collection, keys, references.

mod ca_certificate;
mod certificate;
mod consumer;
mod consumer_group;
mod discovery;
mod key;
mod key_set;
mod plugin;
mod pool_limits;
mod route;
mod service;
mod sni;
mod target;
mod upstream;
mod vault;

use serde_json::{Map, Value};
use sha1::{Digest, Sha1};
use uuid::{Builder, Uuid};

pub use ca_certificate::CaCertificate;
pub use certificate::Certificate;
pub use consumer::Consumer;
pub use consumer_group::{ConsumerGroup, ConsumerGroupConsumer};
pub use discovery::Discovery;
pub use key::{Key, Pem};
pub use key_set::KeySet;
pub use plugin::{PluginEntity, PluginRow};
pub use pool_limits::PoolLimits;
pub use route::{Endpoint, Route};
pub use service::Service;
pub use sni::Sni;
pub use target::Target;
pub(crate) use target::normal_form as target_normal_form;
pub(crate) use upstream::settle_algorithm;
pub use upstream::{
    Active, ActiveHealthy, ActiveUnhealthy, Healthchecks, Outliers, Passive, PassiveHealthy,
    PassiveUnhealthy, Upstream,
};
pub use vault::{Vault, VaultConfig, lacking as lacking_in_vault};

use crate::schema::{Field, Kind, Record, RecordSchema};

/// A struct that [`entity!`](crate::entity!) declared.
pub trait Entity: Record {
    /// The entity's description.
    fn entity_schema() -> EntitySchema;
}

/// The description of an entity.
#[derive(Debug, Clone)]
pub struct EntitySchema {
    /// The collection: the plural that documents use, such as `services`.
    pub name: &'static str,
    /// The path segment of the Admin API, such as `key-auths`.
    pub admin_name: &'static str,
    /// The path segment below the entity it belongs to, such as `key-auth`.
    pub admin_nested_name: &'static str,
    /// The field that may stand for the id, such as `name`.
    pub endpoint_key: Option<&'static str>,
    /// The fields that together differ in every entity.
    pub cache_key: &'static [&'static str],
    /// Whether an entity may expire (it has a field `ttl`).
    pub ttl: bool,
    /// How values become the form they are kept in, where that is another than the document's.
    pub transform: Option<Transform>,
    /// The fields and checks.
    pub record: RecordSchema,
}

/// Brings the fields of a valid entity, references resolved, into the form they are kept in. The form they are in already
/// is the second argument; the error is the field that is wrong, and what is.
pub type Transform = fn(&mut Map<String, Value>, Form) -> Result<(), (&'static str, String)>;

/// The form that values of a document are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As people write them.
    Written,
    /// As they are kept and exported (`_transform: false`).
    Kept,
}

impl EntitySchema {
    /// The fields whose values differ in every entity.
    pub fn unique_fields(&self) -> impl Iterator<Item = &Field> {
        self.record.fields.iter().filter(|field| field.unique)
    }

    /// The foreign keys: field and collection they point into.
    pub fn foreign_keys(&self) -> impl Iterator<Item = (&Field, &'static str)> {
        self.record.fields.iter().filter_map(|field| match field.element.kind {
            Kind::Foreign(collection) => Some((field, collection)),
            _ => None,
        })
    }
}

/// The schemas of all entities that the model itself knows.
pub fn core_schemas() -> Vec<EntitySchema> {
    vec![
        Service::entity_schema(),
        Route::entity_schema(),
        Consumer::entity_schema(),
        ConsumerGroup::entity_schema(),
        ConsumerGroupConsumer::entity_schema(),
        PluginEntity::entity_schema(),
        Upstream::entity_schema(),
        Target::entity_schema(),
        Certificate::entity_schema(),
        Sni::entity_schema(),
        CaCertificate::entity_schema(),
        KeySet::entity_schema(),
        Key::entity_schema(),
        Vault::entity_schema(),
    ]
}

/// The space of names in which Kong gives ids to the entities of a collection that have none: the id is the name-based
/// UUID of an entity's key.
pub fn space_of_names(collection: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, collection.as_bytes())
}

/// The id that Kong gives an entity of that key.
pub fn stable_id(collection: &str, key: &str) -> Uuid {
    identity_of(&space_of_names(collection), key)
}

/// The same in a space of names: version 5 of RFC 9562. There may be a million of them, so the digest is the one that uses
/// the processor's instructions for it.
pub(crate) fn identity_of(names: &Uuid, key: &str) -> Uuid {
    let digest: [u8; 20] = Sha1::new().chain_update(names).chain_update(key).finalize().into();
    let [first @ .., _, _, _, _] = digest;
    Builder::from_sha1_bytes(first).into_uuid()
}

const NAMESPACE: Uuid = Uuid::from_u128(0xfd02801f_0957_4a15_a55a_c8d9606f30b5);

/// Declares an entity: a [`record!`](crate::record!) with `id`, `created_at`, `updated_at`, `tags` and a place in
/// documents and the Admin API.
///
/// ```
/// model::entity! {
///     /// A key of a consumer.
///     pub struct Credential in "keyauth_credentials" {
///         /// Whose key it is.
///         consumer: model::Reference, [to("consumers")];
///         /// The key; random when left out.
///         key: String, [auto(), unique(), encrypted()];
///         /// Seconds to live.
///         ttl: Option<i64>;
///     }
///     admin: ("key-auths", "key-auth")
///     endpoint_key: "key"
///     cache_key: ["key"]
/// }
/// use model::entity::Entity;
/// assert!(Credential::entity_schema().ttl);
/// ```
#[macro_export]
macro_rules! entity {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis struct $record:ident in $name:literal { $($fields:tt)* }
        $(admin: ($admin:literal, $nested:literal))?
        $(endpoint_key: $endpoint_key:literal)?
        $(cache_key: [$($cache_key:literal),* $(,)?])?
        $(times: $times:ident)?
        $(transform: $transform:ident)?
        $(checks: [$($check:expr),* $(,)?])?
        $(shorthands: [$(($old:literal, $target:literal)),* $(,)?])?
    ) => {
        $crate::record! {
            $(#[doc = $doc])*
            #[allow(dead_code)]
            $visibility struct $record {
                /// The entity's identity; derived from its key when left out.
                id: $crate::Uuid, [auto()];
                $($fields)*
                /// When it was made, in seconds since 1970.
                created_at: $crate::__entity_times!($($times)?), [auto()];
                /// When it was changed last, in seconds since 1970.
                updated_at: $crate::__entity_times!($($times)?), [auto()];
                /// Free labels to find it by.
                tags: Option<$crate::Set<String>>, [each(tag())];
            }
            checks: [$($($check),*)?]
            shorthands: [$($(($old, $target)),*)?]
        }

        impl $crate::entity::Entity for $record {
            fn entity_schema() -> $crate::entity::EntitySchema {
                let record = <Self as $crate::Record>::schema();
                #[allow(unused_mut, unused_assignments)]
                let (mut admin_name, mut admin_nested_name) = ($name, $name);
                $((admin_name, admin_nested_name) = ($admin, $nested);)?
                $crate::entity::EntitySchema {
                    name: $name,
                    admin_name,
                    admin_nested_name,
                    endpoint_key: [$($endpoint_key)?].first().copied(),
                    cache_key: &[$($($cache_key),*)?],
                    ttl: record.field("ttl").is_some(),
                    transform: [$($transform as $crate::entity::Transform)?].first().copied(),
                    record,
                }
            }
        }
    };
}

/// The type of an entity's time stamps.
#[doc(hidden)]
#[macro_export]
macro_rules! __entity_times {
    () => {
        i64
    };
    ($times:ident) => {
        $times
    };
}

#[cfg(test)]
mod tests;
