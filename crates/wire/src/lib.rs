//! HTTP/1.1 as bytes and messages, HTTP/2 as messages, and what may stand before them on a connection. The crate does
//! no I/O, keeps no clock and knows no gateway: a caller brings bytes, the parsers fill messages it owns and reuses,
//! the encoders append to buffers it owns.
//!
//! Strict by design: framing that two parties could read differently is refused, never repaired (RFC 9112).

pub mod client_hello;
pub mod grammar;
pub mod h1;
pub mod h2;
pub mod media;
pub mod message;
pub mod proxy_protocol;
pub mod target;

pub use h1::{BodyDecoder, Decoded, Limit, Limits, Parsed, Reject, parse_request, parse_response};
pub use message::{
    BodyLength, Field, Headers, Known, Method, RequestHead, ResponseHead, Upgrade, Values, Version,
};
