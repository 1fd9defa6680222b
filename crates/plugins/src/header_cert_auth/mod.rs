#![doc = include_str!("doc.md")]

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plugin::certificate::{Fields, Gatekeeper, Mapping, Refusal, Verdict, chain_of_pem};
use plugin::identity::OwnFields;
use plugin::model::entity::Entity;
use plugin::model::{self, EntitySchema, Reference};
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, record};

#[cfg(test)]
mod tests;

record! {
    /// Lets callers in whose certificate a proxy in front has passed on.
    pub struct Config {
        ..certificate: Fields;
        /// How the certificate is written: `base64_encoded`, DER or PEM, or `url_encoded`, PEM.
        certificate_header_format: String, [one_of(&["base64_encoded", "url_encoded"])];
        /// The header that holds the certificate.
        certificate_header_name: String, [header_name(), len_min(1)];
        /// Whether the header counts only where it comes from one of `KONG_TRUSTED_IPS`. Without it, anybody may say
        /// whose certificate they have, as nobody has seen them use its key.
        secure_source: bool = true;
    }
}

model::entity! {
    /// A name in certificates that stands for a consumer.
    pub struct HeaderCertAuthCredential in "header_cert_auth_credentials" {
        /// Whom it stands for.
        consumer: Reference, [to("consumers")];
        /// The name: an alternative one, or the common name of certificates that have none.
        subject_name: String, [len_min(1)];
        /// Only in certificates that this authority has vouched for.
        ca_certificate: Option<Reference>, [to("ca_certificates")];
    }
    admin: ("header-cert-auths", "header-cert-auth")
    cache_key: ["subject_name", "ca_certificate"]
}

/// How a header holds a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Base64,
    Url,
}

/// The room, ready to run.
pub struct HeaderCertAuth {
    gatekeeper: Arc<Gatekeeper>,
    header: String,
    format: Format,
    only_trusted: bool,
}

impl Plugin for HeaderCertAuth {
    const NAME: &'static str = "header-cert-auth";
    const PRIORITY: i64 = 1009;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn entities() -> Vec<EntitySchema> {
        vec![HeaderCertAuthCredential::entity_schema()]
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let mappings = cx.entities::<HeaderCertAuthCredential>()?.map(|credential| Mapping {
            id: credential.id,
            consumer: credential.consumer.0,
            subject_name: credential.subject_name,
            authority: credential.ca_certificate.map(|Reference(id)| id),
        });
        let base64 = config.certificate_header_format == "base64_encoded";
        Ok(Self {
            gatekeeper: Gatekeeper::new(&config.certificate, mappings, Vec::new(), cx)?,
            header: config.certificate_header_name,
            format: if base64 { Format::Base64 } else { Format::Url },
            only_trusted: config.secure_source,
        })
    }
}

impl Phases for HeaderCertAuth {
    fn tells(&self) -> Option<&OwnFields> {
        Some(self.gatekeeper.tells())
    }

    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if self.gatekeeper.steps_back(cx) {
            return Flow::Next;
        }
        match self.look(cx) {
            Ok(verdict) => self.gatekeeper.conclude(cx, verdict),
            Err(refusal) => self.gatekeeper.refuse(cx, refusal),
        }
    }
}

impl HeaderCertAuth {
    fn look(&self, cx: &Access<'_>) -> Result<Verdict, Refusal> {
        if self.only_trusted && !cx.client.trusted {
            return Err(Refusal::Missing);
        }
        let mut values = cx.request.headers.all(&self.header);
        let value = values.next().filter(|value| !value.is_empty()).ok_or(Refusal::Missing)?;
        if values.next().is_some() {
            return Err(Refusal::Failed);
        }
        Ok(self.gatekeeper.look(cx, &[value], || self.format.chain(value)))
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
