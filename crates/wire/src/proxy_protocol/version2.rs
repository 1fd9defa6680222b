//! Version 2: sixteen fixed octets, addresses, and extensions as type, length and value.

use super::checksum::crc32c;
use super::cursor::{Cursor, Stop};
use super::{NO_SIGNATURE, Origin, Reject, as_ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const BAD_VERSION: Reject = Reject { reason: "PROXY header of a version other than 1 and 2" };
const BAD_COMMAND: Reject = Reject { reason: "PROXY header with a command other than LOCAL and PROXY" };
const BAD_FAMILY: Reject = Reject { reason: "PROXY header with an unknown address family or transport" };
const TOO_LONG: Reject = Reject { reason: "PROXY header longer than its bound" };
const TOO_SHORT: Reject = Reject { reason: "PROXY header too short for its addresses" };
const BAD_EXTENSION: Reject = Reject { reason: "PROXY header with an extension beyond its end" };
const BAD_CHECKSUM: Reject = Reject { reason: "PROXY header with a wrong checksum" };

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets before the addresses.
const FIXED_BYTES: usize = 16;
/// The extension that holds a checksum of the header.
const CHECKSUM: u8 = 0x03;

/// Reads a header; tells its length and what it says.
pub(super) fn parse(buf: &[u8], max_bytes: usize) -> Result<(usize, Origin), Stop> {
    let mut cursor = Cursor::new(buf);
    cursor.literal(SIGNATURE, NO_SIGNATURE)?;
    let command = command(cursor.octet()?).map_err(Stop::Wrong)?;
    let family = match command {
        Command::Local => {
            cursor.octet()?;
            Family::Unspecified
        }
        Command::Forward => family(cursor.octet()?).map_err(Stop::Wrong)?,
    };
    let high = usize::from(cursor.octet()?) << 8;
    if FIXED_BYTES + high > max_bytes {
        return Err(Stop::Wrong(TOO_LONG));
    }
    let length = high | usize::from(cursor.octet()?);
    if FIXED_BYTES + length > max_bytes {
        return Err(Stop::Wrong(TOO_LONG));
    }
    if length < family.bytes() {
        return Err(Stop::Wrong(TOO_SHORT));
    }
    let block = cursor.take(length)?;
    // Where the addresses are of no known size, nobody can tell where extensions would begin.
    if family != Family::Unspecified {
        check_extensions(&buf[..cursor.place], FIXED_BYTES + family.bytes()).map_err(Stop::Wrong)?;
    }
    let origin = match command {
        Command::Local => Origin::Local,
        Command::Forward => family.origin(block),
    };
    Ok((cursor.place, origin))
}

#[derive(Clone, Copy)]
enum Command {
    Local,
    Forward,
}

fn command(octet: u8) -> Result<Command, Reject> {
    match (octet >> 4, octet & 0x0f) {
        (2, 0) => Ok(Command::Local),
        (2, 1) => Ok(Command::Forward),
        (2, _) => Err(BAD_COMMAND),
        _ => Err(BAD_VERSION),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified,
    Ipv4,
    Ipv6,
    Unix,
}

/// The addresses that follow. Of what transport they are makes no difference, but one that is unspecified makes
/// them so.
fn family(octet: u8) -> Result<Family, Reject> {
    match (octet >> 4, octet & 0x0f) {
        (0, 0..=2) | (1..=3, 0) => Ok(Family::Unspecified),
        (1, 1 | 2) => Ok(Family::Ipv4),
        (2, 1 | 2) => Ok(Family::Ipv6),
        (3, 1 | 2) => Ok(Family::Unix),
        _ => Err(BAD_FAMILY),
    }
}

impl Family {
    /// The room both addresses take, ports included.
    fn bytes(self) -> usize {
        match self {
            Family::Unspecified => 0,
            Family::Ipv4 => 12,
            Family::Ipv6 => 36,
            Family::Unix => 216,
        }
    }

    /// What the addresses at the start of `block` say.
    fn origin(self, block: &[u8]) -> Origin {
        match self {
            Family::Ipv4 => addresses::<4>(block, |octets| Ipv4Addr::from(octets).into()),
            Family::Ipv6 => addresses::<16>(block, |octets| Ipv6Addr::from(octets).into()),
            Family::Unspecified | Family::Unix => None,
        }
        .unwrap_or(Origin::Unknown)
    }
}

fn addresses<const SIZE: usize>(block: &[u8], address: fn([u8; SIZE]) -> IpAddr) -> Option<Origin> {
    let (source, rest) = block.split_first_chunk::<SIZE>()?;
    let (destination, rest) = rest.split_first_chunk::<SIZE>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let destination_port = rest.first_chunk::<2>()?;
    Some(Origin::Forwarded {
        source: SocketAddr::new(address(*source), u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new(address(*destination), u16::from_be_bytes(*destination_port)),
    })
}

/// Walks the extensions of `header` from `place` to its end. None is understood but the checksum.
fn check_extensions(header: &[u8], mut place: usize) -> Result<(), Reject> {
    let mut checksum = None;
    while place < header.len() {
        let Some([kind, high, low]) = header[place..].first_chunk::<3>() else { return Err(BAD_EXTENSION) };
        let start = place + 3;
        place = start + usize::from(u16::from_be_bytes([*high, *low]));
        let value = header.get(start..place).ok_or(BAD_EXTENSION)?;
        if *kind == CHECKSUM {
            let stated = u32::from_be_bytes(value.try_into().map_err(|_| BAD_CHECKSUM)?);
            if checksum.replace((start, stated)).is_some() {
                return Err(BAD_CHECKSUM);
            }
        }
    }
    match checksum {
        // The sum was taken while its own place held zeros.
        Some((start, stated)) if crc32c([&header[..start], &[0; 4], &header[start + 4..]]) != stated => {
            Err(BAD_CHECKSUM)
        }
        _ => Ok(()),
    }
}

/// Appends a header of version 2, without extensions.
pub fn write(out: &mut Vec<u8>, origin: &Origin) {
    out.extend_from_slice(SIGNATURE);
    let (source, destination) = match origin {
        Origin::Local => return out.extend_from_slice(&[0x20, 0x00, 0, 0]),
        Origin::Unknown => return out.extend_from_slice(&[0x21, 0x00, 0, 0]),
        Origin::Forwarded { source, destination } => (source, destination),
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&as_ipv6(from).octets());
            out.extend_from_slice(&as_ipv6(to).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}
