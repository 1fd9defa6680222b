//! Whether chains of certificates are believed, and what follows: found out once, and remembered for a while.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use model::Uuid;
use model::subject::Subject;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::MOST_CERTIFICATES;
use super::fields::TrustFields;
use super::remembered::Remembered;
use super::revocation::{Link, Revocation, Standing};
use super::trust::Authorities;
use crate::build::{Build, BuildError};
use crate::exchange::Exchange;

/// How long it holds that a caller is refused because nobody says anything about the certificate, in milliseconds.
const DOUBT_MS: u64 = 1000;

/// Finds out what a chain comes to; none if it is not believed.
pub type Finding<V> = Pin<Box<dyn Future<Output = Option<V>>>>;

/// Judges chains. `V` is what a chain that is believed comes to.
pub(super) struct Judge<V> {
    authorities: Authorities,
    revocation: Arc<Revocation>,
    remembered: Remembered<Option<V>>,
    /// How long a judgement holds, in milliseconds.
    lifetime_ms: u64,
}

/// A chain that is believed.
pub(super) struct Believed<'a> {
    /// The caller's own certificate.
    pub(super) own: &'a [u8],
    pub(super) subject: &'a Subject,
    /// Authorities of the configuration on its way.
    pub(super) issuers: &'a [Uuid],
}

/// What comes of a chain that is believed if it has not been revoked.
struct Candidate<V> {
    value: V,
    /// When the first of its certificates ends, in milliseconds since 1970.
    expires_ms: u64,
    links: Vec<Link>,
}

impl<V: Clone + 'static> Judge<V> {
    /// `place` is where the fields are in a configuration.
    pub(super) fn new(
        fields: &TrustFields,
        place: &str,
        lifetime_ms: u64,
        cx: &Build<'_>,
    ) -> Result<Arc<Self>, BuildError> {
        Ok(Arc::new(Self {
            revocation: Revocation::new(fields, place, cx)?,
            authorities: Authorities::read(fields, place, cx)?,
            remembered: Remembered::new(cx.services),
            lifetime_ms,
        }))
    }

    /// What `proof` comes to, or a future that finds it out. `read` makes the chain of it, the caller's own certificate
    /// first, and is asked only where `proof` is not remembered; `value` is what a chain comes to.
    pub(super) fn look<P: AsRef<[u8]>>(
        self: &Arc<Self>,
        exchange: &Exchange,
        proof: &[P],
        read: impl FnOnce() -> Option<Vec<Vec<u8>>>,
        value: impl FnOnce(&Believed<'_>) -> Option<V>,
    ) -> Result<Option<V>, Finding<V>> {
        let (worker, now_ms) = (exchange.worker.index, exchange.record.started_ms);
        if let Some(judgement) = self.remembered.find(worker, proof, now_ms) {
            return Ok(judgement);
        }
        let Some(candidate) = self.candidate(&read().unwrap_or_default(), now_ms, value) else {
            self.remembered.remember(worker, proof, now_ms.saturating_add(self.lifetime_ms), None);
            return Ok(None);
        };
        if let Some(standing) = self.revocation.at_hand(&candidate.links) {
            return Ok(self.settle(worker, proof, now_ms, candidate, standing));
        }
        let judge = self.clone();
        let proof: Vec<Vec<u8>> = proof.iter().map(|part| part.as_ref().to_vec()).collect();
        Err(Box::pin(async move {
            let standing = judge.revocation.found_out(&candidate.links).await;
            judge.settle(worker, &proof, now_ms, candidate, standing)
        }))
    }

    /// Decides about a chain whose standing is known, and remembers that.
    fn settle<P: AsRef<[u8]>>(
        &self,
        worker: usize,
        proof: &[P],
        now_ms: u64,
        candidate: Candidate<V>,
        standing: Standing,
    ) -> Option<V> {
        let is_admitted = self.revocation.admits(standing);
        let doubtful = standing == Standing::Unknown && !is_admitted;
        let lifetime_ms = if doubtful { self.lifetime_ms.min(DOUBT_MS) } else { self.lifetime_ms };
        let until_ms = now_ms.saturating_add(lifetime_ms).min(candidate.expires_ms);
        let judgement = is_admitted.then_some(candidate.value);
        self.remembered.remember(worker, proof, until_ms, judgement.clone());
        judgement
    }

    /// What a chain comes to, if it is believed.
    fn candidate(
        &self,
        chain: &[Vec<u8>],
        now_ms: u64,
        value: impl FnOnce(&Believed<'_>) -> Option<V>,
    ) -> Option<Candidate<V>> {
        if chain.is_empty() || chain.len() > MOST_CERTIFICATES {
            return None;
        }
        let subjects: Vec<Subject> = chain.iter().map(|one| Subject::of(one)).collect::<Option<_>>()?;
        let chain: Vec<CertificateDer<'_>> = chain.iter().map(|one| CertificateDer::from(&one[..])).collect();
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        let way = self.authorities.judge(&chain, now)?;
        let expires = subjects.iter().map(|subject| subject.expires).min()?;
        Some(Candidate {
            value: value(&Believed { own: &chain[0], subject: &subjects[0], issuers: &way.issuers })?,
            expires_ms: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
            links: way.links,
        })
    }
}
