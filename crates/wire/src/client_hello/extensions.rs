//! The extensions of a ClientHello: the two that routing asks for are read, all others are passed over. Each may
//! stand there once (RFC 8446 4.2).

use super::reader::Reader;
use super::{ClientHello, MALFORMED, Reject};
use std::net::Ipv4Addr;

const REPEATED: Reject = Reject::new("TLS extension given twice (RFC 8446 4.2)");
const BAD_SERVER_NAME: Reject = Reject::new("malformed server_name extension (RFC 6066 3)");
const SEVERAL_NAMES: Reject = Reject::new("server_name extension without exactly one name (RFC 6066 3)");
const NO_HOST_NAME: Reject = Reject::new("server_name that is no DNS name (RFC 6066 3)");
const BAD_PROTOCOLS: Reject = Reject::new("malformed ALPN extension (RFC 7301 3.1)");

const SERVER_NAME: u16 = 0;
const PROTOCOLS: u16 = 16;
/// The only type of a server name there is.
const HOST_NAME: u8 = 0;

/// Reads the extensions in `block`.
pub(super) fn parse(block: &[u8]) -> Result<ClientHello, Reject> {
    let mut reader = Reader::new(block);
    let mut hello = ClientHello::default();
    let mut kinds = Vec::new();
    while !reader.is_empty() {
        let (kind, data) = reader.number().zip(reader.long_vector()).ok_or(MALFORMED)?;
        match kind {
            SERVER_NAME => hello.server_name = Some(server_name(data)?),
            PROTOCOLS => hello.protocols = protocols(data).ok_or(BAD_PROTOCOLS)?,
            _ => {}
        }
        kinds.push(kind);
    }
    kinds.sort_unstable();
    if kinds.windows(2).any(|pair| pair[0] == pair[1]) { Err(REPEATED) } else { Ok(hello) }
}

fn server_name(data: &[u8]) -> Result<String, Reject> {
    let mut reader = Reader::new(data);
    let list = reader.long_vector().filter(|_| reader.is_empty()).ok_or(BAD_SERVER_NAME)?;
    let mut names = Reader::new(list);
    if names.is_empty() {
        return Err(SEVERAL_NAMES);
    }
    let (kind, name) = names.octet().zip(names.long_vector()).ok_or(BAD_SERVER_NAME)?;
    if kind != HOST_NAME || !names.is_empty() {
        return Err(SEVERAL_NAMES);
    }
    host_name(name).ok_or(NO_HOST_NAME)
}

/// A DNS name in lower case: labels of letters, digits, hyphens and underscores (which many hosts have), no dot at
/// the end, no address.
fn host_name(bytes: &[u8]) -> Option<String> {
    let sound = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with(b"-")
            && !label.ends_with(b"-")
    };
    if bytes.len() > 253 || !bytes.split(|byte| *byte == b'.').all(sound) {
        return None;
    }
    let name = std::str::from_utf8(bytes).ok()?.to_ascii_lowercase();
    name.parse::<Ipv4Addr>().is_err().then_some(name)
}

/// The protocols of a list that holds at least one, none of them empty.
fn protocols(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut reader = Reader::new(data);
    let list = reader.long_vector().filter(|list| reader.is_empty() && !list.is_empty())?;
    let mut names = Reader::new(list);
    let mut protocols = Vec::new();
    while !names.is_empty() {
        protocols.push(names.short_vector().filter(|name| !name.is_empty())?.to_vec());
    }
    Some(protocols)
}
