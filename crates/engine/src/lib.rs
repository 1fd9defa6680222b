//! The data plane. It knows plugin *definitions*, never a plugin.
//!
//! Start with [`flow`]: the life of a request from top to bottom. The other modules stand in the order in which a
//! request meets them.

pub mod gateway;
pub mod settings;
pub mod snapshot;

mod compile;
mod copies;
mod detour;
mod doors;
mod listen;
mod unsupported;
mod worker;

mod announcement;
mod bounds;
mod buffers;
mod caught;
mod connections;
mod http2;
mod load;
mod pace;
mod prefixed;
mod presence;
mod tls;

mod channel;
mod session;
mod timer;
mod transport;

mod flow;
mod hops;
mod protocol;

mod route;

mod stream;

mod chain;

mod balance;
mod discovery;
mod dns;
mod health;

mod forward;
mod relay;
mod request_body;
mod upload;
mod upstream;

mod date;
mod deliver;
mod descriptors;
mod download;
mod respond;
mod response_head;
mod retirement;
mod tunnel;
mod websocket;

pub use bounds::variables as variables_of_bounds;
pub use caught::report_panics;
pub use discovery::MAX_AGE as DISCOVERY_MAX_AGE;
pub use dns::{DnsSettings, Order as DnsOrder, Resolver};
pub use gateway::{Gateway, StartError};
pub use listen::{Address, Bound, Carries, Inherited, Keepalive, Listener, SocketOptions};
/// How a server speaks TLS.
pub use rustls::{ClientConfig, ServerConfig};
pub use settings::Settings;
pub use snapshot::Snapshot;
pub use tls::{
    Authorities, Offer, Pair, TlsSettings, Trusted, Versions, client_config, default_pairs, server_config,
};

/// The version of Kong whose behaviour clients see and tools ask for.
pub const KONG_VERSION: &str = "3.9.3";
/// What the gateway calls itself in `Server`, and in `Via` behind the protocol version.
const PRODUCT: &str = "kong/3.9.3";
/// `Via` of a response received over HTTP/1.1.
const VIA_11: &str = "1.1 kong/3.9.3";
/// The same over HTTP/2.
const VIA_2: &str = "2 kong/3.9.3";

#[cfg(test)]
mod tests;
