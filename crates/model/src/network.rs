//! Addresses and ranges of addresses, as settings and entities write them.

use std::net::IpAddr;

/// Bits before the IPv4 address in an IPv6 address that maps it.
const MAPPED_BITS: u8 = 96;

/// Reads an address or a range such as `10.0.0.0/8`: an address in it, and how many bits the others begin with in common, all of
/// them for an address. One that maps IPv4 addresses (RFC 4291 2.5.5.2) is the range of those. None if it is neither.
#[must_use]
pub fn parse(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let (width, mapped) = match address {
        IpAddr::V4(_) => (32, None),
        IpAddr::V6(address) => (128, address.to_ipv4_mapped()),
    };
    let bits = bits.unwrap_or(width);
    match mapped {
        _ if bits > width => None,
        Some(mapped) if bits >= MAPPED_BITS => Some((mapped.into(), bits - MAPPED_BITS)),
        _ => Some((address, bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_mapped_addresses_is_one_of_those_they_map() {
        let read = |text: &str| parse(text).map(|(address, bits)| format!("{address}/{bits}"));
        for (text, expected) in [
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("10.1.0.1", "10.1.0.1/32"),
            ("::1", "::1/128"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::ffff:10.1.0.1", "10.1.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::ffff:0.0.0.0/95"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["10.0.0.0/33", "::/129", "::ffff:10.0.0.0/129", "10.0.0", "", "10.0.0.1/", "host"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
