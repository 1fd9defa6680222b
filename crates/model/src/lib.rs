//! The gateway's model: Kong's entities as types, one schema machinery, the declarative format and every check.
//!
//! It never does I/O, never waits and never knows a plugin by name: plugin schemas arrive from the caller.

mod concealed;
pub mod courtesy;
pub mod declarative;
pub mod entity;
mod json;
pub mod network;
pub mod node;
pub mod ocsp;
pub mod path;
pub mod pem;
pub mod problem;
mod render;
pub mod revocation;
pub mod schema;
pub mod secret;
pub mod subject;
pub mod targets;
mod yaml;

pub use concealed::{MASK, is_secret_name};
pub use declarative::{Catalog, Config, Entity, PluginSchema, Scopes, Stored};
pub use entity::{EntitySchema, PluginRow};
pub use problem::{Place, Problem, Problems, Severity, misspelt};
pub use render::Source;
pub use schema::{Field, FieldType, Kind, Map, Record, RecordSchema, Reference, Set, Value, ValueError};

#[doc(hidden)]
pub use serde_json;
pub use uuid::Uuid;
