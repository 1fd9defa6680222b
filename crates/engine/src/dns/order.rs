//! Which kinds of records names are asked for, in which order.

use std::str::FromStr;

/// What a name server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SRV records, which name hosts and ports.
    Services,
    /// The IPv4 addresses or, where there are none, the IPv6 addresses.
    Addresses,
}

/// The order of Kong's `dns_order`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The kinds to ask for, one after the other until there are records.
    pub(super) kinds: Vec<Kind>,
    /// Ask first for the kind that a name had last: a name with plain addresses costs no question about SRV records
    /// after its first lookup.
    pub(super) last_first: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self { kinds: vec![Kind::Services, Kind::Addresses], last_first: true }
    }
}

impl FromStr for Order {
    type Err = ();

    /// Reads words separated by commas. Aliases are followed wherever they are met, IPv4 is always preferred to IPv6.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut order = Self { kinds: Vec::new(), last_first: false };
        for word in text.split(',') {
            let kind = match word.trim().to_ascii_uppercase().as_str() {
                "LAST" => {
                    order.last_first = true;
                    continue;
                }
                "CNAME" => continue,
                "SRV" => Kind::Services,
                "A" => Kind::Addresses,
                "AAAA" if order.kinds.contains(&Kind::Addresses) => continue,
                _ => return Err(()),
            };
            if !order.kinds.contains(&kind) {
                order.kinds.push(kind);
            }
        }
        if order.kinds.is_empty() { Err(()) } else { Ok(order) }
    }
}
