#![doc = include_str!("doc.md")]

use std::sync::Arc;

use plugin::certificate::{Fields, Gatekeeper, Mapping, Refusal};
use plugin::identity::OwnFields;
use plugin::model::entity::Entity;
use plugin::model::{self, EntitySchema, Reference};
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, record};

#[cfg(test)]
mod revocation_tests;
#[cfg(test)]
mod tests;

record! {
    /// Lets callers in who show a certificate in their handshake.
    pub struct Config {
        ..certificate: Fields;
        /// Attributes (`CN`, `O`, ...) of alternative names that are distinguished names which count as names of the caller.
        san_dirname_matcher: Vec<String> = [];
        /// Whether clients are told the names of `ca_certificates` when they are asked for a certificate, so that they can
        /// choose which one to show.
        send_ca_dn: bool = false;
    }
}

model::entity! {
    /// A name in certificates that stands for a consumer.
    pub struct MtlsAuthCredential in "mtls_auth_credentials" {
        /// Whom it stands for.
        consumer: Reference, [to("consumers")];
        /// The name: an alternative one, or the common name of certificates that have none.
        subject_name: String, [len_min(1)];
        /// Only in certificates that this authority has vouched for.
        ca_certificate: Option<Reference>, [to("ca_certificates")];
    }
    admin: ("mtls-auths", "mtls-auth")
    cache_key: ["subject_name", "ca_certificate"]
}

/// The room, ready to run.
pub struct MtlsAuth(Arc<Gatekeeper>);

impl Plugin for MtlsAuth {
    const NAME: &'static str = "mtls-auth";
    const PRIORITY: i64 = 1600;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn entities() -> Vec<EntitySchema> {
        vec![MtlsAuthCredential::entity_schema()]
    }

    fn asks_for_certificate(_config: &Config) -> bool {
        true
    }

    fn tells_authorities(config: &Config) -> &[String] {
        if config.send_ca_dn { &config.certificate.trust.ca_certificates } else { &[] }
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let mappings = cx.entities::<MtlsAuthCredential>()?.map(|credential| Mapping {
            id: credential.id,
            consumer: credential.consumer.0,
            subject_name: credential.subject_name,
            authority: credential.ca_certificate.map(|Reference(id)| id),
        });
        Ok(Self(Gatekeeper::new(&config.certificate, mappings, config.san_dirname_matcher, cx)?))
    }
}

impl Phases for MtlsAuth {
    fn tells(&self) -> Option<&OwnFields> {
        Some(self.0.tells())
    }

    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let Self(gatekeeper) = self;
        if gatekeeper.steps_back(cx) {
            return Flow::Next;
        }
        let tls = cx.client.tls.clone();
        match tls.as_ref().and_then(|tls| tls.certificate.as_ref()) {
            None => gatekeeper.refuse(cx, Refusal::Missing),
            Some(shown) => {
                let chain = || Some(shown.chain.iter().map(|one| one.to_vec()).collect());
                let verdict = gatekeeper.look(cx, &shown.chain, chain);
                gatekeeper.conclude(cx, verdict)
            }
        }
    }
}
