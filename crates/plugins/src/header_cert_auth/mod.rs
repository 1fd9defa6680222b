#![doc = include_str!("doc.md")]

use std::sync::Arc;

use plugin::certificate::{Fields, Gatekeeper, Header, Mapping, Refusal, Verdict};
use plugin::confidential::Places;
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

/// The room, ready to run.
pub struct HeaderCertAuth {
    gatekeeper: Arc<Gatekeeper>,
    header: Header,
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

    fn credentials(config: &Config, places: &mut Places) {
        places.header(&config.certificate_header_name);
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let mappings = cx.entities::<HeaderCertAuthCredential>()?.map(|credential| Mapping {
            id: credential.id,
            consumer: credential.consumer.0,
            subject_name: credential.subject_name,
            authority: credential.ca_certificate.map(|Reference(id)| id),
        });
        let (name, format) = (&config.certificate_header_name, &config.certificate_header_format);
        Ok(Self {
            gatekeeper: Gatekeeper::new(&config.certificate, mappings, Vec::new(), cx)?,
            header: Header::new(name, format, config.secure_source),
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
        let value = self.header.find(cx)?;
        Ok(self.gatekeeper.look(cx, &[value], || self.header.chain(value)))
    }
}
