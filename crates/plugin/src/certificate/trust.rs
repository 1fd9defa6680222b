//! Whether a chain of certificates is believed: by whom it is signed, and whether it is in its time.

use model::Uuid;
use model::subject::Subject;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::fields::TrustFields;
use super::revocation::Link;
use crate::build::{Build, BuildError};

/// The authorities that are believed.
pub(super) struct Authorities {
    /// Where chains may end.
    anchors: Vec<TrustAnchor<'static>>,
    /// Links that need not be sent.
    links: Vec<CertificateDer<'static>>,
    entities: Vec<(Uuid, CertificateDer<'static>)>,
}

/// The way from a certificate to the authority that it is believed for.
pub(super) struct Way {
    /// Authorities of the configuration on it.
    pub issuers: Vec<Uuid>,
    /// Its certificates, the caller's own first, but for the authority's.
    pub links: Vec<Link>,
}

impl Authorities {
    /// `place` is where the fields are.
    pub(super) fn read(fields: &TrustFields, place: &str, cx: &Build<'_>) -> Result<Self, BuildError> {
        let field = &format!("{place}.ca_certificates");
        let mut authorities = Self { anchors: Vec::new(), links: Vec::new(), entities: Vec::new() };
        for id in &fields.ca_certificates {
            let known = Uuid::try_parse(id).ok();
            let entity = cx.config.ca_certificates.iter().find(|entity| Some(entity.id) == known);
            let entity = entity.ok_or_else(|| {
                BuildError::new(field, format!("'{id}' is not the id of one of ca_certificates"))
            })?;
            let wrong = |reason: &dyn std::fmt::Display| {
                BuildError::new(field, format!("the certificate of '{id}' cannot be used: {reason}"))
            };
            let der =
                CertificateDer::from_pem_slice(entity.cert.as_bytes()).map_err(|error| wrong(&error))?;
            let anchor = anchor_from_trusted_cert(&der).map_err(|error| wrong(&error))?.to_owned();
            let is_root = Subject::of(&der).is_some_and(|subject| subject.is_self_issued);
            if is_root || fields.allow_partial_chain {
                authorities.anchors.push(anchor);
            }
            if !is_root {
                authorities.links.push(der.clone());
            }
            authorities.entities.push((entity.id, der));
        }
        if authorities.anchors.is_empty() {
            let message =
                "none has signed itself, so that no chain can end; add the root, or set allow_partial_chain";
            return Err(BuildError::new(field, message));
        }
        Ok(authorities)
    }

    /// The way from a chain's first certificate to the authority that it ends at; none if it is not believed.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<Way> {
        let (own, sent) = chain.split_first()?;
        let parsed = EndEntityCert::try_from(own).ok()?;
        let between: Vec<CertificateDer<'_>> = sent.iter().chain(&self.links).cloned().collect();
        let usage = KeyUsage::client_auth();
        let path =
            parsed.verify_for_usage(ALL_VERIFICATION_ALGS, &self.anchors, &between, now, usage, None, None);
        let path = path.ok()?;
        let anchor = path.anchor();
        let is_anchor = |der: &CertificateDer<'_>| {
            anchor_from_trusted_cert(der).is_ok_and(|one| {
                one.subject == anchor.subject && one.subject_public_key_info == anchor.subject_public_key_info
            })
        };
        let is_link =
            |der: &CertificateDer<'_>| path.intermediate_certificates().any(|link| link.der() == *der);
        let on_the_way = self.entities.iter().filter(|(_, der)| is_link(der) || is_anchor(der));
        let end = self.entities.iter().find(|(_, der)| is_anchor(der)).map(|(_, der)| der.clone())?;
        let mut certificates = vec![own.clone().into_owned()];
        certificates.extend(path.intermediate_certificates().map(|link| link.der().into_owned()));
        let issuers = certificates.iter().skip(1).cloned().chain([end]);
        let links = certificates.iter().cloned().zip(issuers);
        Some(Way {
            issuers: on_the_way.map(|(id, _)| *id).collect(),
            links: links.map(|(certificate, issuer)| Link { certificate, issuer }).collect(),
        })
    }
}
