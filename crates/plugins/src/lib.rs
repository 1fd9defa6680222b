//! The rooms, one folder each, and the list of them in execution order.
//!
//! A room imports the `plugin` contract and nothing else of the gateway. Adding one means its folder, a `mod` line
//! and an entry in [`ROOMS`].

pub mod acl;
pub mod correlation_id;
pub mod cors;
pub mod jwt;
pub mod key_auth;
pub mod request_termination;
use plugin::Definition;
use plugin::model::Catalog;
/// Every plugin, in execution order: highest priority first.
pub static ROOMS: &[&dyn Definition] = &[
    plugin::room::<correlation_id::CorrelationId>(),
    plugin::room::<cors::Cors>(),
    plugin::room::<jwt::Jwt>(),
    plugin::room::<key_auth::KeyAuth>(),
    plugin::room::<acl::Acl>(),
    plugin::room::<request_termination::RequestTermination>(),
];
/// What the plugins bring into a configuration: the schemas of their settings and the entities they own.
#[must_use]
pub fn catalog() -> Catalog {
    Catalog {
        plugins: ROOMS.iter().map(|room| room.schema()).collect(),
        entities: ROOMS.iter().flat_map(|room| room.entities()).collect(),
    }
}
