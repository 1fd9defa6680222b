//! Which origins may use a service.

use plugin::BuildError;
use plugin::model::Value;
use regex::bytes::Regex;

/// The configured origins, ready to be compared.
pub(super) enum Origins {
    /// Any origin, whatever the request says.
    Any,
    /// This one is named whatever the request says.
    One(String),
    /// Any origin, but the response names none without one.
    AnyNamed,
    /// Those that one of these matches.
    Listed(Vec<Entry>),
}

/// One configured origin.
pub(super) enum Entry {
    /// Equal to this origin, default ports apart.
    Equal(Vec<u8>),
    /// The host matches.
    Host(Regex),
    /// The whole origin matches, default ports apart.
    Whole(Regex),
}

/// What `Access-Control-Allow-Origin` is to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Allowed<'a> {
    /// Any origin.
    Any,
    /// This origin.
    This(&'a [u8]),
    /// No origin.
    None,
}

impl Origins {
    pub(super) fn new(origins: &[String]) -> Result<Self, BuildError> {
        if let [] | ["*"] = origins.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            return Ok(Self::Any);
        }
        if let [one] = origins
            && is_literal(one)
        {
            return Ok(Self::One(one.clone()));
        }
        if origins.iter().any(|origin| origin == "*") {
            return Ok(Self::AnyNamed);
        }
        origins.iter().map(|origin| Entry::new(origin)).collect::<Result<_, _>>().map(Self::Listed)
    }

    /// Whether the answer depends on the request's `Origin`, as caches must be told.
    pub(super) fn depend_on_request(&self) -> bool {
        !matches!(self, Self::Any)
    }

    /// What a request with this `Origin` is to be told.
    pub(super) fn allowed<'a>(&'a self, origin: Option<&'a [u8]>) -> Allowed<'a> {
        match (self, origin) {
            (Self::Any, _) | (Self::AnyNamed, Some(_)) => Allowed::Any,
            (Self::One(one), _) => Allowed::This(one.as_bytes()),
            (Self::AnyNamed | Self::Listed(_), None) => Allowed::None,
            (Self::Listed(entries), Some(origin)) => {
                let (whole, host) = normalized(origin);
                let matches = entries.iter().any(|entry| entry.matches(whole, host));
                if matches { Allowed::This(whole) } else { Allowed::None }
            }
        }
    }
}

impl Entry {
    fn new(origin: &str) -> Result<Self, BuildError> {
        if is_literal(origin) {
            return Ok(Self::Equal(normalized(origin.as_bytes()).0.to_vec()));
        }
        let regex = anchored(origin).map_err(|message| BuildError::new("config.origins", message))?;
        Ok(if origin.contains(':') { Self::Whole(regex) } else { Self::Host(regex) })
    }

    fn matches(&self, whole: &[u8], host: &[u8]) -> bool {
        match self {
            Self::Equal(equal) => equal == whole,
            Self::Host(regex) => regex.is_match(host),
            Self::Whole(regex) => regex.is_match(whole),
        }
    }
}

/// A rule of the schema: each origin is `*`, a literal or a regular expression.
pub(super) fn check(origin: &Value) -> Result<(), String> {
    match origin.as_str() {
        Some(text) if text != "*" && !is_literal(text) => anchored(text).map(|_| ()),
        _ => Ok(()),
    }
}

fn is_literal(origin: &str) -> bool {
    !origin.is_empty() && origin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:/-".contains(&byte))
}

fn anchored(expression: &str) -> Result<Regex, String> {
    // Alone first: what is wrong on its own could still be right, and mean something else, between the anchors.
    let whole = Regex::new(expression).and_then(|_| Regex::new(&format!("^(?:{expression})$")));
    whole.map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("'{expression}' is not a valid regex ({reason})")
    })
}

/// An origin without its scheme's default port and without anything behind the authority, and its host. What is not
/// `scheme://authority` stands for both.
fn normalized(origin: &[u8]) -> (&[u8], &[u8]) {
    let Some(separator) = origin.windows(3).position(|window| window == b"://") else {
        return (origin, origin);
    };
    let start = separator + 3;
    let end =
        origin[start..].iter().position(|&byte| byte == b'/').map_or(origin.len(), |length| start + length);
    let authority = &origin[start..end];
    if authority.is_empty() || authority.contains(&b'@') {
        // Not an origin (RFC 6454 7): it must not match by what looks like its host.
        return (origin, origin);
    }
    let colon =
        authority.iter().rposition(|&byte| byte == b':').filter(|&colon| !authority[colon..].contains(&b']'));
    let Some(colon) = colon else { return (&origin[..end], authority) };
    let is_default = match &origin[..separator] {
        b"http" => &authority[colon..] == b":80",
        b"https" => &authority[colon..] == b":443",
        _ => false,
    };
    (&origin[..if is_default { start + colon } else { end }], &authority[..colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(origin: &str) -> (&str, &str) {
        let (whole, host) = normalized(origin.as_bytes());
        (std::str::from_utf8(whole).unwrap(), std::str::from_utf8(host).unwrap())
    }

    #[test]
    fn default_ports_and_paths_fall_away() {
        assert_eq!(parts("http://a.test"), ("http://a.test", "a.test"));
        assert_eq!(parts("http://a.test:80"), ("http://a.test", "a.test"));
        assert_eq!(parts("https://a.test:443/x"), ("https://a.test", "a.test"));
        assert_eq!(parts("https://a.test:80"), ("https://a.test:80", "a.test"));
        assert_eq!(parts("http://a.test/"), ("http://a.test", "a.test"));
        assert_eq!(parts("http://[::1]:80"), ("http://[::1]", "[::1]"));
        assert_eq!(parts("http://[::1]"), ("http://[::1]", "[::1]"));
        assert_eq!(parts("capacitor://localhost"), ("capacitor://localhost", "localhost"));
    }

    #[test]
    fn what_is_no_origin_stands_for_itself() {
        for text in ["null", "a.test", "a.test:80", "", "://", "http://", "https://a.test@evil.test"] {
            assert_eq!(parts(text), (text, text));
        }
    }
}
