//! What becomes of a session during a request: it is fetched, checked, kept, or ends.

use std::sync::Arc;

use plugin::flow::Resume;
use plugin::shared::Unavailable;
use plugin::web_session::Opened;
use plugin::web_session::shared::{Chores, Fetched};
use plugin::{Access, Flow, Headers};

use super::super::Inner;
use super::super::granted::Granted;
use super::super::refusal::Refusal;
use super::{Ending, Read, Standing};

impl Inner {
    /// Reads what gateways share of the session of a request; none if nothing has to be read, or it has been. Where that is
    /// not to be had nobody gets in: who has a session must not seem to have none.
    pub(in super::super) fn read_session(self: &Arc<Self>, cx: &mut Access<'_>) -> Option<Flow> {
        if Ending::read(cx).is_some() {
            return None;
        }
        let fetching = self.sessions.as_ref()?.of(cx).fetching(cx)?;
        let inner = self.clone();
        Some(Flow::wait(async move {
            let fetched = fetching.settle().await;
            let resume: Resume = Box::new(move |cx| match fetched {
                Ok(fetched) => inner.read_marks(cx, fetched),
                Err(Unavailable) => inner.telling.refuse(cx, &Refusal::Unavailable),
            });
            resume
        }))
    }

    /// Asks whether a session that was fetched was ended at the provider.
    fn read_marks(self: Arc<Self>, cx: &mut Access<'_>, fetched: Fetched) -> Flow {
        let opened = self.sessions.as_ref().and_then(|sessions| sessions.of(cx).open_fetched(cx, &fetched));
        let Some(granted) = opened.and_then(|opened| Granted::from_bytes(opened.data())) else {
            return self.go_on_with(cx, Read { fetched, is_ended: false });
        };
        let worker = cx.worker.index;
        Flow::wait(async move {
            let is_ended = match &self.sessions {
                Some(sessions) => sessions.ended.has_been_told(worker, &granted).await,
                None => Ok(false),
            };
            let resume: Resume = Box::new(move |cx| match is_ended {
                Ok(is_ended) => self.go_on_with(cx, Read { fetched, is_ended }),
                Err(Unavailable) => self.telling.refuse(cx, &Refusal::Unavailable),
            });
            resume
        })
    }

    fn go_on_with(self: Arc<Self>, cx: &mut Access<'_>, read: Read) -> Flow {
        // A request whose body had to be read first comes here again: the cookies that it withdraws stay withdrawn.
        let before = cx.state::<Option<Ending>>().and_then(Option::take).unwrap_or_default();
        cx.remember(Some(Ending { read: Some(Arc::new(read)), ..before }));
        self.browse(cx)
    }

    /// Keeps a session where gateways share them, before the response is made. `then` is told whether it is kept,
    /// or has ended meanwhile.
    pub(in super::super) fn keep_session(
        self: Arc<Self>,
        cx: &mut Access<'_>,
        mut session: Option<Opened>,
        then: impl FnOnce(&Arc<Self>, &mut Access<'_>, Option<Opened>, Result<bool, Unavailable>) -> Flow
        + 'static,
    ) -> Flow {
        let sessions = self.sessions.as_ref().map(|sessions| sessions.of(cx));
        let chores =
            sessions.zip(session.as_mut()).and_then(|(sessions, opened)| sessions.keeping(opened, cx));
        let Some(chores) = chores else { return then(&self, cx, session, Ok(true)) };
        Flow::wait(async move {
            // Apart, so that a client that leaves does not leave it half done.
            let kept = tokio::spawn(chores.settle()).await.unwrap_or(Err(Unavailable));
            let resume: Resume = Box::new(move |cx| then(&self, cx, session, kept));
            resume
        })
    }

    /// Has gateways forget a session together, and goes on. Where that cannot be done, the session ends when its time is over.
    pub(super) fn after(
        self: &Arc<Self>,
        chores: Option<Chores>,
        cx: &mut Access<'_>,
        then: impl FnOnce(&Arc<Self>, &mut Access<'_>) -> Flow + 'static,
    ) -> Flow {
        let Some(chores) = chores else { return then(self, cx) };
        let inner = self.clone();
        Flow::wait(async move {
            if chores.settle().await.is_err() {
                tracing::warn!(
                    "a session that gateways share cannot be deleted: it ends when its time is over"
                );
            }
            let resume: Resume = Box::new(move |cx| then(&inner, cx));
            resume
        })
    }

    /// Goes on with the session of a request; none if it has none that is good.
    pub(in super::super) fn resume_session(self: &Arc<Self>, cx: &mut Access<'_>) -> Option<Flow> {
        let sessions = self.sessions.as_ref()?;
        match sessions.find(cx)? {
            Standing::Good(opened, granted) => Some(self.check_again(cx, opened, granted)),
            Standing::Aged(opened, granted) => Some(self.clone().refresh(cx, opened, granted)),
            Standing::Over(opened, _) => {
                let chores = self.withdraw(cx, &opened)?;
                Some(self.after(Some(chores), cx, |inner, cx| inner.without_session(cx)))
            }
        }
    }

    /// Goes on with a session whose tokens are good, once they have been checked again where that is wanted.
    fn check_again(self: &Arc<Self>, cx: &mut Access<'_>, opened: Opened, granted: Granted) -> Flow {
        if !self.verification.wants_check(cx.worker.index, opened.data(), cx.record.started_ms) {
            return self.admit_session(cx, opened, &granted);
        }
        let inner = self.clone();
        Flow::wait(async move {
            let outcome = inner.verification.recheck(&granted).await;
            let resume: Resume = Box::new(move |cx| match outcome {
                Ok(()) => inner.admit_session(cx, opened, &granted),
                Err(Refusal::Unavailable) => inner.conclude(cx, Err(Refusal::Unavailable)),
                Err(_) => {
                    let chores = inner.withdraw(cx, &opened);
                    inner.after(chores, cx, |inner, cx| inner.without_session(cx))
                }
            });
            resume
        })
    }

    /// Makes the browser forget a session; what gateways have to forget together is left to be done.
    pub(super) fn withdraw(&self, cx: &mut Access<'_>, opened: &Opened) -> Option<Chores> {
        let mut lines = Headers::new();
        let sessions = self.sessions.as_ref().filter(|sessions| sessions.ends_when_unauthorized);
        let chores = sessions.and_then(|sessions| {
            sessions.end(opened, cx, &mut lines);
            sessions.ending(opened, cx)
        });
        cx.remember(Some(Ending::writing(lines)));
        chores
    }

    pub(super) fn admit_session(
        self: &Arc<Self>,
        cx: &mut Access<'_>,
        opened: Opened,
        granted: &Granted,
    ) -> Flow {
        let now_ms = cx.record.started_ms;
        let outcome = self.verification.admit_granted(cx.worker.index, granted, opened.data(), now_ms);
        let tokens = self.action.hands_over("session").then(|| granted.tokens.clone().answered());
        match outcome {
            Ok(admission) => self.clone().keep_session(cx, Some(opened), move |inner, cx, session, kept| {
                if kept.is_err() {
                    tracing::warn!("a session is not kept where gateways share them, so that its holder has to log in again");
                }
                let session = session.filter(|_| kept == Ok(true));
                if let Some(tokens) = tokens {
                    cx.remember(Some(Ending::saving(inner.number, session, Headers::new())));
                    return inner.hand_over(cx, "session", tokens, admission);
                }
                inner.go_on(cx, &admission, session.as_ref());
                cx.remember(Some(Ending::saving(inner.number, session, Headers::new())));
                Flow::Next
            }),
            Err(refusal) => {
                let mut lines = Headers::new();
                let sessions = self.sessions.as_ref().filter(|sessions| sessions.ends_when_forbidden);
                let chores = sessions.and_then(|sessions| {
                    sessions.end(&opened, cx, &mut lines);
                    sessions.ending(&opened, cx)
                });
                cx.remember(Some(Ending::writing(lines)));
                self.after(chores, cx, move |inner, cx| inner.conclude(cx, Err(refusal)))
            }
        }
    }
}
