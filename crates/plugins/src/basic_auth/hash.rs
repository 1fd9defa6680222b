//! What is kept of a password: Kong's salted SHA-1, which is checked at once, or a hash that takes long on purpose.

use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bcrypt::HashParts;
use plugin::model::Uuid;

/// Bounds of what one check may take: about a second, and 256 MiB.
const MOST_BCRYPT_COST: u32 = 16;
const MOST_ARGON2_KIB: u32 = 256 * 1024;
const MOST_ARGON2_PASSES: u32 = 20;
const MOST_ARGON2_LANES: u32 = 16;

/// What is kept of a password.
#[derive(Clone)]
pub(super) enum Stored {
    /// Checked at once.
    Fast(Sha1),
    /// Checked beside the traffic.
    Slow(Arc<Slow>),
}

/// SHA-1 of the password and the consumer's id, as Kong keeps it (kong.md 4.1).
#[derive(Clone)]
pub(super) struct Sha1 {
    digest: [u8; SHA1_OUTPUT_LEN],
    consumer: Uuid,
}

/// A hash of bcrypt or argon2, with the text it was read from.
pub(super) struct Slow {
    text: Box<str>,
    kind: Kind,
}

enum Kind {
    Bcrypt,
    Argon2 { algorithm: Algorithm, version: Version, params: Params, salt: Vec<u8>, hash: Vec<u8> },
}

impl Sha1 {
    /// The hash of `password` for a consumer.
    pub fn of(password: &[u8], consumer: Uuid) -> Self {
        let mut context = digest::Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(password);
        context.update(consumer.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
        let mut digest = [0; SHA1_OUTPUT_LEN];
        digest.copy_from_slice(context.finish().as_ref());
        Self { digest, consumer }
    }

    /// The hash that `text` is, in hexadecimal digits.
    pub fn parse(text: &str, consumer: Uuid) -> Option<Self> {
        let mut digest = [0; SHA1_OUTPUT_LEN];
        if text.len() != digest.len() * 2 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self { digest, consumer })
    }

    pub fn is_of(&self, password: &[u8]) -> bool {
        verify_slices_are_equal(&Self::of(password, self.consumer).digest, &self.digest).is_ok()
    }
}

impl fmt::Display for Sha1 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl Slow {
    /// Reads a hash in the form that `htpasswd -B`, and every library for argon2, write.
    ///
    /// # Errors
    /// What is wrong with it, for whoever wrote it down.
    pub fn parse(text: &str) -> Result<Self, String> {
        let kind = if text.starts_with("$argon2") { argon2(text)? } else { bcrypt(text)? };
        Ok(Self { text: text.into(), kind })
    }

    /// The hash as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is the hash of `password`. Takes long. Of bcrypt, the first 72 bytes of a password count.
    pub fn is_of(&self, password: &[u8]) -> bool {
        match &self.kind {
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Argon2 { algorithm, version, params, salt, hash } => {
                let mut found = vec![0; hash.len()];
                let argon2 = Argon2::new(*algorithm, *version, params.clone());
                argon2.hash_password_into(password, salt, &mut found).is_ok()
                    && verify_slices_are_equal(&found, hash).is_ok()
            }
        }
    }
}

fn bcrypt(text: &str) -> Result<Kind, String> {
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
    let parts = text.parse::<HashParts>().ok().filter(|_| known);
    let Some(parts) = parts else {
        return Err(
            "is no hash of bcrypt ($2b$12$...) or argon2 ($argon2id$v=19$m=65536,t=3,p=4$...)".to_owned()
        );
    };
    if !(4..=MOST_BCRYPT_COST).contains(&parts.get_cost()) {
        return Err(format!("the cost of bcrypt must be from 4 to {MOST_BCRYPT_COST}"));
    }
    Ok(Kind::Bcrypt)
}

/// The PHC string format: `$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH`; without a version it is the first one, 16.
fn argon2(text: &str) -> Result<Kind, String> {
    let wrong = || "is no hash of argon2: $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH is one".to_owned();
    let parts: Vec<&str> = text.split('$').skip(1).collect();
    let (algorithm, version, params, salt, hash) = match parts.as_slice() {
        [algorithm, version, params, salt, hash] => {
            let version = version.strip_prefix("v=").ok_or_else(wrong)?;
            (algorithm, version.parse().map_err(|_| wrong())?, params, salt, hash)
        }
        [algorithm, params, salt, hash] => (algorithm, 16, params, salt, hash),
        _ => return Err(wrong()),
    };
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| wrong());
    let (salt, hash) = (decode(salt)?, decode(hash)?);
    Ok(Kind::Argon2 {
        algorithm: Algorithm::new(algorithm).map_err(|_| wrong())?,
        version: Version::try_from(version).map_err(|_| wrong())?,
        params: argon2_params(params, hash.len()).ok_or_else(wrong)??,
        salt: Some(salt).filter(|salt| salt.len() >= 8).ok_or_else(wrong)?,
        hash: Some(hash).filter(|hash| hash.len() >= 12).ok_or_else(wrong)?,
    })
}

/// None where `text` is not of the form; the error is a bound that it is beyond.
fn argon2_params(text: &str, output: usize) -> Option<Result<Params, String>> {
    let (mut memory, mut passes, mut lanes) = (None, None, None);
    for param in text.split(',') {
        let (name, value) = param.split_once('=')?;
        let place = match name {
            "m" => &mut memory,
            "t" => &mut passes,
            "p" => &mut lanes,
            _ => return None,
        };
        if place.replace(value.parse::<u32>().ok()?).is_some() {
            return None;
        }
    }
    let (memory, passes, lanes) = (memory?, passes?, lanes?);
    if memory > MOST_ARGON2_KIB || passes > MOST_ARGON2_PASSES || lanes > MOST_ARGON2_LANES {
        return Some(Err(format!(
            "of argon2, m must be at most {MOST_ARGON2_KIB}, t {MOST_ARGON2_PASSES} and p {MOST_ARGON2_LANES}"
        )));
    }
    Some(Ok(Params::new(memory, passes, lanes, Some(output)).ok()?))
}
