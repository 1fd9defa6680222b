//! The engine over pipes: scripted clients, scripted upstreams, no sockets, time that stands still.

mod lab;

mod connections;
mod endings;
mod failures;
mod grpc;
mod hostile;
mod http2;
mod http2_frames;
mod proxied;
mod refusals;
mod reload;
mod sizes;
mod streaming;
mod tls;
