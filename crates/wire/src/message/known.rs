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

/// Longest name above.
const LONGEST: usize = 32;
/// Most names above that share a length.
const WIDEST: usize = 12;

/// Candidates by length of the name; `Known::Other` ends a row.
const BY_LENGTH: [[Known; WIDEST]; LONGEST + 1] = by_length();

const fn by_length() -> [[Known; WIDEST]; LONGEST + 1] {
    let mut rows = [[Known::Other; WIDEST]; LONGEST + 1];
    let mut used = [0; LONGEST + 1];
    let mut index = 0;
    while index < NAMES.len() {
        let length = NAMES[index].len();
        // One place per row stays free, so that a row always ends; a breach stops the build.
        assert!(used[length] + 1 < WIDEST);
        rows[length][used[length]] = ALL[index];
        used[length] += 1;
        index += 1;
    }
    rows
}

impl Known {
    /// Every listed name, in order of declaration.
    pub const ALL: &'static [Known] = ALL;

    /// The canonical spelling; empty for `Other`.
    #[inline]
    pub fn as_str(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or("")
    }

    /// Classifies a name, whatever its case.
    #[inline]
    pub fn classify(name: &[u8]) -> Known {
        let Some(row) = BY_LENGTH.get(name.len()) else { return Known::Other };
        for &candidate in row {
            if candidate == Known::Other {
                break;
            }
            let canonical = candidate.as_str().as_bytes();
            // Names of one length differ early or late; two bytes tell nearly all of them apart.
            let differs = (name[name.len() - 1] ^ canonical[name.len() - 1]) & !0x20;
            if (name[0] ^ canonical[0]) & !0x20 == 0 && differs == 0 && name.eq_ignore_ascii_case(canonical) {
                return candidate;
            }
        }
        Known::Other
    }

    /// This name's bit in a set of names; none for `Other`.
    #[inline]
    pub(super) fn bit(self) -> u128 {
        if self == Known::Other { 0 } else { 1 << self as u8 }
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
        for name in
            ["", "Hosts", "Hos", "H\x4fs\x54x", "X-Forwarded-Fox", "Content_Length", "Content-Length "]
        {
            assert_eq!(Known::classify(name.as_bytes()), Known::Other, "{name:?}");
        }
        assert_eq!(Known::Other.as_str(), "");
    }
}
