//! HTTP/1.1 (RFC 9112): heads, bodies and the printing of both. Parsers are fed whatever has arrived and give
//! the same verdict however the bytes were split.

pub mod body;
pub mod encode;
mod framing;
mod limits;
mod lines;
mod reject;
mod request;
mod response;
mod trailer;

pub use body::{BodyDecoder, Decoded};
pub use limits::Limits;
pub use reject::{Limit, Reject};
pub use request::parse_request;
pub use response::parse_response;
pub(crate) use trailer::is_forbidden as is_forbidden_trailer;

/// The outcome of looking for a message head at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The head goes on. Call again with the same bytes and more behind them.
    Incomplete,
    /// The head is filled; the body begins after this many bytes.
    Complete {
        /// Bytes of the buffer that belong to the head.
        consumed: usize,
    },
    /// The message is refused; nothing of it may be forwarded and the connection has to be closed.
    Reject(Reject),
}
