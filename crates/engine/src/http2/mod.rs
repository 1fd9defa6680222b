//! HTTP/2 (RFC 9113). The `h2` crate speaks the frames; here its connections and streams take the place that TCP
//! connections have elsewhere in the engine: a stream is a source and a sink of bytes, its heads go beside them.

pub mod call;
pub mod downstream;
mod halves;
mod meter;
pub mod opening;
pub mod pool;
pub mod server;
