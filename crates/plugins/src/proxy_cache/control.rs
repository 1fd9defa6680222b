//! What `Cache-Control` and its relatives say (RFC 9111 5).

use std::time::UNIX_EPOCH;

use plugin::{Headers, Known, media};

use super::store::Entry;

/// The directives of a request or a response that a shared cache heeds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Directives {
    /// Store nothing.
    pub no_store: bool,
    /// Use nothing that has not been checked with the upstream.
    pub no_cache: bool,
    /// Meant for one user.
    pub private: bool,
    /// Meant for everybody.
    pub public: bool,
    /// Never use it when it is no longer fresh.
    pub must_revalidate: bool,
    /// The same for shared caches; it does not say that the response may answer others (RFC 9111 3.5).
    pub proxy_revalidate: bool,
    /// Answer from the cache or not at all.
    pub only_if_cached: bool,
    /// Seconds.
    pub max_age: Option<u64>,
    /// Seconds, for shared caches.
    pub s_maxage: Option<u64>,
    /// Seconds that a response may be past its time.
    pub max_stale: Option<u64>,
    /// Seconds that a response must still be fresh.
    pub min_fresh: Option<u64>,
}

impl Directives {
    /// The directives in the `Cache-Control` fields.
    pub fn of(headers: &Headers) -> Self {
        let mut found = Self::default();
        for directive in headers.known_all(Known::CacheControl).flat_map(media::list) {
            let mut sides = directive.splitn(2, |byte| *byte == b'=');
            let name = sides.next().unwrap_or_default().trim_ascii();
            found.note(name, sides.next().map(|value| value.trim_ascii().trim_ascii()));
        }
        found
    }

    fn note(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // A lifetime that cannot be read is none; of two, the shorter counts (RFC 9111 4.2.1).
        let shorter = |known: Option<u64>| {
            let seconds = value.and_then(seconds).unwrap_or(0);
            Some(known.map_or(seconds, |known| known.min(seconds)))
        };
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            self.max_age = shorter(self.max_age);
        } else if is("s-maxage") {
            self.s_maxage = shorter(self.s_maxage);
        } else if is("max-stale") {
            self.max_stale = Some(value.map_or(u64::MAX, |value| seconds(value).unwrap_or(0)));
        } else if is("min-fresh") {
            self.min_fresh = Some(value.and_then(seconds).unwrap_or(u64::MAX));
        }
    }

    /// Seconds that a response with these directives is fresh that comes at `now`, in seconds since 1970 (RFC 9111 4.2.1).
    pub fn lifetime(&self, headers: &Headers, now: u64) -> u64 {
        if let Some(seconds) = self.s_maxage.or(self.max_age) {
            return seconds;
        }
        let made = headers.known(Known::Date).and_then(date).unwrap_or(now);
        let expires = headers.known_all(Known::Expires).last().and_then(date);
        expires.map_or(0, |expires| expires.saturating_sub(made))
    }

    /// Whether the response may answer requests with `Authorization` (RFC 9111 3.5).
    pub fn is_shareable(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// Whether the response may not be used when it is no longer fresh (RFC 9111 4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some()
    }

    /// Whether a request with these directives takes the stored response (RFC 9111 4.2, 5.2.1).
    pub fn accept(&self, entry: &Entry, now_ms: u64) -> bool {
        let age = entry.age(now_ms);
        if self.max_age.is_some_and(|most| age > most) {
            return false;
        }
        if age <= entry.ttl {
            return self.min_fresh.is_none_or(|least| entry.ttl - age >= least);
        }
        let late = age - entry.ttl;
        !entry.must_revalidate && self.min_fresh.is_none() && self.max_stale.is_some_and(|most| late <= most)
    }
}

/// The age a response had when it came in at `now`, in seconds since 1970: what caches before this one say, or what its `Date`
/// says where they say less (RFC 9111 4.2.3).
pub fn initial_age(headers: &Headers, now: u64) -> u64 {
    let told = headers.known(Known::Age).and_then(seconds).unwrap_or(0);
    let made = headers.known(Known::Date).and_then(date).unwrap_or(now);
    told.max(now.saturating_sub(made))
}

/// Delta-seconds, quoted or not; more than fit are as many as fit.
fn seconds(value: &[u8]) -> Option<u64> {
    let digits = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    Some(text.parse().unwrap_or(u64::from(u32::MAX)))
}

fn date(value: &[u8]) -> Option<u64> {
    let moment = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    moment.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(value: &str) -> Directives {
        let mut headers = Headers::new();
        headers.append("Cache-Control", value.as_bytes());
        Directives::of(&headers)
    }

    #[test]
    fn directives_are_read_in_any_case_and_malformed_lifetimes_are_none() {
        let read = directives("No-Store, MAX-AGE=\"5\" , s-maxage=x, max-stale, min-fresh=, foo=bar");
        assert!(read.no_store && !read.no_cache);
        assert_eq!((read.max_age, read.s_maxage), (Some(5), Some(0)));
        assert_eq!((read.max_stale, read.min_fresh), (Some(u64::MAX), Some(u64::MAX)));
        assert_eq!(directives("max-age=9, max-age=3").max_age, Some(3));
        assert_eq!(directives("max-age=99999999999999999999999").max_age, Some(u64::from(u32::MAX)));
        assert_eq!(directives("max-age=-1").max_age, Some(0));
    }

    #[test]
    fn lifetimes_have_an_order_of_precedence() {
        let mut headers = Headers::new();
        headers.append("Date", b"Thu, 01 Jan 2026 00:00:00 GMT");
        headers.append("Expires", b"Thu, 01 Jan 2026 00:01:00 GMT");
        assert_eq!(directives("s-maxage=1, max-age=2").lifetime(&headers, 0), 1);
        assert_eq!(directives("max-age=2").lifetime(&headers, 0), 2);
        assert_eq!(directives("public").lifetime(&headers, 0), 60);
        headers.append("Expires", b"0");
        assert_eq!(directives("public").lifetime(&headers, 0), 0);
    }
}
