//! What is to be said of a token that a caller brings: by itself, by the provider, or by what was found out before.

use std::sync::Arc;

use plugin::certificate::Looked;
use plugin::{Access, Exchange, Flow, Resume};

use super::Inner;
use super::admission::Admission;
use super::beside::Beside;
use super::of_client::AskedWith;
use super::once::Use;
use super::refusal::Refusal;
use super::verify::{Outcome, Verdict, Word};

impl Inner {
    /// What is to be said of a token without waiting; none if somebody has to be asked.
    pub(super) fn judge(&self, exchange: &Exchange, token: &[u8]) -> Option<Outcome> {
        let (worker, now_ms) = (exchange.worker.index, exchange.record.started_ms);
        if let Some(known) = self.verification.remembered(worker, token, now_ms) {
            return Some(known);
        }
        if self.is_for_the_provider(token) {
            return None;
        }
        let known = self.verification.provider.at_hand()?;
        match self.verification.verify(worker, token, None, &known, (now_ms, Word::Last)) {
            Verdict::Known(outcome) => Some(outcome),
            Verdict::UnknownKey => None,
        }
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
                self.verification.settle(worker, token, beside, now_ms, Word::Last).await
            }
            (Some(method), _) => {
                let asked_with = asked_with.introspection;
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
            Ok((None, admission)) => return self.conclude(cx, Ok(admission)),
            Err(refusal) => return self.conclude(cx, Err(refusal)),
        };
        let (inner, worker) = (self.clone(), cx.worker.index);
        Flow::wait(async move {
            let outcome = inner.possession.settle(worker, &proof).await.map(|()| admission);
            let resume: Resume = Box::new(move |cx| inner.conclude(cx, outcome));
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
