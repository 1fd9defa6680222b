//! A look at the first bytes of a connection: whether they are TLS, and which server name is asked for. Nothing is
//! consumed, and the look is bounded in bytes and in time.

use std::io;

use tokio::time::Instant;
use wire::client_hello::{DEFAULT_MAX_BYTES, Peeked, peek};

use crate::channel::{Channel, Fault};

/// Bytes read at a time until the ClientHello is whole.
const READ: usize = 4 << 10;

/// The server name that a client asks for under TLS, if it asks for one.
///
/// # Errors
/// Why it is not known: what comes is no ClientHello, or it does not come by `deadline`, or its first byte not by
/// `silent_until`.
pub async fn server_name(
    channel: &mut Channel,
    deadline: Instant,
    silent_until: Instant,
) -> io::Result<Option<String>> {
    loop {
        match peek(channel.input.unread(), DEFAULT_MAX_BYTES) {
            Peeked::Complete(hello) => return Ok(hello.server_name),
            Peeked::NotTls => return Err(invalid("the connection does not begin with TLS")),
            Peeked::Reject(reject) => return Err(invalid(reject.reason)),
            Peeked::Incomplete => {}
        }
        let until = if channel.input.is_empty() { silent_until.min(deadline) } else { deadline };
        channel.fill(READ, until).await.map_err(|fault| match fault {
            Fault::Timeout => io::Error::from(io::ErrorKind::TimedOut),
            Fault::Closed => io::ErrorKind::UnexpectedEof.into(),
        })?;
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
