//! The engine over pipes: scripted clients, scripted upstreams, no sockets, time that stands still.

mod bounds;
pub mod lab;
mod trouble;

mod announced;
mod claims;
mod connections;
mod copies;
mod datagrams;
mod departures;
mod detours;
mod endings;
mod failures;
mod frames;
mod grpc;
mod hedging;
mod hostile;
mod http2;
mod http2_frames;
mod http2_hostile;
mod http2_shared;
mod in_flight;
mod load;
mod panics;
mod pools;
mod probes;
mod proxied;
mod refusals;
mod reload;
mod resilience;
mod sizes;
mod slow;
mod streaming;
mod streams;
pub mod tls;
mod tunnels;
mod withheld;
