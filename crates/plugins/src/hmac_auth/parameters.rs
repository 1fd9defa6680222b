//! What a signature says about itself: the parameters behind the scheme `hmac`
//! (draft-cavage-http-signatures 3.1, with Kong's `username` in place of `keyId`).

use plugin::Headers;
use plugin::authorization::{FIELDS, credentials};

use super::signature::Algorithm;

/// Names that may be signed at most.
const MOST_NAMES: usize = 64;

/// The parameters of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parameters<'v> {
    pub(super) username: &'v str,
    pub(super) algorithm: Algorithm,
    headers: &'v str,
    /// Base64 text.
    pub(super) signature: &'v str,
}

impl<'v> Parameters<'v> {
    /// The parameters in the first field that has good ones. A field that occurs twice has none.
    pub(super) fn find(headers: &'v Headers) -> Option<Self> {
        FIELDS.into_iter().find_map(|field| {
            let mut values = headers.known_all(field);
            let value = values.next().filter(|_| values.next().is_none())?;
            Self::parse(credentials(value, "hmac")?)
        })
    }

    /// Reads `name="value"` pairs with commas between; none where one is unknown, missing or there twice. Without
    /// `headers`, the date is signed (2.1.6).
    fn parse(text: &'v [u8]) -> Option<Self> {
        let mut rest = std::str::from_utf8(text).ok()?.trim();
        let (mut username, mut algorithm, mut headers, mut signature) = (None, None, None, None);
        loop {
            let (name, behind) = rest.split_once('=')?;
            let (value, behind) = behind.trim_start().strip_prefix('"')?.split_once('"')?;
            let place = match name.trim() {
                "username" => &mut username,
                "algorithm" => &mut algorithm,
                "headers" => &mut headers,
                "signature" => &mut signature,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
            rest = behind.trim_start();
            if rest.is_empty() {
                break;
            }
            rest = rest.strip_prefix(',')?.trim_start();
        }
        let parameters = Self {
            username: username.filter(|username| !username.is_empty())?,
            algorithm: Algorithm::named(algorithm?)?,
            headers: headers.unwrap_or("date"),
            signature: signature?,
        };
        let names = parameters.names().count();
        (1..=MOST_NAMES).contains(&names).then_some(parameters)
    }

    /// What is signed, in order: names of fields, `request-line` or `@request-target`.
    pub(super) fn names(&self) -> impl Iterator<Item = &'v str> {
        self.headers.split(' ').filter(|name| !name.is_empty())
    }

    /// Whether `name` is signed.
    pub(super) fn signs(&self, name: &str) -> bool {
        self.names().any(|signed| signed.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_in_any_order() {
        let usual = Parameters::parse(
            br#"username="u", algorithm="hmac-sha256", headers="date request-line", signature="c2ln""#,
        );
        assert!(usual.is_some_and(|it| it.names().eq(["date", "request-line"]) && it.signs("Date")));
        let other =
            br#"signature="c2ln",headers="date  request-line" , algorithm = "hmac-sha256",username="u" "#;
        assert!(Parameters::parse(other).is_some_and(|it| it.names().eq(["date", "request-line"])));
        let least = Parameters::parse(br#"username="a=b,c",algorithm="hmac-sha512",signature="""#);
        assert!(least.is_some_and(|it| it.username == "a=b,c" && it.names().eq(["date"])));
    }

    #[test]
    fn what_is_not_quite_parameters_is_none() {
        let good = r#"username="u", algorithm="hmac-sha256", headers="date", signature="c2ln""#;
        assert!(Parameters::parse(good.as_bytes()).is_some());
        for (from, to) in [
            ("username=\"u\", ", ""),
            ("username=\"u\"", "username=\"\""),
            ("username=\"u\"", "username=\"u\", username=\"u\""),
            ("username", "keyId"),
            ("algorithm=\"hmac-sha256\", ", ""),
            ("hmac-sha256", "none"),
            ("hmac-sha256", "hs2019"),
            (", signature=\"c2ln\"", ""),
            ("headers=\"date\"", "headers=\" \""),
            ("headers=\"date\"", "expires=\"1\", headers=\"date\""),
            ("\"u\",", "\"u\""),
            ("c2ln\"", "c2ln"),
            ("c2ln\"", "c2ln\","),
            ("=\"u\"", "=u"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(Parameters::parse(bad.as_bytes()), None, "{bad}");
        }
        let many = good.replace("date", &"a ".repeat(65));
        assert_eq!(Parameters::parse(many.as_bytes()), None);
        assert_eq!(Parameters::parse(b"\xff"), None);
    }
}
