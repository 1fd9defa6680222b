//! Layer 4: routes of `tcp`, `tls`, `tls_passthrough` and `udp`, whose bytes are carried and not looked into.
//!
//! [`Routes`] are compiled at reload. [`session`] is the life of a connection, [`udp`] that of datagrams; both ask the
//! plugins of their route by a [`visit::Visit`].

mod account;
mod connect;
pub mod demands;
mod draft;
mod hello;
mod index;
mod place;
mod relay;
mod routes;
mod session;
mod tallies;
pub mod udp;
mod udp_table;
mod visit;

pub use routes::Routes;
pub use session::{may_begin, start};
pub use tallies::Tallies;
pub use visit::Rooms;

#[cfg(test)]
mod tests;
