//! People coming back from the provider (OpenID Connect Core 3.1.2.5 to 3.1.3, RFC 9207).

use std::borrow::Cow;
use std::sync::Arc;

use plugin::flow::Resume;
use plugin::remember::Digest;
use plugin::web_session::Opened;
use plugin::{Access, BuildError, Exchange, Flow, Headers, Method, query};
use serde_json::Value;

use super::super::Inner;
use super::super::admission::Admission;
use super::super::config::Config;
use super::super::exchange::pairs;
use super::super::granted::Granted;
use super::super::http::{Pairs, form_of};
use super::super::id_token::Expected;
use super::super::refusal::Refusal;
use super::super::session::Ending;
use super::super::sources::is_form;
use super::super::verify::Outcome;
use super::pending::Pending;
use super::{Login, destination, handed, with_arguments};

/// What a provider adds to the address that it sends browsers back to.
const OF_ANSWERS: [&str; 6] = ["code", "state", "iss", "session_state", "error", "error_description"];

/// Whether a request comes from the provider.
pub(in super::super) enum Arrival {
    /// It does not.
    None,
    /// It may; its body has to be read.
    NeedsBody,
    /// It seems to, but this browser has no such login under way.
    Unknown,
    /// With the answer to a login of this browser.
    Answered(Box<Answered>),
}

/// The answer to a login.
pub(in super::super) struct Answered {
    pending: Pending,
    /// Makes the browser forget the login.
    lines: Headers,
    code: Result<String, Refusal>,
    issuer: Option<String>,
}

/// What follows a login.
pub(super) struct Action {
    kind: Kind,
    uri: Option<String>,
    in_fragment: bool,
    tokens: Vec<String>,
    keeps_query: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Upstream,
    Redirect,
    Response,
}

impl Action {
    pub(super) fn new(config: &Config) -> Result<Self, BuildError> {
        let login = &config.login;
        Ok(Self {
            kind: match login.login_action.as_str() {
                "redirect" => Kind::Redirect,
                "response" => Kind::Response,
                _ => Kind::Upstream,
            },
            uri: destination("login_redirect_uri", &login.login_redirect_uri)?,
            in_fragment: login.login_redirect_mode == "fragment",
            tokens: login.login_tokens.clone(),
            keeps_query: login.preserve_query_args,
        })
    }
}

impl Login {
    /// Whether the request comes from the provider.
    pub(in super::super) fn arrival(&self, exchange: &Exchange) -> Arrival {
        let posts = exchange.request.method == Method::Post && is_form(exchange);
        let answer = match (posts, &exchange.body) {
            (false, _) => Cow::Borrowed(exchange.request.query().unwrap_or_default()),
            // A body is held for the sake of a login only where one is under way.
            (true, _) if !self.pending.are_there(exchange) => return Arrival::None,
            (true, None) => return Arrival::NeedsBody,
            (true, Some(body)) => Cow::Borrowed(body.as_slice()),
        };
        let one = |name: &str| one_value(&answer, name);
        let (Some(state), code, error) = (one("state"), one("code"), one("error")) else {
            return Arrival::None;
        };
        if code.is_none() && error.is_none() {
            return Arrival::None;
        }
        let known = state.ok().and_then(|state| self.pending.take(exchange, &state));
        let Some((pending, lines)) = known else { return Arrival::Unknown };
        let text = |value: Cow<'_, [u8]>| String::from_utf8(value.into_owned()).map_err(|_| MALFORMED);
        let code = match (code, error) {
            (Some(code), None) => code.and_then(text),
            _ => Err(Refusal::Invalid("the provider did not log anybody in")),
        };
        let (code, issuer) = match one("iss") {
            None => (code, None),
            Some(Ok(issuer)) => (code, text(issuer).ok()),
            Some(Err(refusal)) => (Err(refusal), None),
        };
        Arrival::Answered(Box::new(Answered { pending, lines, code, issuer }))
    }

    /// Ends a login with what the provider has answered.
    pub(in super::super) fn end(&self, inner: &Arc<Inner>, cx: &Access<'_>, answered: Answered) -> Flow {
        let (inner, worker, now_ms) = (inner.clone(), cx.worker.index, cx.record.started_ms);
        Flow::wait(async move {
            let Answered { pending, lines, code, issuer } = answered;
            let outcome = match (inner.login(), code) {
                (Some(login), Ok(code)) => {
                    login.redeem(&inner, &pending, &code, issuer.as_deref(), now_ms).await
                }
                (_, Err(refusal)) => Err(refusal),
                (None, _) => Err(Refusal::Unavailable),
            };
            let outcome = outcome.map(|granted| {
                let admitted =
                    inner.verification.admit_granted(worker, &granted, &granted.to_bytes(), now_ms);
                (granted, admitted)
            });
            let resume: Resume = Box::new(move |cx| match (outcome, inner.login()) {
                (Ok((granted, admitted)), Some(login)) => {
                    login.welcome(&inner, cx, pending, lines, granted, admitted)
                }
                (outcome, _) => {
                    cx.remember(Some(Ending::writing(lines)));
                    inner.conclude(cx, Err(outcome.err().unwrap_or(Refusal::Unavailable)))
                }
            });
            resume
        })
    }

    async fn redeem(
        &self,
        inner: &Inner,
        pending: &Pending,
        code: &str,
        issuer: Option<&str>,
        now_ms: u64,
    ) -> Result<Granted, Refusal> {
        self.check_sender(issuer).await?;
        let state = Digest::of([pending.state.as_bytes()]);
        let oldest = (now_ms / 1_000).saturating_sub(self.pending.timeout_s());
        if !self.used.set(state, pending.begun_s, oldest) {
            return Err(Refusal::Invalid("the login has been used already"));
        }
        let mut form = pairs([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &pending.redirect_uri),
        ]);
        if self.proves_possession {
            form.extend(pairs([("code_verifier", &pending.verifier)]));
        }
        let tokens = inner.tokens.redeem(form, now_ms).await?;
        let expected = Expected {
            client: &self.client,
            demands_id_token: self.demands_id_token,
            nonce: Some(pending.nonce.as_str()).filter(|_| self.checks_nonce),
            subject: None,
            max_age_s: self.max_age_s,
        };
        let mut granted = inner.verification.granted(tokens, &expected, now_ms).await?;
        inner.add_user_info(&mut granted).await?;
        Ok(granted)
    }

    /// The answer is one of this provider, and of no other (RFC 9207 2.4).
    async fn check_sender(&self, issuer: Option<&str>) -> Result<(), Refusal> {
        let known = self.provider.obtain().await.map_err(|_| Refusal::Unavailable)?;
        match (issuer, &known.content.name) {
            (None, _) if !known.content.names_itself => Ok(()),
            (Some(issuer), Some(name)) if issuer == &**name => Ok(()),
            _ => Err(Refusal::Invalid("an answer of another provider")),
        }
    }

    /// Lets somebody in who has logged in.
    fn welcome(
        &self,
        inner: &Arc<Inner>,
        cx: &mut Access<'_>,
        pending: Pending,
        lines: Headers,
        granted: Granted,
        admitted: Outcome,
    ) -> Flow {
        let admission = match admitted {
            Ok(admission) => admission,
            Err(refusal) => {
                cx.remember(Some(Ending::writing(lines)));
                return inner.conclude(cx, Err(refusal));
            }
        };
        let session = inner.sessions.as_ref().and_then(|sessions| sessions.begin(cx, &granted));
        inner.clone().keep_session(cx, session, move |inner, cx, session, kept| {
            let Some(login) = inner.login().filter(|_| kept.is_ok()) else {
                cx.remember(Some(Ending::writing(lines)));
                return inner.telling.refuse(cx, &Refusal::Unavailable);
            };
            let flow = login.answer(inner, cx, (&pending, &granted), &admission, session.as_ref());
            cx.remember(Some(Ending::saving(session, lines)));
            flow
        })
    }

    /// What somebody gets who has logged in.
    fn answer(
        &self,
        inner: &Inner,
        cx: &mut Access<'_>,
        (pending, granted): (&Pending, &Granted),
        admission: &Admission,
        session: Option<&Opened>,
    ) -> Flow {
        let is_posted = cx.request.method == Method::Post;
        match self.action.kind {
            Kind::Upstream if !is_posted => {
                self.show_upstream(cx, pending);
                inner.go_on(cx, admission, session);
                Flow::Next
            }
            // The upstream gets no request that was only meant for the gateway.
            Kind::Upstream => see_other(cx, &pending.target),
            Kind::Redirect => see_other(cx, &self.redirection(pending, granted)),
            Kind::Response => cx
                .answer(200)
                .header("Cache-Control", b"no-store")
                .json(&handed(&self.action.tokens, &granted.tokens.answer)),
        }
    }

    /// The upstream sees the request without what the provider has added.
    fn show_upstream(&self, cx: &mut Access<'_>, pending: &Pending) {
        if self.action.keeps_query {
            let before = pending.target.split_once('?').map(|(_, query)| query.as_bytes().to_vec());
            return cx.set_upstream_query(before.as_deref());
        }
        let mut rest = cx.upstream.query.clone();
        for name in OF_ANSWERS {
            rest = query::without(&rest, name).unwrap_or(rest);
        }
        cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
    }

    /// Where the browser goes. Tokens go nowhere but to where the configuration says.
    fn redirection(&self, pending: &Pending, granted: &Granted) -> String {
        let (path, asked) = pending.target.split_once('?').unwrap_or((&pending.target, ""));
        let Some(uri) = &self.action.uri else {
            return if self.action.keeps_query { pending.target.clone() } else { path.to_owned() };
        };
        let Value::Object(handed) = handed(&self.action.tokens, &granted.tokens.answer) else {
            return uri.clone();
        };
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let tokens: Pairs = handed.into_iter().map(|(name, value)| (name, text(value))).collect();
        let uri = match self.action.keeps_query && !asked.is_empty() {
            true => format!("{uri}{}{asked}", if uri.contains('?') { '&' } else { '?' }),
            false => uri.clone(),
        };
        match self.action.in_fragment && !tokens.is_empty() {
            true => format!("{}#{}", uri.split('#').next().unwrap_or_default(), form_of(&tokens)),
            false => with_arguments(&uri, &tokens),
        }
    }
}

const MALFORMED: Refusal = Refusal::Invalid("a malformed answer to a login");

/// The only value of an argument; none if there is none, and a refusal if there are several (RFC 6749 3.1).
fn one_value<'a>(arguments: &'a [u8], name: &str) -> Option<Result<Cow<'a, [u8]>, Refusal>> {
    let mut values = query::values(arguments, name);
    let first = values.next()?;
    Some(if values.next().is_none() { Ok(first) } else { Err(MALFORMED) })
}

/// Has the browser ask for another address, by GET.
fn see_other(cx: &mut Access<'_>, location: &str) -> Flow {
    let status = if cx.request.method == Method::Post { 303 } else { 302 };
    cx.answer(status).header("Location", location.as_bytes()).header("Cache-Control", b"no-store").empty()
}
