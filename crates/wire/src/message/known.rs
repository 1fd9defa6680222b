//! Header names the gateway asks for often, told apart once so that later look-ups compare one byte.

macro_rules! known {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// The classification of a header name; `Other` is every name not listed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known { $(#[doc = concat!("`", $name, "`")] $variant,)+
            /// Any other name.
            Other,
        }

        const ALL: &[Known] = &[$(Known::$variant),+];
        const NAMES: &[&str] = &[$($name),+];
        const LOWER: &[&[u8]] = &[$(&lower_case::<{ $name.len() }>($name)),+];
    };
}

known! {
    Host = "Host",
    Connection = "Connection",
    ContentLength = "Content-Length",
    TransferEncoding = "Transfer-Encoding",
    TE = "TE",
    Trailer = "Trailer",
    Upgrade = "Upgrade",
    Expect = "Expect",
    KeepAlive = "Keep-Alive",
    ProxyConnection = "Proxy-Connection",
    Proxy = "Proxy",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    Via = "Via",
    Forwarded = "Forwarded",
    XForwardedFor = "X-Forwarded-For",
    XForwardedProto = "X-Forwarded-Proto",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedPort = "X-Forwarded-Port",
    XForwardedPath = "X-Forwarded-Path",
    XForwardedPrefix = "X-Forwarded-Prefix",
    XRealIp = "X-Real-IP",
    XRequestId = "X-Request-Id",
    XKongRequestId = "X-Kong-Request-Id",
    XKongUpstreamLatency = "X-Kong-Upstream-Latency",
    XKongProxyLatency = "X-Kong-Proxy-Latency",
    XKongResponseLatency = "X-Kong-Response-Latency",
    XKongUpstreamStatus = "X-Kong-Upstream-Status",
    XConsumerId = "X-Consumer-ID",
    XConsumerCustomId = "X-Consumer-Custom-ID",
    XConsumerUsername = "X-Consumer-Username",
    XCredentialIdentifier = "X-Credential-Identifier",
    XAnonymousConsumer = "X-Anonymous-Consumer",
    XConsumerGroups = "X-Consumer-Groups",
    XAuthenticatedGroups = "X-Authenticated-Groups",
    XAuthenticatedScope = "X-Authenticated-Scope",
    XAuthenticatedUserId = "X-Authenticated-UserId",
    Authorization = "Authorization",
    WwwAuthenticate = "WWW-Authenticate",
    ApiKey = "apikey",
    Cookie = "Cookie",
    SetCookie = "Set-Cookie",
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    Allow = "Allow",
    Age = "Age",
    CacheControl = "Cache-Control",
    ContentEncoding = "Content-Encoding",
    ContentLanguage = "Content-Language",
    ContentRange = "Content-Range",
    ContentType = "Content-Type",
    Date = "Date",
    ETag = "ETag",
    Expires = "Expires",
    IfMatch = "If-Match",
    IfModifiedSince = "If-Modified-Since",
    IfNoneMatch = "If-None-Match",
    LastModified = "Last-Modified",
    Location = "Location",
    Origin = "Origin",
    Pragma = "Pragma",
    Range = "Range",
    Referer = "Referer",
    RetryAfter = "Retry-After",
    XCorrelationId = "X-Correlation-ID",
    KongRequestId = "Kong-Request-ID",
    XRateLimitLimitSecond = "X-RateLimit-Limit-Second",
    XRateLimitLimitMinute = "X-RateLimit-Limit-Minute",
    XRateLimitLimitHour = "X-RateLimit-Limit-Hour",
    XRateLimitLimitDay = "X-RateLimit-Limit-Day",
    XRateLimitLimitMonth = "X-RateLimit-Limit-Month",
    XRateLimitLimitYear = "X-RateLimit-Limit-Year",
    XRateLimitRemainingSecond = "X-RateLimit-Remaining-Second",
    XRateLimitRemainingMinute = "X-RateLimit-Remaining-Minute",
    XRateLimitRemainingHour = "X-RateLimit-Remaining-Hour",
    XRateLimitRemainingDay = "X-RateLimit-Remaining-Day",
    XRateLimitRemainingMonth = "X-RateLimit-Remaining-Month",
    XRateLimitRemainingYear = "X-RateLimit-Remaining-Year",
    RateLimitLimit = "RateLimit-Limit",
    RateLimitRemaining = "RateLimit-Remaining",
    RateLimitReset = "RateLimit-Reset",
    SecWebSocketKey = "Sec-WebSocket-Key",
    Server = "Server",
    UserAgent = "User-Agent",
    Vary = "Vary",
    XCacheKey = "X-Cache-Key",
    XCacheStatus = "X-Cache-Status",
    AccessControlAllowOrigin = "Access-Control-Allow-Origin",
    AccessControlRequestMethod = "Access-Control-Request-Method",
}

const fn lower_case<const LENGTH: usize>(name: &str) -> [u8; LENGTH] {
    let mut lower = [0; LENGTH];
    let mut index = 0;
    while index < LENGTH {
        lower[index] = name.as_bytes()[index].to_ascii_lowercase();
        index += 1;
    }
    lower
}

/// Longest name above.
const LONGEST: usize = 32;

/// Places of the hash table, about seven for each name.
const PLACES: usize = 512;

/// Multiplier under which no two names above share a place. Should a new name collide, the build stops: take
/// another odd number.
const SPREAD: u32 = 0xc728_2e67;

/// The only candidate at each place, or `Known::Other`.
const TABLE: [Known; PLACES] = {
    let mut table = [Known::Other; PLACES];
    let mut index = 0;
    while index < NAMES.len() {
        assert!(NAMES[index].len() <= LONGEST);
        let place = place(NAMES[index].as_bytes());
        assert!(matches!(table[place], Known::Other), "two names share a place");
        table[place] = ALL[index];
        index += 1;
    }
    table
};

/// Where a non-empty name belongs: by its length and three of its letters, whatever their case.
#[inline]
const fn place(name: &[u8]) -> usize {
    let length = name.len();
    let letters =
        [length as u8, name[length / 3] | 0x20, name[length * 7 / 8] | 0x20, name[length - 1] | 0x20];
    (u32::from_le_bytes(letters).wrapping_mul(SPREAD) >> (32 - PLACES.trailing_zeros())) as usize
}

/// Whether the token `name` is `canonical` in any case. Setting 0x20 makes the two cases of a letter alike and
/// turns no other byte of a token into a letter, digit or hyphen, so eight bytes can be compared at once.
#[inline]
fn is_spelling(name: &[u8], canonical: &[u8]) -> bool {
    if name.len() != canonical.len() {
        return false;
    }
    let (Some((_, last)), Some((_, canonical_last))) =
        (name.split_last_chunk::<8>(), canonical.split_last_chunk::<8>())
    else {
        return name.iter().zip(canonical).all(|(byte, other)| byte | 0x20 == other | 0x20);
    };
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes) | 0x2020_2020_2020_2020;
    let (words, canonical_words) = (name.as_chunks::<8>().0, canonical.as_chunks::<8>().0);
    // The last eight bytes overlap the word before when the length is no multiple of eight.
    word(last) == word(canonical_last)
        && words.iter().zip(canonical_words).all(|(bytes, others)| word(bytes) == word(others))
}

impl Known {
    /// Every listed name, in order of declaration.
    pub const ALL: &'static [Known] = ALL;

    /// The name in lower case; empty for `Known::Other`.
    #[inline]
    pub fn lower_case(self) -> &'static [u8] {
        LOWER.get(self as usize).copied().unwrap_or_default()
    }

    /// The canonical spelling; empty for `Other`.
    #[inline]
    pub fn as_str(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or("")
    }

    /// Classifies a name, whatever its case. `name` is taken to be a token, as every checked field name is.
    #[inline]
    pub fn classify(name: &[u8]) -> Known {
        if name.is_empty() || name.len() > LONGEST {
            return Known::Other;
        }
        let candidate = TABLE[place(name)];
        if is_spelling(name, candidate.as_str().as_bytes()) { candidate } else { Known::Other }
    }

    /// This name's bit in a set of names.
    #[inline]
    pub(super) fn bit(self) -> u128 {
        1 << self as u8
    }

    /// Whether the field belongs to one connection and is never forwarded (RFC 9110 7.6.1), apart from the
    /// names listed in `Connection`.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TE
                | Known::Trailer
                | Known::TransferEncoding
                | Known::Upgrade
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        assert!(ALL.len() < 128, "one bit each in a u128");
        for &known in ALL {
            let name = known.as_str();
            assert_eq!(Known::classify(name.as_bytes()), known);
            assert_eq!(Known::classify(name.to_ascii_lowercase().as_bytes()), known);
            assert_eq!(Known::classify(name.to_ascii_uppercase().as_bytes()), known);
        }
    }

    #[test]
    fn near_misses_are_other() {
        for name in [
            "",
            "Hosts",
            "Hos",
            "H\x4fs\x54x",
            "X-Forwarded-Fox",
            "Content_Length",
            "Content-Length ",
            "Content-Lengti",
            "Xontent-Length",
            "T~",
        ] {
            assert_eq!(Known::classify(name.as_bytes()), Known::Other, "{name:?}");
        }
        assert_eq!(Known::Other.as_str(), "");
    }
}
