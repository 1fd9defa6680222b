//! What a proxy in front says about a connection before its first byte: the PROXY protocol, on listeners that demand it.

use std::io;

use tokio::time::Instant;
use wire::proxy_protocol::{DEFAULT_MAX_BYTES, Origin, Parsed, parse};

use crate::channel::{Channel, Fault};
use crate::doors::canonical;

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
                return Ok(told(origin));
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

/// Proxies with sockets for both families tell addresses as those do.
fn told(origin: Origin) -> Origin {
    match origin {
        Origin::Forwarded { source, destination } => {
            Origin::Forwarded { source: canonical(source), destination: canonical(destination) }
        }
        Origin::Local | Origin::Unknown => origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ipv4_are_told_as_such() {
        let [mapped, plain, other] =
            ["[::ffff:203.0.113.7]:40000", "203.0.113.7:40000", "[2001:db8::1]:8000"]
                .map(|text| text.parse().unwrap());
        let expected = Origin::Forwarded { source: plain, destination: other };
        assert_eq!(told(Origin::Forwarded { source: mapped, destination: other }), expected);
        assert_eq!(told(Origin::Local), Origin::Local);
    }
}
