//! Version 1: one line of text. Strict where the protocol leaves no choice: single spaces, no leading zeros, CRLF.

use super::cursor::{Cursor, Stop};
use super::{NO_SIGNATURE, Origin, Reject, as_ipv6};
use crate::grammar::decimal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const BAD_FAMILY: Reject = Reject { reason: "PROXY line names neither TCP4, TCP6 nor UNKNOWN" };
const BAD_ADDRESS: Reject = Reject { reason: "PROXY line with a malformed address" };
const BAD_PORT: Reject = Reject { reason: "PROXY line with a malformed port" };
const BAD_END: Reject = Reject { reason: "PROXY line not ended by CRLF" };
const TOO_LONG: Reject = Reject { reason: "PROXY line longer than 107 bytes" };

/// The longest line, CRLF included.
const MAX_BYTES: usize = 107;

/// Reads a line; tells its length and what it says.
pub(super) fn parse(buf: &[u8]) -> Result<(usize, Origin), Stop> {
    let mut cursor = Cursor::new(buf);
    cursor.literal(b"PROXY", NO_SIGNATURE)?;
    cursor.literal(b" ", BAD_FAMILY)?;
    let origin = match cursor.octet()? {
        b'U' => unknown(&mut cursor)?,
        b'T' => forwarded(&mut cursor)?,
        _ => return Err(Stop::Wrong(BAD_FAMILY)),
    };
    cursor.literal(b"\r\n", BAD_END)?;
    Ok((cursor.place, origin))
}

/// The rest of a line without addresses. Whatever may stand before its end is passed over.
fn unknown(cursor: &mut Cursor<'_>) -> Result<Origin, Stop> {
    cursor.literal(b"NKNOWN", BAD_FAMILY)?;
    let start = cursor.place;
    let ignored = cursor.run(MAX_BYTES - start - 2, |byte| !matches!(byte, b'\r' | b'\n'), TOO_LONG);
    // "UNKNOWN" has to end as a word. Seen before the run is whole, so that a wrong octet is told at once.
    if cursor.peek(start).is_some_and(|byte| !matches!(byte, b' ' | b'\r')) {
        return Err(Stop::Wrong(BAD_FAMILY));
    }
    ignored.map(|_| Origin::Unknown)
}

/// The rest of a line with addresses.
fn forwarded(cursor: &mut Cursor<'_>) -> Result<Origin, Stop> {
    cursor.literal(b"CP", BAD_FAMILY)?;
    let address: fn(&mut Cursor<'_>) -> Result<IpAddr, Stop> = match cursor.octet()? {
        b'4' => ipv4,
        b'6' => ipv6,
        _ => return Err(Stop::Wrong(BAD_FAMILY)),
    };
    cursor.literal(b" ", BAD_FAMILY)?;
    let source = address(cursor)?;
    cursor.literal(b" ", BAD_ADDRESS)?;
    let destination = address(cursor)?;
    cursor.literal(b" ", BAD_ADDRESS)?;
    let source_port = port(cursor)?;
    cursor.literal(b" ", BAD_PORT)?;
    let destination_port = port(cursor)?;
    Ok(Origin::Forwarded {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn ipv4(cursor: &mut Cursor<'_>) -> Result<IpAddr, Stop> {
    let text = cursor.run(15, |byte| byte.is_ascii_digit() || byte == b'.', BAD_ADDRESS)?;
    parsed::<Ipv4Addr>(text).map(IpAddr::V4)
}

/// The last four octets may be in dotted form, as senders print IPv4 addresses in IPv6.
fn ipv6(cursor: &mut Cursor<'_>) -> Result<IpAddr, Stop> {
    let text = cursor.run(39, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'), BAD_ADDRESS)?;
    parsed::<Ipv6Addr>(text).map(IpAddr::V6)
}

fn parsed<Address: std::str::FromStr>(text: &[u8]) -> Result<Address, Stop> {
    let address = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    address.ok_or(Stop::Wrong(BAD_ADDRESS))
}

fn port(cursor: &mut Cursor<'_>) -> Result<u16, Stop> {
    let digits = cursor.run(5, |byte| byte.is_ascii_digit(), BAD_PORT)?;
    let padded = digits.len() > 1 && digits.starts_with(b"0");
    let port = decimal(digits).filter(|_| !padded).and_then(|number| u16::try_from(number).ok());
    port.ok_or(Stop::Wrong(BAD_PORT))
}

/// Appends a header of version 1. It has no form for a connection of the proxy's own: that is printed as unknown.
pub fn write(out: &mut Vec<u8>, origin: &Origin) {
    let Origin::Forwarded { source, destination } = origin else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let line = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            format!("PROXY TCP4 {from} {to} {} {}\r\n", source.port(), destination.port())
        }
        (from, to) => {
            let (from, to) = (as_ipv6(from), as_ipv6(to));
            format!("PROXY TCP6 {from} {to} {} {}\r\n", source.port(), destination.port())
        }
    };
    out.extend_from_slice(line.as_bytes());
}
