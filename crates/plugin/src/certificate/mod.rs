//! Callers who are known by a certificate, wherever it comes from: a handshake, or a header of a proxy in front.
//!
//! A room takes in [`Fields`], makes a [`Gatekeeper`] of them at reload, and asks it about chains of certificates. A chain
//! that has been judged is remembered for a while, per worker and bounded, so that it is not judged for each request.

mod fields;
mod owners;
mod remembered;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use model::entity::{Consumer, stable_id};
use model::subject::Subject;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use wire::Headers;

pub use fields::Fields;
pub use owners::Mapping;

use self::owners::Owners;
use self::remembered::Remembered;
use self::trust::Authorities;
use crate::build::{Build, BuildError};
use crate::flow::Flow;
use crate::identity::{Anonymous, Caller, Credential};
use crate::views::Access;

/// Tells the upstream the distinguished name of the certificate.
const DISTINGUISHED_NAME: &str = "X-Client-Cert-Dn";
/// Tells the upstream its alternative names.
const ALTERNATIVE_NAMES: &str = "X-Client-Cert-San";

/// Certificates in a chain; longer ones are refused.
const MOST_CERTIFICATES: usize = 10;

/// Decides who a certificate stands for.
pub struct Gatekeeper {
    authorities: Authorities,
    owners: Owners,
    anonymous: Anonymous,
    remembered: Remembered<Judgement>,
    /// How long a judgement holds, in milliseconds.
    lifetime_ms: u64,
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no certificate.
    Missing,
    /// There is one that is not believed, or that nobody has.
    Failed,
}

/// What was found out about a chain; a refusal without.
#[derive(Clone)]
pub struct Judgement(Option<Arc<Accepted>>);

/// A caller that has been let in.
struct Accepted {
    caller: Arc<Caller>,
    groups: Option<Arc<[Box<str>]>>,
    /// What the upstream is told of the certificate.
    headers: Headers,
}

impl Gatekeeper {
    /// Makes ready what `fields` ask for; `mappings` are the credentials of the room, `attributes` those of alternative
    /// names that are distinguished names which count as names.
    ///
    /// # Errors
    /// The field that is wrong, or cannot be honoured.
    pub fn new(
        fields: &Fields,
        mappings: impl Iterator<Item = Mapping>,
        attributes: Vec<String>,
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        fields.refuse_unavailable()?;
        Ok(Self {
            authorities: Authorities::read(fields, cx)?,
            owners: Owners::new(fields, mappings, attributes, cx)?,
            anonymous: Anonymous::resolve(fields.anonymous.as_deref(), cx),
            remembered: Remembered::new(cx.services.workers),
            lifetime_ms: fields.lifetime_ms(),
        })
    }

    /// Whether another plugin has authenticated the caller, and this one leaves it at that.
    pub fn steps_back(&self, cx: &Access<'_>) -> bool {
        self.anonymous.steps_back(cx)
    }

    /// Finds out who `proof` stands for. `read` makes the chain of it, the caller's own certificate first; it is asked only
    /// where `proof` is not remembered.
    pub fn look<P: AsRef<[u8]>>(
        &self,
        cx: &Access<'_>,
        proof: &[P],
        read: impl FnOnce() -> Option<Vec<Vec<u8>>>,
    ) -> Judgement {
        let (worker, now_ms) = (cx.worker.index, cx.record.started_ms);
        self.remembered.find(worker, proof, now_ms).unwrap_or_else(|| {
            let (judgement, until_ms) = self.judge(&read().unwrap_or_default(), now_ms);
            self.remembered.remember(worker, proof, until_ms, judgement.clone());
            judgement
        })
    }

    /// Lets in whom a certificate stands for.
    ///
    /// # Errors
    /// When it stands for nobody.
    pub fn admit(&self, cx: &mut Access<'_>, judgement: Judgement) -> Result<(), Refusal> {
        let accepted = judgement.0.ok_or(Refusal::Failed)?;
        forget_claims(cx);
        cx.headers().append_all(&accepted.headers);
        cx.authenticate(accepted.caller.clone());
        if let Some(groups) = &accepted.groups {
            cx.vouch_for_groups(groups.clone());
        }
        Ok(())
    }

    /// Answers a caller who is not let in, unless an anonymous consumer stands in.
    pub fn refuse(&self, cx: &mut Access<'_>, refusal: Refusal) -> Flow {
        let message = match refusal {
            Refusal::Missing => "No required TLS certificate was sent",
            Refusal::Failed => "TLS certificate failed verification",
        };
        forget_claims(cx);
        self.anonymous.or_refuse(cx, |cx| cx.answer(401).message(message))
    }

    /// What is to be thought of a chain, and until when, in milliseconds since 1970.
    fn judge(&self, chain: &[Vec<u8>], now_ms: u64) -> (Judgement, u64) {
        let until_ms = now_ms.saturating_add(self.lifetime_ms);
        match self.accept(chain, now_ms) {
            Some((accepted, expires_ms)) => (Judgement(Some(accepted)), until_ms.min(expires_ms)),
            None => (Judgement(None), until_ms),
        }
    }

    fn accept(&self, chain: &[Vec<u8>], now_ms: u64) -> Option<(Arc<Accepted>, u64)> {
        if chain.is_empty() || chain.len() > MOST_CERTIFICATES {
            return None;
        }
        let subjects: Vec<Subject> = chain.iter().map(|one| Subject::of(one)).collect::<Option<_>>()?;
        let chain: Vec<CertificateDer<'_>> = chain.iter().map(|one| CertificateDer::from(&one[..])).collect();
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        let issuers = self.authorities.judge(&chain, now)?;
        let expires = subjects.iter().map(|subject| subject.expires).min()?;
        let accepted = self.owners.accept(&subjects[0], &issuers)?;
        Some((Arc::new(accepted), u64::try_from(expires.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Removes what the client says of its certificate: nobody has vouched for it.
fn forget_claims(cx: &mut Access<'_>) {
    for name in [DISTINGUISHED_NAME, ALTERNATIVE_NAMES] {
        cx.headers().remove(name);
    }
}

/// The certificates of a PEM text in DER form; none if there is anything else in it, or too many.
#[must_use]
pub fn chain_of_pem(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let sections = CertificateDer::pem_slice_iter(text).take(MOST_CERTIFICATES + 1);
    let chain: Vec<Vec<u8>> = sections.map(|one| Some(one.ok()?.to_vec())).collect::<Option<_>>()?;
    Some(chain).filter(|chain| !chain.is_empty() && chain.len() <= MOST_CERTIFICATES)
}

impl Accepted {
    fn new(caller: Arc<Caller>, groups: Option<Arc<[Box<str>]>>, subject: &Subject) -> Self {
        let mut headers = Headers::new();
        // What cannot stand in a field is left out.
        headers.set(DISTINGUISHED_NAME, subject.distinguished_name.as_bytes());
        let alternatives = subject.alternatives.as_deref().unwrap_or_default();
        if !alternatives.is_empty() {
            headers.set(ALTERNATIVE_NAMES, alternatives.join(",").as_bytes());
        }
        Self { caller, groups, headers }
    }

    /// A caller known by a certificate that no entity of the configuration stands for.
    fn identified(consumer: Option<Arc<Consumer>>, identifier: &str) -> Arc<Caller> {
        let id = stable_id("client_certificates", identifier);
        Caller::authenticated(consumer, Credential { id, identifier: identifier.into() })
    }
}
