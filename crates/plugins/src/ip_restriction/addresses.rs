//! Sets of addresses: ranges, sorted and merged at reload, searched without memory.

use std::net::IpAddr;

use plugin::model::network;

/// Addresses, as ranges that do not touch each other, in order. An IPv4 address and the IPv6 address that maps it
/// (RFC 4291 2.5.5.2) are the same.
pub struct Addresses {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Addresses {
    /// The addresses that `entries` name, each an address or a CIDR range.
    ///
    /// # Errors
    /// The first entry that is neither.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for entry in entries {
            match range(entry).ok_or(entry)? {
                Range::V4(range) => v4.push(range),
                Range::V6(range) => v6.push(range),
            }
        }
        Ok(Self { v4: merged(v4), v6: merged(v6) })
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether `address` is among them.
    pub fn contain(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, address.to_bits()),
            IpAddr::V6(address) => holds(&self.v6, address.to_bits()),
        }
    }
}

enum Range {
    V4((u32, u32)),
    V6((u128, u128)),
}

fn range(entry: &str) -> Option<Range> {
    let (address, bits) = network::parse(entry)?;
    let bits = u32::from(bits);
    Some(match address {
        IpAddr::V4(address) => {
            let (address, rest) = (address.to_bits(), u32::MAX.checked_shr(bits).unwrap_or(0));
            Range::V4((address & !rest, address | rest))
        }
        IpAddr::V6(address) => {
            let (address, rest) = (address.to_bits(), u128::MAX.checked_shr(bits).unwrap_or(0));
            Range::V6((address & !rest, address | rest))
        }
    })
}

fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into_boxed_slice()
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|index| address <= ranges[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(entries: &[&str], address: &str) -> bool {
        Addresses::new(entries.iter().copied()).unwrap().contain(address.parse().unwrap())
    }

    #[test]
    fn ranges_end_where_their_bits_say() {
        let net = &["10.1.2.3/23"];
        for (address, inside) in
            [("10.1.1.255", false), ("10.1.2.0", true), ("10.1.3.255", true), ("10.1.4.0", false)]
        {
            assert_eq!(contain(net, address), inside, "{address}");
        }
        let net = &["2001:db8:0:8000::/49"];
        for (address, inside) in [
            ("2001:db8:0:7fff:ffff::", false),
            ("2001:db8:0:8000::", true),
            ("2001:db8:0:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1::", false),
        ] {
            assert_eq!(contain(net, address), inside, "{address}");
        }
        assert!(contain(&["192.0.2.7"], "192.0.2.7") && !contain(&["192.0.2.7"], "192.0.2.8"));
        assert!(contain(&["::1/128"], "::1") && !contain(&["::1"], "::2"));
    }

    #[test]
    fn everything_of_a_family_is_a_range() {
        assert!(contain(&["0.0.0.0/0"], "255.255.255.255") && contain(&["::/0"], "ffff::1"));
        assert!(!contain(&["0.0.0.0/0"], "::1") && !contain(&["::/0"], "127.0.0.1"));
    }

    #[test]
    fn a_mapped_address_is_the_one_it_maps() {
        assert!(contain(&["10.0.0.0/8"], "::ffff:10.1.2.3"));
        assert!(contain(&["::ffff:10.0.0.0/104"], "10.1.2.3"));
        assert!(!contain(&["::ffff:10.0.0.0/104"], "11.1.2.3"));
    }

    #[test]
    fn many_ranges_find_what_a_plain_search_finds() {
        // Overlapping, nested and repeated ranges over few addresses, against a look at each.
        let mut seed = 7u32;
        let mut next = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        for _ in 0..200 {
            let entries: Vec<String> =
                (0..next(12)).map(|_| format!("10.0.0.{}/{}", next(256), 24 + next(9))).collect();
            let set = Addresses::new(entries.iter().map(String::as_str)).unwrap();
            for last in 0..=255u32 {
                let address = IpAddr::from([10, 0, 0, u8::try_from(last).unwrap()]);
                let plain = entries.iter().any(|entry| {
                    let (net, bits) = entry.split_once('/').unwrap();
                    let net: u32 = net.rsplit_once('.').unwrap().1.parse().unwrap();
                    let shift = 32 - bits.parse::<u32>().unwrap();
                    net >> shift == last >> shift
                });
                assert_eq!(set.contain(address), plain, "{address} in {entries:?}");
            }
        }
    }

    #[test]
    fn what_is_no_range_is_named() {
        for entry in ["10.0.0.0/33", "::/129", "10.0.0", "", "10.0.0.1/", "host"] {
            assert_eq!(Addresses::new(["127.0.0.1", entry]).err(), Some(entry));
        }
    }
}
