//! Sessions of people who have logged in: whose a request is, and what is written at the end.

mod life;
mod refresh;

use std::sync::Arc;

use plugin::web_session::shared::{Chores, Fetched};
use plugin::web_session::{Opened, Sessions};
use plugin::{Access, Build, BuildError, Exchange, HeaderFilter, Headers, Scheme};

use super::backchannel::Ended;
use super::client;
use super::config::{Config, Places};
use super::granted::Granted;
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
    /// What has been fetched of the session of the request, where gateways share them.
    read: Option<Arc<Read>>,
}

/// What has been fetched of the session of a request.
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
    /// It is over, whatever it held.
    Over(Opened, Option<Granted>),
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
    pub(super) fn new(config: &Config, places: &Places, cx: &Build<'_>) -> Result<Self, BuildError> {
        let sessions = &config.sessions;
        let shared = places.sessions.as_ref();
        let lists = config.sharing.session_store_metadata;
        let ended = Ended::new(config, shared, cx);
        let client = client::needed_id(config, "auth_methods")?;
        let claims = &config.claims;
        let told = |names: &Option<Vec<String>>, id_header: &Option<String>| {
            SessionTold::new(names.as_deref(), id_header.as_deref())
        };
        let open = |over_tls: bool| {
            let settings = sessions.settings(over_tls, shared, lists);
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
        self.of(exchange).is_brought(exchange)
    }

    /// The session of a request.
    pub(super) fn find(&self, cx: &mut Access<'_>) -> Option<Standing> {
        let read = Ending::read(cx);
        let opened = match &read {
            Some(read) => self.of(cx).open_fetched(cx, &read.fetched)?,
            None => self.of(cx).open(cx)?,
        };
        let now_s = cx.record.started_ms / 1_000;
        let Some(granted) = Granted::from_bytes(opened.data()) else {
            return Some(Standing::Over(opened, None));
        };
        if read.map_or_else(|| self.ended.has(&granted), |read| read.is_ended) {
            return Some(Standing::Over(opened, Some(granted)));
        }
        let ends_s = granted.tokens.ends_s.unwrap_or(u64::MAX);
        let can_refresh = self.refreshes && granted.tokens.refresh.is_some();
        Some(if now_s.saturating_add(self.margin_s) < ends_s || now_s < ends_s && !can_refresh {
            Standing::Good(opened, granted)
        } else if can_refresh {
            Standing::Aged(opened, granted)
        } else {
            Standing::Over(opened, Some(granted))
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

    /// What gateways have to forget together of a session that ends.
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
