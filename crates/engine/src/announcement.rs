//! What a proxy in front says about a connection before its first byte: the PROXY protocol, on listeners that demand it.

use std::io;

use tokio::time::Instant;
use wire::proxy_protocol::{DEFAULT_MAX_BYTES, Origin, Parsed, parse};

use crate::channel::{Channel, Fault};

/// Bytes read at a time until the header is whole.
const READ: usize = 4 << 10;

/// Reads the header that a connection must begin with. What follows it stays in the channel.
///
/// # Errors
/// Why there is none: the connection is to be closed without a word.
pub async fn read(channel: &mut Channel, deadline: Instant) -> io::Result<Origin> {
    loop {
        match parse(channel.input.unread(), DEFAULT_MAX_BYTES) {
            Parsed::Complete { consumed, origin } => {
                channel.input.consume(consumed);
                return Ok(origin);
            }
            Parsed::Reject(reject) => return Err(io::Error::new(io::ErrorKind::InvalidData, reject.reason)),
            Parsed::Incomplete => {}
        }
        channel.fill(READ, deadline).await.map_err(|fault| match fault {
            Fault::Timeout => io::Error::from(io::ErrorKind::TimedOut),
            Fault::Closed => io::ErrorKind::UnexpectedEof.into(),
        })?;
    }
}
