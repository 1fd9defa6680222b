//! Certificates in a header, as a proxy in front writes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Refusal, chain_of_pem};
use crate::exchange::Exchange;

/// Where a certificate is, and who may say so.
pub struct Header {
    name: String,
    format: Format,
    /// Only from one of `KONG_TRUSTED_IPS`.
    only_trusted: bool,
}

/// How a header holds a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Base64,
    Url,
}

impl Header {
    /// The header `name`; `format` is `base64_encoded`, DER or PEM, or `url_encoded`, PEM. `only_trusted` says that it counts
    /// only where it comes from one of `KONG_TRUSTED_IPS`.
    #[must_use]
    pub fn new(name: &str, format: &str, only_trusted: bool) -> Self {
        let format = if format == "base64_encoded" { Format::Base64 } else { Format::Url };
        Self { name: name.to_owned(), format, only_trusted }
    }

    /// The value that a request has.
    ///
    /// # Errors
    /// There is none that counts, or there are several.
    pub fn find<'a>(&self, exchange: &'a Exchange) -> Result<&'a [u8], Refusal> {
        if self.only_trusted && !exchange.client.trusted {
            return Err(Refusal::Missing);
        }
        let mut values = exchange.request.headers.all(&self.name);
        let value = values.next().filter(|value| !value.is_empty()).ok_or(Refusal::Missing)?;
        if values.next().is_some() { Err(Refusal::Failed) } else { Ok(value) }
    }

    /// The certificates in a value, in DER form; none if there is anything else in it.
    #[must_use]
    pub fn chain(&self, value: &[u8]) -> Option<Vec<Vec<u8>>> {
        self.format.chain(value)
    }
}

impl Format {
    /// The certificates in the value of a header.
    fn chain(self, value: &[u8]) -> Option<Vec<Vec<u8>>> {
        match self {
            Self::Url => chain_of_pem(&percent_decoded(value)?),
            Self::Base64 => {
                // As an item of a structured field it stands between colons (RFC 9440 2.1).
                let item = value.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
                let bytes = STANDARD.decode(item.unwrap_or(value)).ok()?;
                if bytes.starts_with(b"-----BEGIN") { chain_of_pem(&bytes) } else { Some(vec![bytes]) }
            }
        }
    }
}

/// Percent-encoded bytes (RFC 3986 2.1). A plus is one: base64 has it.
fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let [high, low, ..] = *after else { return None };
            bytes.push((digit(high)? * 16 + digit(low)?) as u8);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Some(bytes)
}
