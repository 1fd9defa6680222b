//! Callers who are known by a certificate, wherever it comes from: a handshake, or a header of a proxy in front.
//!
//! A room takes in [`Fields`], makes a [`Gatekeeper`] of them at reload, and asks it about chains of certificates. A chain
//! that has been judged is remembered for a while, per worker and bounded, so that it is not judged for each request. Where
//! somebody has to be asked whether a certificate has been revoked, the request waits.

mod fields;
mod header;
mod judge;
mod owners;
mod passed_on;
mod proof;
mod remembered;
mod revocation;
mod trust;

use std::sync::Arc;

use model::entity::{Consumer, stable_id};
use model::subject::Subject;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use wire::Headers;

pub use fields::{Fields, TrustFields};
pub use header::Header;
pub use judge::Finding;
pub use owners::Mapping;
pub use passed_on::{Looked, PassedOn};
pub use remembered::Remembered;

use self::judge::{Believed, Judge};
use self::owners::Owners;
use crate::build::{Build, BuildError};
use crate::flow::{Flow, Resume};
use crate::identity::{Anonymous, Caller, Credential, OwnFields};
use crate::views::Access;

/// Tells the upstream the distinguished name of the certificate.
const DISTINGUISHED_NAME: &str = "X-Client-Cert-Dn";
/// Tells the upstream its alternative names.
const ALTERNATIVE_NAMES: &str = "X-Client-Cert-San";

/// Certificates in a chain; longer ones are refused.
const MOST_CERTIFICATES: usize = 10;

/// Decides who a certificate stands for.
pub struct Gatekeeper {
    judge: Arc<Judge<Arc<Accepted>>>,
    owners: Owners,
    anonymous: Anonymous,
    tells: OwnFields,
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
type Judgement = Option<Arc<Accepted>>;

/// What is known of a proof, or how to find it out.
pub struct Verdict(Result<Judgement, Flow>);

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
    ) -> Result<Arc<Self>, BuildError> {
        Ok(Arc::new(Self {
            judge: Judge::new(&fields.trust, "config", fields.lifetime_ms(), cx)?,
            owners: Owners::new(fields, mappings, attributes, cx)?,
            anonymous: Anonymous::resolve(fields.anonymous.as_deref(), cx),
            tells: OwnFields::new([DISTINGUISHED_NAME, ALTERNATIVE_NAMES]),
        }))
    }

    /// The fields that tell the upstream of the certificate.
    pub fn tells(&self) -> &OwnFields {
        &self.tells
    }

    /// Whether another plugin has authenticated the caller, and this one leaves it at that.
    pub fn steps_back(&self, cx: &Access<'_>) -> bool {
        self.anonymous.steps_back(cx)
    }

    /// Finds out who `proof` stands for. `read` makes the chain of it, the caller's own certificate first; it is asked only
    /// where `proof` is not remembered.
    pub fn look<P: AsRef<[u8]>>(
        self: &Arc<Self>,
        cx: &Access<'_>,
        proof: &[P],
        read: impl FnOnce() -> Option<Vec<Vec<u8>>>,
    ) -> Verdict {
        let owner = |chain: &Believed<'_>| self.owners.accept(chain.subject, chain.issuers).map(Arc::new);
        match self.judge.look(cx, proof, read, owner) {
            Ok(judgement) => Verdict(Ok(judgement)),
            Err(finding) => {
                let gatekeeper = self.clone();
                Verdict(Err(Flow::wait(async move {
                    let judgement = finding.await;
                    let resume: Resume = Box::new(move |cx| gatekeeper.carry_out(cx, judgement));
                    resume
                })))
            }
        }
    }

    /// Lets in whom a certificate stands for, refuses, or waits until that is known.
    pub fn conclude(&self, cx: &mut Access<'_>, verdict: Verdict) -> Flow {
        match verdict.0 {
            Ok(judgement) => self.carry_out(cx, judgement),
            Err(wait) => wait,
        }
    }

    fn carry_out(&self, cx: &mut Access<'_>, judgement: Judgement) -> Flow {
        let Some(accepted) = judgement else { return self.refuse(cx, Refusal::Failed) };
        // Another room may have told of another certificate.
        for name in [DISTINGUISHED_NAME, ALTERNATIVE_NAMES] {
            cx.headers().remove(name);
        }
        cx.headers().append_all(&accepted.headers);
        cx.authenticate(accepted.caller.clone());
        if let Some(groups) = &accepted.groups {
            cx.vouch_for_groups(groups.clone());
        }
        Flow::Next
    }

    /// Answers a caller who is not let in, unless an anonymous consumer stands in.
    pub fn refuse(&self, cx: &mut Access<'_>, refusal: Refusal) -> Flow {
        let message = match refusal {
            Refusal::Missing => "No required TLS certificate was sent",
            Refusal::Failed => "TLS certificate failed verification",
        };
        self.anonymous.or_refuse(cx, |cx| cx.answer(401).message(message))
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
