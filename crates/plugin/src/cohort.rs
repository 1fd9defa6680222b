//! Cohorts: which part of the traffic a request belongs to. The same key is in the same place always: for every worker,
//! process and version of the gateway, so that nobody moves between two releases because something was restarted.

use wire::Known;

use crate::exchange::Exchange;

/// What of a request decides on its cohort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The consumer; the client's address where there is none.
    Consumer,
    /// The client's address.
    Ip,
    /// The first field of that name; the client's address where there is none.
    Header(Box<str>),
    /// The cookie of that name; the client's address where there is none.
    Cookie(Box<str>),
    /// Nothing: each request is on its own.
    Nothing,
}

impl Key {
    /// Where the request stands between nothing and everything, in 2^64ths. `salt` keeps one use apart from another.
    #[must_use]
    pub fn place(&self, exchange: &Exchange, salt: &str) -> u64 {
        let headers = &exchange.request.headers;
        let found = match self {
            Self::Nothing => return exchange.worker.random(),
            Self::Consumer => {
                let consumer = exchange.identity.consumer_id();
                return consumer.map_or_else(|| of_address(exchange, salt), |id| place(salt, id.as_bytes()));
            }
            Self::Ip => None,
            Self::Header(name) => headers.get(name),
            Self::Cookie(name) => cookie(exchange, name),
        };
        found.map_or_else(|| of_address(exchange, salt), |key| place(salt, key))
    }
}

/// Which of `parts` equal parts `place` is in, below `parts`.
#[must_use]
pub fn part(place: u64, parts: u64) -> u64 {
    ((u128::from(place) * u128::from(parts)) >> 64) as u64
}

/// The place of a key: FNV-1a, finished as SplitMix64 is (both public domain). Part of what users rely on: a change
/// would move everybody.
#[must_use]
pub fn place(salt: &str, key: &[u8]) -> u64 {
    let bytes = salt.as_bytes().iter().chain(&[0xff]).chain(key);
    let mut bits = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |bits, byte| {
        (bits ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The value of the first cookie called `name` (RFC 6265 5.4).
#[must_use]
pub fn cookie<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a [u8]> {
    let lines = exchange.request.headers.known_all(Known::Cookie);
    let mut pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn of_address(exchange: &Exchange, salt: &str) -> u64 {
    match exchange.client.ip.to_canonical() {
        std::net::IpAddr::V4(ip) => place(salt, &ip.octets()),
        std::net::IpAddr::V6(ip) => place(salt, &ip.octets()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::rc::Rc;

    use super::{Key, part, place};
    use crate::clock::Clock;
    use crate::exchange::{Client, Exchange};
    use crate::services::{Services, Worker};

    /// A request from an address, with these fields.
    fn request(ip: &str, fields: &[(&str, &str)]) -> Exchange {
        let worker = Worker::new(0, Services::new(1, Clock::fixed(0), false));
        let client = Client { ip: ip.parse().unwrap(), ..Client::default() };
        let mut exchange = Exchange::new(Rc::new(worker), client);
        for (name, value) in fields {
            exchange.request.headers.append(name, value.as_bytes());
        }
        exchange
    }

    #[test]
    fn a_key_is_what_it_says_and_the_address_where_that_is_absent() {
        let here = |key: &Key, fields: &[(&str, &str)]| key.place(&request("192.0.2.1", fields), "s");
        let address = place("s", &[192, 0, 2, 1]);
        assert_eq!(here(&Key::Ip, &[]), address);
        assert_eq!(Key::Ip.place(&request("::ffff:192.0.2.1", &[]), "s"), address, "the same client");
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        let IpAddr::V6(octets) = six else { panic!("{six}") };
        assert_eq!(Key::Ip.place(&request("2001:db8::1", &[]), "s"), place("s", &octets.octets()));
        let (header, cookie) = (Key::Header("X-User".into()), Key::Cookie("id".into()));
        assert_eq!(here(&header, &[("x-user", "alice")]), place("s", b"alice"));
        assert_eq!(here(&cookie, &[("Cookie", "a=b; id=alice")]), place("s", b"alice"));
        for key in [header, cookie, Key::Consumer] {
            assert_eq!(here(&key, &[("Cookie", "ids=alice; xid=alice")]), address, "{key:?}");
        }
        assert_ne!(here(&Key::Nothing, &[]), here(&Key::Nothing, &[]));
    }

    #[test]
    fn places_stay_where_they_are() {
        // Found once; they must never change.
        assert_eq!(place("", b"alice"), 0xffab_0826_aeac_7ba4);
        assert_eq!(place("checkout", b"alice"), 0xfe76_cb26_e7e0_1040);
    }

    #[test]
    fn keys_are_spread_evenly() {
        let mut counts = [0_u32; 10];
        for number in 0..10_000_u32 {
            counts[part(place("", number.to_string().as_bytes()), 10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!((part(0, 10), part(u64::MAX, 10)), (0, 9));
    }
}
