//! Whether a chain of certificates is believed: by whom it is signed, whether it is in its time, whether it is revoked.

use model::Uuid;
use model::subject::Subject;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    OwnedCertRevocationList, RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert,
};

use super::fields::Fields;
use crate::build::{Build, BuildError};

/// The authorities that are believed, and what they have taken back.
pub(super) struct Authorities {
    /// Where chains may end.
    anchors: Vec<TrustAnchor<'static>>,
    /// Links that need not be sent.
    links: Vec<CertificateDer<'static>>,
    entities: Vec<(Uuid, CertificateDer<'static>)>,
    revoked: Vec<CertRevocationList<'static>>,
    strict: bool,
}

impl Authorities {
    pub(super) fn read(fields: &Fields, cx: &Build<'_>) -> Result<Self, BuildError> {
        let field = "config.ca_certificates";
        let mut authorities = Self {
            anchors: Vec::new(),
            links: Vec::new(),
            entities: Vec::new(),
            revoked: revoked(fields)?,
            strict: fields.revocation_check_mode == "STRICT",
        };
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

    /// The authorities on the way from a chain's first certificate to the one that it ends at; none if it is not
    /// believed.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<Vec<Uuid>> {
        let (own, sent) = chain.split_first()?;
        let parsed = EndEntityCert::try_from(own).ok()?;
        let between: Vec<CertificateDer<'_>> = sent.iter().chain(&self.links).cloned().collect();
        let revoked: Vec<&CertRevocationList<'_>> = self.revoked.iter().collect();
        let path = parsed.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &self.anchors,
            &between,
            now,
            KeyUsage::client_auth(),
            self.revocation(&revoked),
            None,
        );
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
        Some(on_the_way.map(|(id, _)| *id).collect())
    }

    fn revocation<'a>(&self, revoked: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
        let (unknown, expired) = if self.strict {
            (UnknownStatusPolicy::Deny, ExpirationPolicy::Enforce)
        } else {
            (UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore)
        };
        let options = RevocationOptionsBuilder::new(revoked).ok()?;
        Some(options.with_status_policy(unknown).with_expiration_policy(expired).build())
    }
}

/// The revocation lists that count.
fn revoked(fields: &Fields) -> Result<Vec<CertRevocationList<'static>>, BuildError> {
    let mut lists = Vec::new();
    if fields.revocation_check_mode == "SKIP" {
        return Ok(lists);
    }
    for (index, text) in fields.crls.iter().flatten().enumerate() {
        let wrong = |reason: String| BuildError::new(format!("config.crls[{index}]"), reason);
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(text.as_bytes()) {
            let list = list.map_err(|error| wrong(format!("is not PEM: {error}")))?;
            let list = OwnedCertRevocationList::from_der(&list)
                .map_err(|error| wrong(format!("is not a list of revoked certificates: {error}")))?;
            lists.push(CertRevocationList::from(list));
        }
        if lists.len() == before {
            return Err(wrong("holds no PEM block 'X509 CRL'".to_owned()));
        }
    }
    Ok(lists)
}
