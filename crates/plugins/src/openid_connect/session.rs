//! Sessions of people who have logged in: whose a request is, newer tokens when the old ones end, and what is written at
//! the end.

use std::sync::Arc;

use plugin::flow::Resume;
use plugin::redis::Unavailable;
use plugin::web_session::shared::{Chores, Fetched};
use plugin::web_session::{Opened, Sessions};
use plugin::{Access, Build, BuildError, Exchange, Flow, HeaderFilter, Headers, Scheme};

use super::Inner;
use super::backchannel::Ended;
use super::client;
use super::config::Config;
use super::granted::Granted;
use super::id_token::Expected;
use super::of_client::AskedWith;
use super::refusal::Refusal;
use super::session_told::SessionTold;

/// The sessions of a room.
pub(super) struct PeopleSessions {
    cleartext: Sessions,
    tls: Sessions,
    client: String,
    told_upstream: SessionTold,
    told_downstream: SessionTold,
    refreshes: bool,
    begins: bool,
    ends_when_forbidden: bool,
    ends_when_unauthorized: bool,
    /// Seconds before the end of an access token at which a newer one is asked for.
    margin_s: u64,
    ended: Ended,
}

/// What has to be written of a session when the response is there. Between `access` and `header_filter`.
#[derive(Default)]
pub(super) struct Ending {
    /// The number of the client whose session it is.
    pub(super) client: usize,
    pub(super) session: Option<Opened>,
    /// Cookies of another kind, or of sessions that end.
    pub(super) lines: Headers,
    /// What Redis has of the session of the request, where sessions are there.
    read: Option<Arc<Read>>,
}

/// What Redis has of the session of a request.
struct Read {
    fetched: Fetched,
    /// Whether it was ended at the provider.
    is_ended: bool,
}

/// What can be said of a session at once.
pub(super) enum Standing {
    /// Its tokens are good.
    Good(Opened, Granted),
    /// Its access token has ended, or is about to, and there is a refresh token.
    Aged(Opened, Granted),
    /// It is over.
    Over(Opened),
}

impl Ending {
    pub(super) fn writing(lines: Headers) -> Self {
        Self { lines, ..Self::default() }
    }

    pub(super) fn saving(client: usize, session: Option<Opened>, lines: Headers) -> Self {
        Self { client, session, lines, read: None }
    }

    /// What has been read for the request, if that has been done.
    fn read(cx: &mut Access<'_>) -> Option<Arc<Read>> {
        cx.state::<Option<Self>>()?.as_ref()?.read.clone()
    }
}

impl PeopleSessions {
    pub(super) fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let sessions = &config.sessions;
        let shared = sessions.shared(cx)?;
        let ended = Ended::new(config, shared.as_ref(), cx);
        let client = client::id(config)
            .ok_or_else(|| BuildError::new("config.client_id", "is needed for 'session'"))?;
        let claims = &config.claims;
        let told = |names: &Option<Vec<String>>, id_header: &Option<String>| {
            SessionTold::new(names.as_deref(), id_header.as_deref())
        };
        let open = |over_tls: bool| {
            let settings = sessions.settings(over_tls, shared.as_ref());
            // A session at one provider is none at another, whatever they are called.
            let audience = format!("{} {client} {}", config.provider.issuer, settings.audience);
            Sessions::new(&plugin::web_session::Settings { audience, ..settings }, "config.session_", cx)
        };
        let is_off = |method: &str| sessions.disable_session.iter().flatten().any(|listed| listed == method);
        Ok(Self {
            cleartext: open(false)?,
            tls: open(true)?,
            told_upstream: told(&sessions.session_request_headers, &claims.upstream_session_id_header),
            told_downstream: told(&sessions.session_response_headers, &claims.downstream_session_id_header),
            refreshes: config.grants.refresh_tokens,
            begins: !is_off("authorization_code"),
            ends_when_forbidden: config.login.forbidden_destroy_session,
            ends_when_unauthorized: config.login.unauthorized_destroy_session,
            margin_s: config.tokens.leeway as u64,
            client,
            ended,
        })
    }

    /// What is known of sessions that were ended at the provider.
    pub(super) fn ended(&self) -> &Ended {
        &self.ended
    }

    fn of(&self, exchange: &Exchange) -> &Sessions {
        if exchange.scheme == Scheme::Https { &self.tls } else { &self.cleartext }
    }

    /// Whether a request brings a session in its cookies.
    pub(super) fn are_brought(&self, exchange: &Exchange) -> bool {
        self.of(exchange).open(exchange).is_some()
    }

    /// The session of a request.
    pub(super) fn find(&self, cx: &mut Access<'_>) -> Option<Standing> {
        let read = Ending::read(cx);
        let opened = match &read {
            Some(read) => self.of(cx).open_fetched(cx, &read.fetched)?,
            None => self.of(cx).open(cx)?,
        };
        let now_s = cx.record.started_ms / 1_000;
        let Some(granted) = Granted::from_bytes(opened.data()) else { return Some(Standing::Over(opened)) };
        if read.map_or_else(|| self.ended.has(&granted), |read| read.is_ended) {
            return Some(Standing::Over(opened));
        }
        let ends_s = granted.tokens.ends_s.unwrap_or(u64::MAX);
        let can_refresh = self.refreshes && granted.tokens.refresh.is_some();
        Some(if now_s.saturating_add(self.margin_s) < ends_s || now_s < ends_s && !can_refresh {
            Standing::Good(opened, granted)
        } else if can_refresh {
            Standing::Aged(opened, granted)
        } else {
            Standing::Over(opened)
        })
    }

    /// A session for somebody who has logged in, under an id that nobody knew before.
    pub(super) fn begin(&self, exchange: &Exchange, granted: &Granted) -> Option<Opened> {
        let subject = granted.subject.as_deref().unwrap_or_default();
        if !self.begins {
            return None;
        }
        self.of(exchange).begin(exchange, subject, granted.to_bytes())
    }

    /// What Redis has to forget of a session that ends.
    pub(super) fn ending(&self, opened: &Opened, exchange: &Exchange) -> Option<Chores> {
        self.of(exchange).ending(opened, exchange)
    }

    /// Makes the browser forget a session.
    pub(super) fn end(&self, opened: &Opened, exchange: &Exchange, lines: &mut Headers) {
        self.of(exchange).end(opened, exchange, lines);
    }

    /// Takes the cookies of sessions out of the request.
    pub(super) fn hide(&self, request: &mut Headers) {
        self.tls.hide(request);
    }

    /// Tells the upstream about a session, and nothing that the client says about one.
    pub(super) fn tell(&self, cx: &mut Access<'_>, opened: Option<&Opened>) {
        self.told_upstream.clear(cx.headers());
        if let Some(opened) = opened {
            let now_s = cx.record.started_ms / 1_000;
            self.told_upstream.tell(self.of(cx), opened, now_s, cx.headers());
        }
    }

    /// Writes what has to be written.
    pub(super) fn finish(&self, cx: &mut HeaderFilter<'_>, ending: &Ending) {
        let Some(opened) = &ending.session else { return };
        let sessions = self.of(cx);
        match sessions.save(opened, cx) {
            Ok(()) => {
                let now_s = cx.record.started_ms / 1_000;
                self.told_downstream.tell(sessions, opened, now_s, cx.headers());
            }
            Err(error) => {
                tracing::warn!(error, "a session is not kept, so that its holder has to log in again");
            }
        }
    }
}

impl Inner {
    /// Reads what Redis has of the session of a request; none if nothing has to be read, or it has been. Where Redis does
    /// not answer nobody gets in: who has a session must not seem to have none.
    pub(super) fn read_session(self: &Arc<Self>, cx: &mut Access<'_>) -> Option<Flow> {
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
        cx.remember(Some(Ending { read: Some(Arc::new(read)), ..Ending::default() }));
        self.browse(cx)
    }

    /// Keeps a session in Redis, where sessions are there, before the response is made. `then` is told whether it is kept,
    /// or has ended meanwhile.
    pub(super) fn keep_session(
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
            let kept = chores.settle().await;
            let resume: Resume = Box::new(move |cx| then(&self, cx, session, kept));
            resume
        })
    }

    /// Has Redis forget a session, and goes on. Where it does not answer, the session ends when its time is over.
    fn after(
        self: &Arc<Self>,
        chores: Option<Chores>,
        cx: &mut Access<'_>,
        then: impl FnOnce(&Arc<Self>, &mut Access<'_>) -> Flow + 'static,
    ) -> Flow {
        let Some(chores) = chores else { return then(self, cx) };
        let inner = self.clone();
        Flow::wait(async move {
            if chores.settle().await.is_err() {
                tracing::warn!("a session in Redis cannot be deleted: it ends when its time is over");
            }
            let resume: Resume = Box::new(move |cx| then(&inner, cx));
            resume
        })
    }

    /// Goes on with the session of a request; none if it has none that is good.
    pub(super) fn resume_session(self: &Arc<Self>, cx: &mut Access<'_>) -> Option<Flow> {
        let sessions = self.sessions.as_ref()?;
        match sessions.find(cx)? {
            Standing::Good(opened, granted) => Some(self.check_again(cx, opened, granted)),
            Standing::Aged(opened, granted) => Some(self.clone().refresh(cx, opened, granted)),
            Standing::Over(opened) => {
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

    /// Makes the browser forget a session; what Redis has to forget is left to be done.
    fn withdraw(&self, cx: &mut Access<'_>, opened: &Opened) -> Option<Chores> {
        let mut lines = Headers::new();
        let sessions = self.sessions.as_ref().filter(|sessions| sessions.ends_when_unauthorized);
        let chores = sessions.and_then(|sessions| {
            sessions.end(opened, cx, &mut lines);
            sessions.ending(opened, cx)
        });
        cx.remember(Some(Ending::writing(lines)));
        chores
    }

    fn admit_session(self: &Arc<Self>, cx: &mut Access<'_>, opened: Opened, granted: &Granted) -> Flow {
        let now_ms = cx.record.started_ms;
        let outcome = self.verification.admit_granted(cx.worker.index, granted, opened.data(), now_ms);
        match outcome {
            Ok(admission) => self.clone().keep_session(cx, Some(opened), move |inner, cx, session, kept| {
                if kept.is_err() {
                    tracing::warn!("a session is not kept in Redis, so that its holder has to log in again");
                }
                inner.go_on(cx, &admission, session.as_ref());
                let session = session.filter(|_| kept == Ok(true));
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

    /// Gets newer tokens for a session. While the provider cannot be asked, those that have not ended are used.
    fn refresh(self: Arc<Self>, cx: &Access<'_>, opened: Opened, granted: Granted) -> Flow {
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
        let tokens = self.tokens.refresh(token, &asked_with.tokens, now_ms).await?;
        let expected = Expected {
            client: &sessions.client,
            subject: granted.subject.as_deref(),
            signatures: self.verification.signatures("refresh_token"),
            ..Expected::default()
        };
        let mut newer = self.verification.granted(tokens, &expected, now_ms).await?;
        self.add_user_info(&mut newer, &asked_with.user_info, now_ms).await?;
        Ok(granted.renewed(newer))
    }
}
