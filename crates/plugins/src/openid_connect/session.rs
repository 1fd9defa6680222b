//! Sessions of people who have logged in: whose a request is, newer tokens when the old ones end, and what is written at
//! the end.

use std::sync::Arc;

use plugin::flow::Resume;
use plugin::web_session::{Opened, Property, Sessions};
use plugin::{Access, Build, BuildError, Exchange, Flow, HeaderFilter, Headers, Scheme};

use super::Inner;
use super::backchannel::Ended;
use super::client;
use super::config::Config;
use super::granted::Granted;
use super::id_token::Expected;
use super::of_client::AskedWith;
use super::refusal::Refusal;

/// The sessions of a room.
pub(super) struct PeopleSessions {
    cleartext: Sessions,
    tls: Sessions,
    client: String,
    request_properties: Vec<Property>,
    response_properties: Vec<Property>,
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
}

impl PeopleSessions {
    pub(super) fn new(config: &Config, ended: Ended, cx: &Build<'_>) -> Result<Self, BuildError> {
        let sessions = &config.sessions;
        if sessions.session_storage != "cookie" {
            let message =
                format!("'{}' is not available: sessions are kept in cookies", sessions.session_storage);
            return Err(BuildError::new("config.session_storage", message));
        }
        let client = client::id(config)
            .ok_or_else(|| BuildError::new("config.client_id", "is needed for 'session'"))?;
        let properties = |names: &Option<Vec<String>>| {
            names.iter().flatten().filter_map(|name| Property::named(name)).collect()
        };
        let open = |over_tls: bool| {
            let settings = sessions.settings(over_tls);
            // A session at one provider is none at another, whatever they are called.
            let audience = format!("{} {client} {}", config.provider.issuer, settings.audience);
            Sessions::new(&plugin::web_session::Settings { audience, ..settings }, "config.session_", cx)
        };
        let is_off = |method: &str| sessions.disable_session.iter().flatten().any(|listed| listed == method);
        Ok(Self {
            cleartext: open(false)?,
            tls: open(true)?,
            request_properties: properties(&sessions.session_request_headers),
            response_properties: properties(&sessions.session_response_headers),
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

    /// The session of a request.
    pub(super) fn find(&self, exchange: &Exchange) -> Option<Standing> {
        let opened = self.of(exchange).open(exchange)?;
        let now_s = exchange.record.started_ms / 1_000;
        let Some(granted) = Granted::from_bytes(opened.data()) else { return Some(Standing::Over(opened)) };
        if self.ended.has(&granted) {
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
        for property in &self.request_properties {
            cx.headers().remove(property.field());
        }
        if let Some(opened) = opened {
            let now_s = cx.record.started_ms / 1_000;
            self.of(cx).tell(opened, &self.request_properties, now_s, cx.headers());
        }
    }

    /// Writes what has to be written.
    pub(super) fn finish(&self, cx: &mut HeaderFilter<'_>, ending: &Ending) {
        let Some(opened) = &ending.session else { return };
        let sessions = self.of(cx);
        match sessions.save(opened, cx) {
            Ok(()) => {
                let now_s = cx.record.started_ms / 1_000;
                sessions.tell(opened, &self.response_properties, now_s, cx.headers());
            }
            Err(error) => {
                tracing::warn!(error, "a session is not kept, so that its holder has to log in again");
            }
        }
    }
}

impl Inner {
    /// Goes on with the session of a request; none if it has none that is good.
    pub(super) fn resume_session(self: &Arc<Self>, cx: &mut Access<'_>) -> Option<Flow> {
        let sessions = self.sessions.as_ref()?;
        match sessions.find(cx)? {
            Standing::Good(opened, granted) => Some(self.go_on_with(cx, opened, granted)),
            Standing::Aged(opened, granted) => Some(self.clone().refresh(cx, opened, granted)),
            Standing::Over(opened) => {
                self.withdraw(cx, &opened);
                None
            }
        }
    }

    /// Goes on with a session whose tokens are good, once they have been checked again where that is wanted.
    fn go_on_with(self: &Arc<Self>, cx: &mut Access<'_>, opened: Opened, granted: Granted) -> Flow {
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
                    inner.withdraw(cx, &opened);
                    inner.without_session(cx)
                }
            });
            resume
        })
    }

    fn withdraw(&self, cx: &mut Access<'_>, opened: &Opened) {
        let mut lines = Headers::new();
        if let Some(sessions) = &self.sessions
            && sessions.ends_when_unauthorized
        {
            sessions.end(opened, cx, &mut lines);
        }
        cx.remember(Some(Ending::writing(lines)));
    }

    fn admit_session(&self, cx: &mut Access<'_>, opened: Opened, granted: &Granted) -> Flow {
        let now_ms = cx.record.started_ms;
        let outcome = self.verification.admit_granted(cx.worker.index, granted, opened.data(), now_ms);
        match outcome {
            Ok(admission) => {
                self.go_on(cx, &admission, Some(&opened));
                cx.remember(Some(Ending {
                    client: self.number,
                    session: Some(opened),
                    lines: Headers::new(),
                }));
                Flow::Next
            }
            Err(refusal) => {
                let mut lines = Headers::new();
                if let Some(sessions) = &self.sessions
                    && sessions.ends_when_forbidden
                {
                    sessions.end(&opened, cx, &mut lines);
                }
                cx.remember(Some(Ending::writing(lines)));
                self.conclude(cx, Err(refusal))
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
                    self.withdraw(cx, &opened);
                    self.without_session(cx)
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
