//! The plugin contract: everything a room may see, and nothing else.
//!
//! A room is one folder in the `plugins` crate. It declares facts ([`Plugin`]), runs in phases ([`Phases`]),
//! and works on a request only through the view of the phase it is in ([`Rewrite`], [`Access`],
//! [`HeaderFilter`], [`BodyFilter`], [`Log`]), so that what is not legal in a phase does not compile.
//!
//! Read in this order: [`room`] (what a plugin declares), [`flow`] (what a phase returns), [`views`] (what a
//! phase may do), [`services`] (what outlives a request and a reload), [`identity`] (for authentication), [`limits`]
//! (counting who may ask how often) on [`redis`](mod@redis) (what gateways share), [`outbound`] (asking other servers) and
//! [`remember`] (keeping what they said).

pub mod admin;
pub mod aside;
pub mod authorization;
pub mod build;
pub mod certificate;
pub mod circuit;
pub mod claims;
mod client;
pub mod clock;
pub mod cohort;
pub mod collect;
pub mod confidential;
pub mod consumers;
pub mod copies;
pub mod detour;
pub mod edits;
pub mod embedded;
pub mod exchange;
pub mod figures;
pub mod flow;
pub mod groups;
pub mod guard;
#[cfg(feature = "harness")]
pub mod harness;
pub mod hedge;
pub mod identity;
pub mod jose;
pub mod journal;
pub mod keyring;
pub mod keys;
pub mod ldap;
pub mod likeness;
pub mod limits;
pub mod lockout;
pub mod lru;
pub mod memcached;
pub mod multipart;
pub mod object;
pub mod outbound;
pub mod principals;
pub mod proven;
pub mod query;
pub mod redis;
pub mod refusal;
pub mod remember;
pub mod repeat;
pub mod reply;
pub mod roll;
pub mod room;
pub mod serialize;
pub mod services;
pub mod sessions;
pub mod shared;
pub mod stats;
pub mod usage;
pub mod views;
pub mod web_session;

pub use build::{Build, BuildError};
pub use detour::Detour;
pub use exchange::{Exchange, Matched, Scheme, Source};
pub use flow::{Flow, Resume};
pub use model;
pub use model::record;
pub use reply::Reply;
pub use room::{Definition, Phase, Phases, Plugin, Scopes, room};
pub use services::Services;
pub use views::{Access, BodyFilter, BodyMode, HeaderFilter, Log, Rewrite};
pub use wire::{BodyLength, Headers, Known, Method, media, target};
