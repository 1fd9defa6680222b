//! Logging out: here, at the provider (OpenID Connect RP-Initiated Logout 1.0), and with it the tokens (RFC 7009).

use std::sync::Arc;

use plugin::flow::Resume;
use plugin::{Access, BuildError, Exchange, Flow, Headers, Method, query};
use serde_json::json;

use super::client;
use super::exchange::pairs;
use super::granted::Granted;
use super::login::{own_origin, with_arguments};
use super::provider::{Endpoint, Provider};
use super::refusal::Refusal;
use super::revocation::Revocation;
use super::session::{Ending, Standing};
use super::sources::is_form;
use super::{Inner, Setup};

/// How people log out.
pub(super) struct Logout {
    client: String,
    provider: Provider,
    methods: Vec<Method>,
    suffix: Option<Vec<u8>>,
    query_argument: Option<String>,
    form_argument: Option<String>,
    redirect_uri: Option<String>,
    endpoint: Endpoint,
    revocation: Option<Revocation>,
    revokes_access: bool,
    revokes_refresh: bool,
}

/// Whether a request logs out.
enum Wish {
    None,
    /// It may; its body has to be read.
    NeedsBody,
    Leave,
}

impl Logout {
    pub(super) fn new(setup: &Setup<'_>) -> Result<Self, BuildError> {
        let &Setup { config, provider, .. } = setup;
        let login = &config.login;
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let method = |name: &String| match name.as_str() {
            "GET" => Method::Get,
            "DELETE" => Method::Delete,
            _ => Method::Post,
        };
        let endpoint = login.end_session_endpoint.as_deref();
        Ok(Self {
            client: client::id(config).unwrap_or_default(),
            provider: provider.clone(),
            methods: login.logout_methods.iter().map(method).collect(),
            suffix: some(&login.logout_uri_suffix).map(String::into_bytes),
            query_argument: some(&login.logout_query_arg),
            form_argument: some(&login.logout_post_arg),
            redirect_uri: client::first(&login.logout_redirect_uri),
            endpoint: Endpoint::for_browsers("end_session_endpoint", endpoint, |told| {
                told.end_session.as_ref()
            })?,
            revocation: match login.logout_revoke {
                true => Some(Revocation::new(setup)?),
                false => None,
            },
            revokes_access: login.logout_revoke_access_token,
            revokes_refresh: login.logout_revoke_refresh_token,
        })
    }

    fn wish(&self, exchange: &Exchange) -> Wish {
        let request = &exchange.request;
        if !self.methods.contains(&request.method) {
            return Wish::None;
        }
        let has = |arguments: &[u8], name: &String| query::values(arguments, name).next().is_some();
        let at_path = self.suffix.as_ref().is_some_and(|suffix| request.path().ends_with(suffix));
        let in_query = || {
            let asked = request.query().unwrap_or_default();
            self.query_argument.as_ref().is_some_and(|name| has(asked, name))
        };
        if at_path || in_query() {
            return Wish::Leave;
        }
        match (&self.form_argument, &exchange.body) {
            (Some(_), None) if request.method == Method::Post && is_form(exchange) => Wish::NeedsBody,
            (Some(name), Some(body)) if is_form(exchange) && has(body, name) => Wish::Leave,
            _ => Wish::None,
        }
    }

    /// Gives back what the session holds. One that the provider does not take back ends by itself.
    async fn revoke(&self, granted: &Granted, now_s: u64) {
        let Some(revocation) = &self.revocation else { return };
        let refresh = granted.tokens.refresh.as_deref().filter(|_| self.revokes_refresh);
        let access = Some(granted.tokens.access.as_str()).filter(|_| self.revokes_access);
        for (token, kind) in [(refresh, "refresh_token"), (access, "access_token")] {
            if let Some(token) = token
                && revocation.revoke(token, kind, now_s).await.is_err()
            {
                tracing::debug!(kind, "a provider does not take a token back");
            }
        }
    }

    /// Where people go next, if the provider or the configuration has such a place.
    /// `origin` is the gateway's own.
    async fn next(&self, granted: Option<&Granted>, origin: &str) -> Option<String> {
        let endpoint = self.endpoint.find(&self.provider).await;
        let Ok(endpoint) = endpoint else { return self.redirect_uri.clone() };
        let mut arguments = pairs([("client_id", &self.client)]);
        if let Some(token) = granted.and_then(|granted| granted.tokens.id.as_deref()) {
            arguments.extend(pairs([("id_token_hint", token)]));
        }
        if let Some(uri) = &self.redirect_uri {
            let uri = if uri.starts_with('/') { format!("{origin}{uri}") } else { uri.clone() };
            arguments.extend(pairs([("post_logout_redirect_uri", &uri)]));
        }
        Some(with_arguments(&endpoint.to_string(), &arguments))
    }
}

impl Inner {
    /// Logs out whom the request wants to; none if it is for something else.
    pub(super) fn log_out(self: &Arc<Self>, cx: &mut Access<'_>) -> Option<Flow> {
        let (logout, sessions) = (self.logout.as_ref()?, self.sessions.as_ref()?);
        match logout.wish(cx) {
            Wish::None => return None,
            // A body is held for the sake of this only where there is a session.
            Wish::NeedsBody => return sessions.find(cx).map(|_| Flow::ReadBody),
            Wish::Leave => {}
        }
        let mut lines = Headers::new();
        let (opened, granted) = match sessions.find(cx) {
            Some(Standing::Good(opened, granted) | Standing::Aged(opened, granted)) => {
                (Some(opened), Some(granted))
            }
            // A provider takes a token that has ended as a hint, too (2).
            Some(Standing::Over(opened, granted)) => (Some(opened), granted),
            None => (None, None),
        };
        let chores = opened.and_then(|opened| {
            sessions.end(&opened, cx, &mut lines);
            sessions.ending(&opened, cx)
        });
        let (inner, now_s, origin) = (self.clone(), cx.record.started_ms / 1_000, own_origin(cx));
        Some(Flow::wait(async move {
            let mut next = None;
            let ended = match chores {
                Some(chores) => chores.settle().await.is_ok(),
                None => true,
            };
            if let Some(logout) = &inner.logout {
                if let Some(granted) = &granted {
                    logout.revoke(granted, now_s).await;
                }
                next = logout.next(granted.as_ref(), &origin).await;
            }
            let resume: Resume = Box::new(move |cx| {
                cx.remember(Some(Ending::writing(lines)));
                match ended {
                    true => goodbye(cx, next.as_deref()),
                    // The browser forgets the session; who has a copy of its cookie does not.
                    false => inner.telling.refuse(cx, &Refusal::Unavailable),
                }
            });
            resume
        }))
    }
}

fn goodbye(cx: &mut Access<'_>, next: Option<&str>) -> Flow {
    let Some(next) = next else {
        return cx.answer(200).header("Cache-Control", b"no-store").json(&json!({"message": "Logged out"}));
    };
    let status = if cx.request.method == Method::Get { 302 } else { 303 };
    cx.answer(status).header("Location", next.as_bytes()).header("Cache-Control", b"no-store").empty()
}
