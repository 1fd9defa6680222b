//! The engine over pipes: scripted clients, scripted upstreams, no sockets, time that stands still.

mod lab;

mod connections;
mod failures;
mod streaming;
