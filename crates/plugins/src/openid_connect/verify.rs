//! JSON Web Tokens: whether the provider has made them, for now (RFC 9068, RFC 8725).

use std::sync::Arc;

use plugin::BuildError;
use plugin::clock::Clock;
use plugin::jose::{Defect, KeySet, Remembered, Token};
use plugin::remember::Digest;

use super::Setup;
use super::admission::{Admission, Rules};
use super::beside::Beside;
use super::claims::Claims;
use super::distributed::Distributed;
use super::granted::Granted;
use super::id_token::is_id_token;
use super::of_client::OfClient;
use super::provenance::{issuers, secrets};
use super::provider::{Known, Provider};
use super::refusal::Refusal;
use super::told::Evidence;
use super::user_info::{Beyond, UserInfo};

/// What becomes of a caller.
pub(super) type Outcome = Result<Arc<Admission>, Refusal>;

/// Whether a look at a token is the last word about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It is, and is remembered.
    Last,
    /// The provider is asked as well.
    First,
}

/// Whether the signature of a token matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Signatures {
    #[default]
    Checked,
    /// The way it came vouches for it.
    Ignored,
}

/// How tokens are verified, and those that were.
pub(super) struct Verification {
    pub(super) provider: Provider,
    pub(super) rules: Rules,
    pub(super) distributed: Option<Arc<Distributed>>,
    /// How the provider is asked about whoever brings a token, where that is wanted.
    pub(super) user_info: Option<Arc<UserInfo>>,
    is_on: bool,
    pub(super) signatures: Signatures,
    /// By which methods tokens come whose signatures are ignored.
    ignored: Vec<String>,
    reverifies: bool,
    clock: Clock,
    pub(super) checks_claims: bool,
    pub(super) leeway_s: f64,
    /// Whose tokens are accepted, in place of the provider's own.
    pub(super) issuers: Option<Vec<String>>,
    /// What tokens are signed with that the provider shares a secret for.
    pub(super) secrets: KeySet,
    issuer: Box<str>,
    remembers: bool,
    lifetime_s: u64,
    remembered: Remembered<Finding>,
    reading: Arc<str>,
    /// How tokens are read that the gateway has got itself.
    granted: Arc<str>,
    /// How tokens are read that come with an ID token.
    together: Arc<str>,
}

/// What was found out about a token.
#[derive(Clone)]
struct Finding {
    /// The keys it was found out with; none where the provider said so itself.
    edition: Option<u64>,
    outcome: Outcome,
}

impl Verification {
    pub(super) fn new(
        setup: &Setup<'_>,
        is_on: bool,
        rules: Rules,
        user_info: Option<Arc<UserInfo>>,
    ) -> Result<Self, BuildError> {
        let &Setup { config, provider, cx, .. } = setup;
        Ok(Self {
            rules,
            distributed: Distributed::new(setup)?,
            user_info,
            is_on,
            signatures: if config.tokens.verify_signature {
                Signatures::Checked
            } else {
                Signatures::Ignored
            },
            ignored: config.tokens.ignore_signature.clone(),
            reverifies: config.tokens.reverify,
            clock: cx.services.clock.clone(),
            checks_claims: config.tokens.verify_claims,
            leeway_s: config.tokens.leeway,
            issuers: issuers(config)?,
            secrets: secrets(config)?,
            issuer: config.provider.issuer.as_str().into(),
            remembers: config.tokens.cache_tokens,
            lifetime_s: config.provider.cache_ttl as u64,
            remembered: Remembered::new(cx.services),
            reading: "".into(),
            granted: "granted".into(),
            together: "together".into(),
            provider: provider.clone(),
        })
    }

    /// Whether JSON Web Tokens are accepted on their own.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// What was found out about a token, if that is still so.
    pub(super) fn remembered(&self, worker: usize, token: &[u8], now_ms: u64) -> Option<Outcome> {
        let finding = self.remembered.find(worker, &self.reading, token, now_ms / 1_000)?;
        let is_so = finding.edition.is_none_or(|edition| edition == self.provider.number());
        is_so.then_some(finding.outcome)
    }

    /// The same of one with the ID token `beside`.
    pub(super) fn remembered_beside(
        &self,
        worker: usize,
        token: &[u8],
        beside: &str,
        now_ms: u64,
    ) -> Option<Outcome> {
        let key = Digest::of([token, beside.as_bytes()]);
        let finding = self.remembered.find(worker, &self.together, key.as_ref(), now_ms / 1_000)?;
        (finding.edition == Some(self.provider.number())).then_some(finding.outcome)
    }

    /// Remembers what the provider itself said about a token, until `until_s` (seconds since 1970).
    pub(super) fn remember(&self, worker: usize, token: &[u8], outcome: &Outcome, until_s: u64) {
        let finding = Finding { edition: None, outcome: outcome.clone() };
        self.remembered.remember(worker, &self.reading, token, &finding, until_s);
    }

    /// What is to be said of a token, once all keys are known that can be, and what there is beyond it.
    pub(super) async fn settle(
        &self,
        worker: usize,
        token: &[u8],
        beside: Option<&Beside>,
        now_ms: u64,
        (word, of_user): (Word, Option<&OfClient>),
    ) -> Outcome {
        let known = self.provider.obtain().await.map_err(|_| Refusal::Unavailable)?;
        let (mut read, known) = match self.look(token, &known, now_ms) {
            Err(Defect::UnknownKey) => {
                let unknown = Refusal::Invalid(Defect::UnknownKey.as_str());
                let newer = self.provider.newer_than(known.number).await.ok_or(unknown)?;
                (self.look(token, &newer, now_ms), newer)
            }
            looked => (looked, known),
        };
        let mut beyond = Beyond::default();
        if let (Ok(Ok(read)), Word::Last) = (&mut read, word) {
            let text = std::str::from_utf8(token).map_err(|_| Refusal::Invalid("not a token"))?;
            beyond = self.beyond(&mut read.claims, text, of_user, now_ms).await?;
        }
        let read = read.map_err(|defect| Refusal::Invalid(defect.as_str()))??;
        self.judged(worker, (token, &read), beside, &known, &beyond, (now_ms, word))
    }

    /// The same with the keys of `known`, and without waiting; none if that cannot be said at once.
    pub(super) fn verify(&self, worker: usize, token: &[u8], known: &Known, now_ms: u64) -> Option<Outcome> {
        let read = match self.look(token, known, now_ms) {
            Ok(Ok(read)) => read,
            Ok(Err(refusal)) => return Some(Err(refusal)),
            Err(Defect::UnknownKey) => return None,
            Err(defect) => return Some(Err(Refusal::Invalid(defect.as_str()))),
        };
        let points_elsewhere =
            self.distributed.as_ref().is_some_and(|distributed| distributed.is_wanted(&read.claims));
        let (nothing, now) = (Beyond::default(), (now_ms, Word::Last));
        (!points_elsewhere).then(|| self.judged(worker, (token, &read), None, known, &nothing, now))
    }

    /// Looks at a token with the keys of `known`: whether it is one of the provider, of now.
    fn look(&self, token: &[u8], known: &Known, now_ms: u64) -> Result<Result<Token, Refusal>, Defect> {
        let read = self.read(token, known, is_access_token, self.signatures)?;
        let fault = self.fault(&read.claims, known, now_ms);
        Ok(fault.map_or(Ok(read), |fault| Err(Refusal::Invalid(fault))))
    }

    /// Who has a token that is good, which is remembered if that is the last word, for as long as what is known beyond it
    /// holds.
    fn judged(
        &self,
        worker: usize,
        (token, read): (&[u8], &Token),
        beside: Option<&Beside>,
        known: &Known,
        beyond: &Beyond,
        (now_ms, word): (u64, Word),
    ) -> Outcome {
        let evidence =
            Evidence { access: token, access_key: read.key.as_deref(), beside, ..beyond.evidence() };
        let outcome = self.admit(&read.claims, &evidence);
        if self.remembers && word == Word::Last {
            let finding = Finding { edition: Some(known.number), outcome: outcome.clone() };
            let until_s = self.until_s(&read.claims, now_ms).min(beyond.ends_s);
            self.remember_finding(worker, token, beside, &finding, (until_s, now_ms));
        }
        outcome
    }

    /// Remembers it until `until_s`, or the end of the ID token.
    fn remember_finding(
        &self,
        worker: usize,
        token: &[u8],
        beside: Option<&Beside>,
        finding: &Finding,
        (until_s, now_ms): (u64, u64),
    ) {
        let Some(beside) = beside else {
            return self.remembered.remember(worker, &self.reading, token, finding, until_s);
        };
        let key = Digest::of([token, beside.text.as_bytes()]);
        let until_s = until_s.min(self.until_s(&beside.claims, now_ms));
        self.remembered.remember(worker, &self.together, key.as_ref(), finding, until_s);
    }

    /// Who the caller is, by what was said of it.
    pub(super) fn admit(&self, claims: &Claims, evidence: &Evidence<'_>) -> Outcome {
        let Some(beside) = evidence.beside else {
            return self.rules.admit(claims, evidence, &self.issuer).map(Arc::new);
        };
        let (id, id_key) = (Some(beside.text.as_str()), beside.key.as_deref());
        let evidence = Evidence { id, id_key, beside: None, ..*evidence };
        self.rules.admit(&beside.joined(claims)?, &evidence, &self.issuer).map(Arc::new)
    }

    /// Who somebody is by tokens that the gateway has got itself. `data` is the same as bytes.
    pub(super) fn admit_granted(
        &self,
        worker: usize,
        granted: &Granted,
        data: &[u8],
        now_ms: u64,
    ) -> Outcome {
        let (key, now_s) = (Digest::of([data]), now_ms / 1_000);
        let edition = self.reverifies.then(|| self.provider.number());
        let finding = self.remembered.find(worker, &self.granted, key.as_ref(), now_s);
        if let Some(finding) = finding.filter(|finding| finding.edition == edition) {
            return finding.outcome;
        }
        let outcome = self.admit(&granted.claims(), &granted.evidence());
        let finding = Finding { edition, outcome: outcome.clone() };
        let until_s = now_s.saturating_add(self.lifetime_s);
        self.remembered.remember(worker, &self.granted, key.as_ref(), &finding, until_s);
        outcome
    }

    /// The moment in which something is looked at that the provider has made for a request, which began at `began_ms`: it may
    /// be from a second that had not begun then.
    pub(super) fn after_answer(&self, began_ms: u64) -> u64 {
        began_ms.max(self.clock.now_ms())
    }

    /// Whether signatures matter of what comes from the provider by `method`.
    pub(super) fn signatures(&self, method: &str) -> Signatures {
        match self.ignored.iter().any(|listed| listed == method) {
            true => Signatures::Ignored,
            false => Signatures::Checked,
        }
    }

    /// Whether the tokens of a session have to be checked before it is used: not with the keys that the provider has now.
    pub(super) fn wants_check(&self, worker: usize, data: &[u8], now_ms: u64) -> bool {
        let finding =
            || self.remembered.find(worker, &self.granted, Digest::of([data]).as_ref(), now_ms / 1_000);
        self.reverifies && finding().is_none_or(|finding| finding.edition != Some(self.provider.number()))
    }

    /// Checks the tokens of a session again: that they are the provider's.
    pub(super) async fn recheck(&self, granted: &Granted) -> Result<(), Refusal> {
        let signatures = self.signatures("session");
        let (id, access) = (granted.tokens.id.as_deref(), granted.readable_access());
        for (token, is_kind) in
            [(id, is_id_token as fn(&str) -> bool), (access, is_access_token as fn(&str) -> bool)]
        {
            let Some(token) = token else { continue };
            let (token, known) = self.signed(token.as_bytes(), is_kind, signatures).await?;
            if let Some(fault) = self.wrong_issuer(&token.claims, &known) {
                return Err(Refusal::Invalid(fault));
            }
        }
        Ok(())
    }

    /// Whether claims are looked at.
    pub(super) fn checks_claims(&self) -> bool {
        self.checks_claims
    }

    /// Seconds by which clocks may differ.
    pub(super) fn leeway_s(&self) -> f64 {
        self.leeway_s
    }

    fn until_s(&self, claims: &Claims, now_ms: u64) -> u64 {
        let latest = (now_ms / 1_000).saturating_add(self.lifetime_s);
        let exp = claims.get("exp").and_then(serde_json::Value::as_f64);
        exp.map_or(latest, |exp| latest.min((exp + self.leeway_s).ceil() as u64))
    }
}

/// Kinds of tokens that are for asking an API (RFC 8725 3.11, RFC 9068 2.1).
pub(super) fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}
