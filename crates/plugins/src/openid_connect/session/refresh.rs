//! Newer tokens for a session, when the old ones end.

use std::sync::Arc;

use plugin::flow::Resume;
use plugin::web_session::Opened;
use plugin::{Access, Flow};

use super::super::Inner;
use super::super::exchange::Refreshing;
use super::super::granted::Granted;
use super::super::id_token::Expected;
use super::super::of_client::AskedWith;
use super::super::refusal::Refusal;

impl Inner {
    /// Gets newer tokens for a session. While the provider cannot be asked, those that have not ended are used.
    pub(super) fn refresh(self: Arc<Self>, cx: &Access<'_>, opened: Opened, granted: Granted) -> Flow {
        let (now_ms, asked_with) = (cx.record.started_ms, self.asked_with(cx));
        Flow::wait(async move {
            let outcome = self.newer(&granted, &asked_with, now_ms).await;
            let is_good_still = granted.tokens.ends_s.is_none_or(|ends_s| now_ms / 1_000 < ends_s);
            let resume: Resume = Box::new(move |cx| match outcome {
                Ok(newer) => match self.replaced(cx, opened, &newer) {
                    Some(opened) => self.admit_session(cx, opened, &newer),
                    None => self.conclude(cx, Err(Refusal::Unavailable)),
                },
                Err(Refusal::Unavailable) if is_good_still => self.admit_session(cx, opened, &granted),
                Err(Refusal::Unavailable) => self.conclude(cx, Err(Refusal::Unavailable)),
                Err(_) => {
                    let chores = self.withdraw(cx, &opened);
                    self.after(chores, cx, |inner, cx| inner.without_session(cx))
                }
            });
            resume
        })
    }

    fn replaced(&self, cx: &Access<'_>, opened: Opened, newer: &Granted) -> Option<Opened> {
        let sessions = self.sessions.as_ref()?;
        sessions.of(cx).replace(opened, cx, newer.to_bytes())
    }

    async fn newer(
        &self,
        granted: &Granted,
        asked_with: &AskedWith,
        now_ms: u64,
    ) -> Result<Granted, Refusal> {
        let (Some(sessions), Some(token)) = (&self.sessions, &granted.tokens.refresh) else {
            return Err(Refusal::Missing);
        };
        let tokens = self.tokens.refresh(token, Refreshing::Session, &asked_with.tokens, now_ms).await?;
        let expected = Expected {
            client: &sessions.client,
            subject: granted.subject.as_deref(),
            signatures: self.verification.signatures("refresh_token"),
            ..Expected::default()
        };
        let mut newer = self.verification.granted(tokens, &expected, now_ms).await?;
        self.complete(&mut newer, &asked_with.user_info, now_ms).await?;
        Ok(granted.renewed(newer))
    }
}
