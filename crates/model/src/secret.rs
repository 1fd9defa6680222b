//! Secrets by reference: `{vault://...}` in place of a value (kong.md 1.8), and a text that is never printed.
//!
//! Nothing here looks a secret up: that is for whoever implements [`Vaults`].

use std::fmt::{self, Debug, Formatter};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::entity::VaultConfig;
use crate::schema::Record;

/// A text that no message, log line or `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Keeps `text` to itself.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Debug for Secret {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

/// The kinds of vaults there are; each may be referred to by its name, with its usual settings.
pub const KINDS: [&str; 3] = ["env", "file", "hcv"];

/// The kind whose settings may themselves be secrets, held by vaults of the other kinds.
pub const HASHICORP: &str = "hcv";

/// What a reference names: `{vault://<vault>/<resource>[/<key>][?prefix=...&ttl=...][#<version>]}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretReference {
    /// The kind of vault, or the prefix of a vault entity.
    pub vault: String,
    /// What is looked up there.
    pub resource: String,
    /// The member of the resource, which is a JSON object then.
    pub key: Option<String>,
    /// Which version of it.
    pub version: Option<u32>,
    /// Settings that differ from the vault's: `prefix`, `ttl`, `neg_ttl` and `resurrect_ttl`.
    pub options: Vec<(String, String)>,
}

/// A look-up that is to be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// The vault's settings, with those of the reference.
    pub config: VaultConfig,
    /// What is looked up.
    pub resource: String,
    /// Which version of it; the newest without one.
    pub version: Option<u32>,
}

/// Whoever can look secrets up.
pub trait Vaults {
    /// The texts of resources, in their order. Whoever has to ask somebody does so for all of them at once.
    ///
    /// # Errors
    /// Why there is none, for each; never with anything of a secret in it.
    fn read(&self, wanted: &[&Wanted]) -> Vec<Result<Secret, String>>;

    /// The settings of a vault that is named by its kind, in the form of those of an entity.
    fn usual(&self, _kind: &str) -> Value {
        Value::Null
    }
}

/// No vault at all: every reference is wrong.
#[derive(Debug, Clone, Copy)]
pub struct NoVaults;

impl Vaults for NoVaults {
    fn read(&self, wanted: &[&Wanted]) -> Vec<Result<Secret, String>> {
        wanted.iter().map(|_| Err("no secrets are looked up here".to_owned())).collect()
    }
}

/// A secret that a configuration holds, and how it was come by.
#[derive(Debug, Clone)]
pub struct Found {
    /// The reference as it is written.
    pub reference: String,
    /// How it is looked up.
    pub wanted: Wanted,
    /// The member of the resource.
    pub key: Option<String>,
    /// What was found.
    pub value: Secret,
}

impl Found {
    /// What the reference means when the resource it names is `text`.
    ///
    /// # Errors
    /// Why it means nothing; never with anything of a secret in it.
    pub fn meaning(&self, text: Secret) -> Result<Secret, String> {
        meaning(&self.wanted, self.key.as_deref(), text)
    }

    /// How long the value holds; none where that is for the gateway to say.
    #[must_use]
    pub fn time_to_live(&self) -> Option<Duration> {
        self.wanted.config.ttl.map(Duration::from_secs_f64)
    }

    /// How long to wait before what was not found is looked up again.
    #[must_use]
    pub fn time_to_miss(&self) -> Option<Duration> {
        self.wanted.config.neg_ttl.map(Duration::from_secs_f64)
    }
}

/// `message` with references in place of the secrets that they stand for, and of their lines.
#[must_use]
pub fn without_secrets(found: &[Found], mut message: String) -> String {
    /// Shorter lines say nothing about a secret of several.
    const SHORTEST_LINE: usize = 8;
    for Found { reference, value, .. } in found {
        let whole = value.reveal();
        let lines = whole.lines().filter(|line| line.len() >= SHORTEST_LINE);
        for part in std::iter::once(whole).chain(lines).filter(|part| !part.is_empty()) {
            if message.contains(part) {
                message = message.replace(part, reference);
            }
        }
    }
    message
}

/// What a reference means: the member `key` of what was read, or all of it without one; decoded where the vault says so.
///
/// # Errors
/// Why it means nothing; never with anything of a secret in it.
pub fn meaning(wanted: &Wanted, key: Option<&str>, text: Secret) -> Result<Secret, String> {
    let value = member(text, key)?;
    if wanted.config.base64_decode != Some(true) {
        return Ok(value);
    }
    // Encoders break long lines.
    let encoded: String = value.reveal().split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(encoded).map_err(|_| "it is not base64, as base64_decode says".to_owned())?;
    let text =
        String::from_utf8(bytes).map_err(|_| "what its base64 encodes is not text in UTF-8".to_owned())?;
    Ok(Secret::new(text))
}

/// The member of a JSON object, or all of `text` without a key.
fn member(text: Secret, key: Option<&str>) -> Result<Secret, String> {
    let Some(key) = key else { return Ok(text) };
    match serde_json::from_str::<Value>(text.reveal()) {
        Ok(Value::Object(fields)) => match fields.get(key) {
            Some(Value::String(value)) => Ok(Secret::new(value.as_str())),
            Some(Value::Number(value)) => Ok(Secret::new(value.to_string())),
            Some(_) => Err(format!("its member '{key}' is not a text")),
            None => Err(format!("it has no member '{key}'")),
        },
        _ => Err(format!("it is no JSON object, so it has no member '{key}'")),
    }
}

/// Whether a value is a reference.
#[must_use]
pub fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") && text.ends_with('}')
}

impl SecretReference {
    /// Reads a reference. The last of several segments is a key, unless a slash follows it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inside = text.strip_prefix("{vault://").and_then(|rest| rest.strip_suffix('}'));
        let inside = inside.ok_or("a reference is written {vault://vault/name}")?;
        let (rest, version) = cut(inside, '#');
        let (path, query) = cut(rest, '?');
        let (vault, path) = path.split_once('/').unwrap_or((path, ""));
        if vault.is_empty() {
            return Err("the reference names no vault: write {vault://vault/name}".to_owned());
        }
        let segments: Vec<String> =
            path.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect::<Result<_, _>>()?;
        let (resource, key) = match segments.as_slice() {
            [] => return Err(format!("the reference names nothing in the vault '{vault}'")),
            [resource] => (resource.clone(), None),
            [between @ .., last] if !path.ends_with('/') => (between.join("/"), Some(last.clone())),
            all => (all.join("/"), None),
        };
        let version = match version {
            None => None,
            Some(number) => {
                let wrong = |_| format!("the version '{number}' after '#' is no number");
                Some(number.parse().map_err(wrong)?)
            }
        };
        let options = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let options = options.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        });
        let options = options.collect::<Result<_, String>>()?;
        Ok(Self { vault: vault.to_owned(), resource, key, version, options })
    }

    /// The look-up that is meant in a vault of this kind, with these settings (null for none).
    ///
    /// # Errors
    /// What is wrong with the settings, or with those that the reference makes itself.
    pub fn wanted(&self, kind: &'static str, config: Value) -> Result<Wanted, String> {
        if self.version.is_some() && kind != HASHICORP {
            return Err(format!("a vault of the kind '{kind}' has no versions"));
        }
        let complete = VaultConfig::schema().check(&with_options(kind, config, &self.options)?);
        let complete =
            complete.map_err(|problems| format!("{}: {}", problems[0].place, problems[0].message))?;
        let config = VaultConfig::from_value(&complete).map_err(|error| error.to_string())?;
        Ok(Wanted { kind, config, resource: self.resource.clone(), version: self.version })
    }
}

/// Settings with those that a reference itself makes, which are numbers but for `prefix`.
fn with_options(kind: &str, mut config: Value, options: &[(String, String)]) -> Result<Value, String> {
    for (name, value) in options {
        let value = match (name.as_str(), kind) {
            ("prefix", "env") => Value::from(value.as_str()),
            ("resurrect_ttl", HASHICORP) | ("ttl" | "neg_ttl", _) => {
                value.parse::<f64>().map_or(Value::Null, Value::from)
            }
            _ => return Err(format!("the option '{name}' is not known to a vault of the kind '{kind}'")),
        };
        if value.is_null() {
            return Err(format!("the option '{name}' is no number"));
        }
        if config.is_null() {
            config = Value::Object(serde_json::Map::new());
        }
        config[name] = value;
    }
    Ok(config)
}

fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Percent-encoded text (RFC 3986 2.1).
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}' is not percent-encoded text");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(wrong)?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> SecretReference {
        SecretReference::parse(text).unwrap()
    }

    #[test]
    fn a_reference_has_kongs_parts() {
        let short = parsed("{vault://env/my-secret}");
        assert_eq!((&*short.vault, &*short.resource, short.key), ("env", "my-secret", None));
        let long = parsed("{vault://my-env/a/b%2Fc/key?prefix=P_&ttl=5#2}");
        assert_eq!((&*long.vault, &*long.resource, long.key.as_deref()), ("my-env", "a/b/c", Some("key")));
        assert_eq!(long.version, Some(2));
        let options = [("prefix", "P_"), ("ttl", "5")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(long.options, options);
        let folder = parsed("{vault://file/db/password/}");
        assert_eq!((&*folder.resource, folder.key), ("db/password", None), "a slash ends the resource");
    }

    #[test]
    fn what_is_no_reference_is_refused_and_nothing_panics() {
        for text in [
            "{vault://}",
            "{vault:///a}",
            "{vault://env}",
            "{vault://env/}",
            "{vault://env/a#x}",
            "{vault://env/%}",
            "{vault://env/%4}",
            "{vault://env/%+4}",
            "{vault://env/%ff}",
            "{vault://env/a?%zz=1}",
            "x",
        ] {
            assert!(SecretReference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_member_is_a_text_of_a_json_object() {
        let member = |text: &str, key| member(Secret::new(text), Some(key));
        assert_eq!(member(r#"{"a":"hidden"}"#, "a").unwrap().reveal(), "hidden");
        assert_eq!(member(r#"{"a":6379}"#, "a").unwrap().reveal(), "6379");
        for (text, key) in
            [(r#"{"a":"hidden"}"#, "b"), (r#"{"a":["hidden"]}"#, "a"), ("hidden", "a"), ("[\"hidden\"]", "a")]
        {
            let refusal = member(text, key).unwrap_err();
            assert!(!refusal.contains("hidden"), "{refusal}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("hidden"))), "Some((secret))");
    }
}
