//! Credentials in the fields `Authorization` and `Proxy-Authorization` (RFC 9110 11.6.2, 11.7.2): a scheme, and what
//! follows it. Nothing is allocated for a login of usual length.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use smallvec::SmallVec;
use wire::{Headers, Known};

/// The fields, in the order in which Kong's plugins try them.
pub const FIELDS: [Known; 2] = [Known::ProxyAuthorization, Known::Authorization];

/// Base64 of the standard alphabet, with its padding or without.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What follows `scheme`, of any case, in the value of a field; none where the value has another scheme.
#[must_use]
pub fn credentials<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    let (start, rest) = value.split_at_checked(scheme.len())?;
    if !start.eq_ignore_ascii_case(scheme.as_bytes()) {
        return None;
    }
    match rest.first() {
        None => Some(rest),
        Some(b' ' | b'\t') => Some(rest.trim_ascii_start()),
        Some(_) => None,
    }
}

/// A username and a password, as Base64 text holds them with a colon between (RFC 7617 2).
pub struct Login {
    text: SmallVec<[u8; 128]>,
    colon: usize,
}

impl Login {
    /// The login in `encoded`; none where that is no Base64 text, or has no colon, or no username before it.
    #[must_use]
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        let mut text = SmallVec::new();
        text.resize(base64::decoded_len_estimate(encoded.len()), 0);
        let length = BASE64.decode_slice(encoded, &mut text).ok()?;
        text.truncate(length);
        let colon = memchr::memchr(b':', &text).filter(|colon| *colon > 0)?;
        Some(Self { text, colon })
    }

    /// The login with `scheme` in the first field that has one. A field that occurs several times has none: nobody
    /// could say which of them another party would read.
    #[must_use]
    pub fn find(headers: &Headers, scheme: &str) -> Option<Self> {
        FIELDS.into_iter().find_map(|field| {
            let mut values = headers.known_all(field);
            let value = values.next().filter(|_| values.next().is_none())?;
            Self::decode(credentials(value, scheme)?)
        })
    }

    /// The text before the first colon, not empty.
    #[must_use]
    pub fn username(&self) -> &[u8] {
        &self.text[..self.colon]
    }

    /// The text behind the first colon.
    #[must_use]
    pub fn password(&self) -> &[u8] {
        &self.text[self.colon + 1..]
    }
}

/// Removes the fields that hold credentials of `scheme`, whatever they are worth. Those of other schemes are for others.
pub fn hide(headers: &mut Headers, scheme: &str) {
    for field in FIELDS {
        if headers.known_all(field).any(|value| credentials(value, scheme).is_some()) {
            headers.remove_known(field);
        }
    }
}

/// A field with a token for the upstream: its name, and what stands before the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenField {
    /// The name.
    pub name: String,
    prefix: String,
}

impl TokenField {
    /// A name, or a name and a scheme with a colon between: `Authorization:Bearer`.
    ///
    /// # Errors
    /// It cannot be the name of a field that a room may set.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, scheme) = text.split_once(':').unwrap_or((text, ""));
        let prefix = if scheme.is_empty() { String::new() } else { format!("{scheme} ") };
        let is_free = matches!(Known::classify(name.as_bytes()), Known::Other | Known::Authorization);
        match is_free && Headers::new().set(name, format!("{prefix}x").as_bytes()) {
            true => Ok(Self { name: name.to_owned(), prefix }),
            false => Err(format!("'{text}' cannot be the name of a header with a token")),
        }
    }

    /// Its value with `token`.
    #[must_use]
    pub fn value(&self, token: &[u8]) -> Box<[u8]> {
        [self.prefix.as_bytes(), token].concat().into()
    }
}

/// A challenge for the field `WWW-Authenticate`: the scheme, and the protection space if there is one.
#[must_use]
pub fn challenge(scheme: &str, realm: Option<&str>) -> String {
    realm.map_or_else(|| scheme.to_owned(), |realm| format!("{scheme} realm=\"{realm}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(value: &str) -> Option<(String, String)> {
        let mut headers = Headers::new();
        headers.append_known(Known::Authorization, value.as_bytes());
        let login = Login::find(&headers, "basic")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some((text(login.username()), text(login.password())))
    }

    fn pair(username: &str, password: &str) -> Option<(String, String)> {
        Some((username.to_owned(), password.to_owned()))
    }

    #[test]
    fn a_password_may_hold_colons_and_be_long_or_empty() {
        assert_eq!(login("Basic dTpwOnc="), pair("u", "p:w"));
        assert_eq!(login("bAsIc \t dTpwOnc"), pair("u", "p:w"));
        assert_eq!(login("Basic dTo="), pair("u", ""));
        let long = "x".repeat(5000);
        assert_eq!(login(&format!("Basic {}", BASE64.encode(format!("u:{long}")))), pair("u", &long));
    }

    #[test]
    fn what_is_no_login_is_none() {
        let values = [
            "",
            "Basic",
            "Basic ",
            "BasicdTpw",
            "Bearer dTpw",
            "Basic dT",
            "Basic OnB3",
            "Basic !",
            "Basic dTpw x",
        ];
        for value in values {
            assert_eq!(login(value), None, "{value}");
        }
    }

    #[test]
    fn the_proxys_field_is_tried_first_and_a_field_given_twice_is_none() {
        let mut headers = Headers::new();
        headers.append_known(Known::Authorization, b"Basic dTpw");
        headers.append_known(Known::ProxyAuthorization, b"Basic djpw");
        let username =
            |headers: &Headers| Login::find(headers, "basic").map(|login| login.username().to_vec());
        assert_eq!(username(&headers), Some(b"v".to_vec()));
        headers.append_known(Known::ProxyAuthorization, b"Basic djpw");
        assert_eq!(username(&headers), Some(b"u".to_vec()));
        hide(&mut headers, "basic");
        assert!(headers.is_empty());
        headers.append_known(Known::Authorization, b"Bearer dTpw");
        hide(&mut headers, "basic");
        assert_eq!(headers.len(), 1, "another scheme is somebody else's");
    }
}
