//! What is to be said of a token that a caller brings: by itself, by the provider, or by what was found out before.

use std::sync::Arc;

use plugin::certificate::Looked;
use plugin::{Access, Exchange, Flow, Resume};

use super::Inner;
use super::admission::Admission;
use super::beside::Beside;
use super::granted::TokenSet;
use super::of_client::AskedWith;
use super::once::Use;
use super::refusal::Refusal;
use super::verify::{Outcome, Word};

impl Inner {
    /// What is to be said of a token without waiting; none if somebody has to be asked.
    pub(super) fn judge(&self, exchange: &Exchange, token: &[u8]) -> Option<Outcome> {
        let (worker, now_ms) = (exchange.worker.index, exchange.record.started_ms);
        if let Some(known) = self.verification.remembered(worker, token, now_ms) {
            return Some(known);
        }
        if self.verification.user_info.is_some() || self.is_for_the_provider(token) {
            return None;
        }
        let known = self.verification.provider.at_hand()?;
        self.verification.verify(worker, token, &known, now_ms)
    }

    /// Whether the provider has to be asked about a token.
    fn is_for_the_provider(&self, token: &[u8]) -> bool {
        let verifies_jwt = self.verification.is_on();
        match &self.introspection {
            Some(method) => method.takes(token, verifies_jwt),
            None => self.judges_by_user_info && !(verifies_jwt && plugin::jose::Header::of(token).is_ok()),
        }
    }

    pub(super) fn wait(
        self: Arc<Self>,
        token: Vec<u8>,
        worker: usize,
        now_ms: u64,
        asked_with: AskedWith,
    ) -> Flow {
        Flow::wait(async move {
            let outcome = self.find_out(&token, None, worker, now_ms, asked_with).await;
            let resume: Resume = Box::new(move |cx| self.conclude_held(cx, &token, outcome));
            resume
        })
    }

    /// What is to be said of a token, whoever has to be asked, and of an ID token beside it.
    pub(super) async fn find_out(
        &self,
        token: &[u8],
        beside: Option<&Beside>,
        worker: usize,
        now_ms: u64,
        asked_with: AskedWith,
    ) -> Outcome {
        match (&self.introspection, &self.user_info) {
            _ if !self.is_for_the_provider(token) => {
                let word = (Word::Last, Some(&asked_with.user_info));
                self.verification.settle(worker, token, beside, now_ms, word).await
            }
            (Some(method), _) => {
                let asked_with = (asked_with.introspection, Some(&asked_with.user_info));
                method.ask(&self.verification, worker, token, beside, now_ms, asked_with).await
            }
            (None, Some(user_info)) => {
                user_info.judge(self, token, beside, &asked_with.user_info, now_ms).await
            }
            (None, None) => Err(Refusal::Unavailable),
        }
    }

    /// Lets a caller in who is whom its token was given to. Somebody may have to be asked whether its certificate has been
    /// revoked.
    pub(super) fn conclude_held(
        self: &Arc<Self>,
        cx: &mut Access<'_>,
        token: &[u8],
        outcome: Outcome,
    ) -> Flow {
        let looked = match &outcome {
            Ok(admission) => self.possession.look(cx, admission.binding()),
            Err(_) => Looked::Missing,
        };
        match looked {
            Looked::Missing => self.conclude_shown(cx, token, outcome, None),
            Looked::Believed(hash) => self.conclude_shown(cx, token, outcome, Some(&hash)),
            Looked::Pending(finding) => {
                let (inner, token) = (self.clone(), token.to_vec());
                Flow::wait(async move {
                    let hash = finding.await;
                    let resume: Resume =
                        Box::new(move |cx| inner.conclude_shown(cx, &token, outcome, hash.as_deref()));
                    resume
                })
            }
        }
    }

    /// The same; `shown` is the hash of the certificate that the caller has shown. Other gateways may have to be asked whether
    /// a proof has been used.
    fn conclude_shown(
        self: &Arc<Self>,
        cx: &mut Access<'_>,
        token: &[u8],
        outcome: Outcome,
        shown: Option<&str>,
    ) -> Flow {
        let held =
            outcome.and_then(|admission| Ok((self.check_holder(cx, token, &admission, shown)?, admission)));
        let (proof, admission) = match held {
            Ok((Some(proof), admission)) => (proof, admission),
            Ok((None, admission)) => return self.welcome_bearer(cx, token, admission),
            Err(refusal) => return self.conclude(cx, Err(refusal)),
        };
        let (inner, worker, token) = (self.clone(), cx.worker.index, token.to_vec());
        Flow::wait(async move {
            let outcome = inner.possession.settle(worker, &proof).await;
            let resume: Resume = Box::new(move |cx| match outcome {
                Ok(()) => inner.welcome_bearer(cx, &token, admission),
                Err(refusal) => inner.conclude(cx, Err(refusal)),
            });
            resume
        })
    }

    /// Lets a caller pass whose token is good, or hands it what is to be handed over.
    fn welcome_bearer(
        self: &Arc<Self>,
        cx: &mut Access<'_>,
        token: &[u8],
        admission: Arc<Admission>,
    ) -> Flow {
        let method = match (self.is_for_the_provider(token), &self.introspection) {
            (false, _) => "bearer",
            (true, Some(_)) => "introspection",
            (true, None) => "userinfo",
        };
        // What was exchanged for another token is none that was given to the caller.
        let is_exchanged =
            self.token_exchange.as_ref().is_some_and(|exchange| exchange.subject(token).is_some());
        if is_exchanged || !self.action.hands_over(method) {
            return self.conclude(cx, Ok(admission));
        }
        let id = self.beside.as_ref().and_then(|source| source.found(cx));
        self.hand_over(cx, method, TokenSet::brought(token, id), admission)
    }

    /// Hands somebody what is to be handed over to who came by `method` with these tokens.
    pub(super) fn hand_over(
        self: &Arc<Self>,
        cx: &mut Access<'_>,
        method: &'static str,
        tokens: TokenSet,
        admission: Arc<Admission>,
    ) -> Flow {
        let (inner, asked_with) = (self.clone(), self.asked_with(cx).introspection);
        let now_ms = cx.record.started_ms;
        Flow::wait(async move {
            let handed = inner.action.handed(&inner.verification, method, &tokens, asked_with, now_ms).await;
            let resume: Resume = Box::new(move |cx| match handed {
                Ok(handed) => {
                    let answer = inner.action.after(cx, method, &handed);
                    answer.unwrap_or_else(|| inner.conclude(cx, Ok(admission)))
                }
                Err(refusal) => inner.conclude(cx, Err(refusal)),
            });
            resume
        })
    }

    /// Whether who brings a token is who it was given to, and the proof of it that must not have been used.
    fn check_holder(
        &self,
        cx: &mut Access<'_>,
        token: &[u8],
        admission: &Admission,
        shown: Option<&str>,
    ) -> Result<Option<Use>, Refusal> {
        let came_with_proof = self.sources.comes_with_proof(cx, token);
        let proof = self.possession.check(cx, (token, came_with_proof), admission.binding(), shown)?;
        self.sources.check_session(cx, token, admission.session())?;
        Ok(proof)
    }
}
