//! A token (RFC 7519) of which few fields matter.

use std::borrow::Cow;
use std::fmt;

use plugin::jose::{Algorithm, Parts};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::times::{Moment, Times};

/// A token whose signature has not been looked at.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// Which credential it claims.
    pub(super) key: KeyClaim<'a>,
    pub(super) algorithm: Algorithm,
    pub(super) times: Times,
    /// The claims as JSON.
    pub(super) claims: &'a [u8],
    /// What the signature is about.
    pub(super) signed: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// The claim that names a credential.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyClaim<'a> {
    Absent,
    /// Empty, or not a string.
    Invalid,
    Text(Cow<'a, str>),
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    Json,
    Algorithm,
    /// The header demands an extension that is not understood (RFC 7515 4.1.11); none is.
    Extension,
    Claims,
    Signature,
}

impl Defect {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Json => "invalid JSON",
            Self::Algorithm => "invalid alg",
            Self::Extension => "unsupported extension",
            Self::Claims => "invalid claims",
            Self::Signature => "invalid signature",
        }
    }
}

impl<'a> Token<'a> {
    /// Takes `text` apart; `decoded` is memory for the parts.
    pub(super) fn decode(text: &'a [u8], key_claim: &str, decoded: &'a mut Vec<u8>) -> Result<Self, Defect> {
        let Parts { header, payload: claims, signature, signed } =
            Parts::decode(text, decoded).ok_or(Defect::Json)?;
        let header = Selected::parse(header, key_claim).map_err(|_| Defect::Json)?;
        if header.is_critical {
            return Err(Defect::Extension);
        }
        let selected = Selected::parse(claims, key_claim);
        let selected =
            selected.map_err(|error| if error.is_data() { Defect::Claims } else { Defect::Json })?;
        let algorithm = header.algorithm.text().and_then(Algorithm::named).ok_or(Defect::Algorithm)?;
        let signature = signature.ok_or(Defect::Signature)?;
        let key = match (selected.key, header.key) {
            (Scalar::Absent, Scalar::Absent) => KeyClaim::Absent,
            (Scalar::Text(key), _) | (Scalar::Absent, Scalar::Text(key)) if !key.is_empty() => {
                KeyClaim::Text(key)
            }
            _ => KeyClaim::Invalid,
        };
        Ok(Self { key, algorithm, times: selected.times, claims, signed, signature })
    }
}

/// The fields that matter, of the header or of the claims.
#[derive(Default)]
struct Selected<'a> {
    key: Scalar<'a>,
    algorithm: Scalar<'a>,
    times: Times,
    /// Whether there is a `crit`, whatever it holds.
    is_critical: bool,
}

impl<'a> Selected<'a> {
    fn parse(json: &'a [u8], key_claim: &str) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let selected = Select { key_claim }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(selected)
    }
}

/// A JSON value of which only strings and numbers are kept.
#[derive(Default, Clone)]
enum Scalar<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Number(f64),
    Other,
}

impl Scalar<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn moment(&self) -> Moment {
        match self {
            Self::Number(seconds) => Moment::At(*seconds),
            _ => Moment::NotANumber,
        }
    }
}

struct Select<'k> {
    key_claim: &'k str,
}

impl<'de> DeserializeSeed<'de> for Select<'_> {
    type Value = Selected<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Select<'_> {
    type Value = Selected<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut selected = Selected::default();
        while let Some(name) = entries.next_key::<Scalar<'de>>()? {
            let name = name.text().unwrap_or_default();
            selected.is_critical |= name == "crit";
            if name != self.key_claim && !matches!(name, "alg" | "exp" | "nbf") {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: Scalar<'de> = entries.next_value()?;
            match name {
                "alg" => selected.algorithm = value.clone(),
                "exp" => selected.times.exp = value.moment(),
                "nbf" => selected.times.nbf = value.moment(),
                _ => {}
            }
            if name == self.key_claim {
                selected.key = value;
            }
        }
        Ok(selected)
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

#[cfg(test)]
mod tests {
    use plugin::jose::to_base64url;

    use super::*;

    fn decode(header: &[u8], claims: &[u8]) -> Result<(), Defect> {
        let text = format!("{}.{}.AAAA", to_base64url(header), to_base64url(claims));
        Token::decode(text.as_bytes(), "iss", &mut Vec::new()).map(|_| ())
    }

    #[test]
    fn depth_and_size_do_not_overflow_the_stack() {
        let header = br#"{"alg":"HS256"}"#;
        let depth = 1_000_000;
        let nested = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(decode(header, nested.as_bytes()), Ok(()));
        for field in ["iss", "exp", "alg"] {
            let nested = format!("{{\"{field}\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(decode(header, nested.as_bytes()), Ok(()));
        }
        assert_eq!(decode(header, "{\"a\":".repeat(depth).as_bytes()), Err(Defect::Json));
        assert_eq!(decode(&b"[".repeat(depth), b"{}"), Err(Defect::Json));
    }

    #[test]
    fn extensions_that_are_not_understood_are_refused() {
        for member in
            [r#""crit":["b64"],"b64":false"#, r#""crit":[]"#, r#""crit":null"#, r#""cri\u0074":["exp"]"#]
        {
            let header = format!("{{\"alg\":\"HS256\",{member}}}");
            assert_eq!(decode(header.as_bytes(), b"{}"), Err(Defect::Extension), "{header}");
        }
        // A claim of that name demands nothing, and neither does a member of a member.
        assert_eq!(decode(br#"{"alg":"HS256","x":{"crit":["b64"]}}"#, br#"{"crit":["b64"]}"#), Ok(()));
    }

    #[test]
    fn escaped_names_and_values_count() {
        let text = format!(
            "{}.{}.",
            to_base64url(br#"{"\u0061lg":"HS\u003256"}"#),
            to_base64url(br#"{"i\u0073s":"\u00e9"}"#)
        );
        let mut decoded = Vec::new();
        let token = Token::decode(text.as_bytes(), "iss", &mut decoded).unwrap();
        assert_eq!(token.key, KeyClaim::Text("\u{e9}".into()));
    }

    #[test]
    fn padding_is_optional_and_other_alphabets_are_refused() {
        for (claims, outcome) in
            [("e30=", Ok(())), ("e30", Ok(())), ("e30==", Err(Defect::Json)), ("e3+/", Err(Defect::Json))]
        {
            let text = format!("{}.{claims}.", to_base64url(br#"{"alg":"HS256"}"#));
            assert_eq!(
                Token::decode(text.as_bytes(), "iss", &mut Vec::new()).map(|_| ()),
                outcome,
                "{claims}"
            );
        }
    }
}
