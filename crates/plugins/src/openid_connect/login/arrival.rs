//! People coming back from the provider (OpenID Connect Core 3.1.2.5 to 3.1.3, RFC 9207).

use std::borrow::Cow;
use std::sync::Arc;

use plugin::flow::Resume;
use plugin::jose::Token;
use plugin::remember::Digest;
use plugin::web_session::Opened;
use plugin::{Access, BuildError, Exchange, Flow, Headers, Method, query};
use serde_json::Value;

use super::super::Inner;
use super::super::admission::Admission;
use super::super::claims::{self, Reading};
use super::super::config::Config;
use super::super::exchange::pairs;
use super::super::granted::{Granted, TokenSet};
use super::super::http::{Pairs, form_of};
use super::super::id_token::{Expected, is_id_token};
use super::super::of_client::AskedWith;
use super::super::once::Use;
use super::super::refusal::Refusal;
use super::super::session::Ending;
use super::super::sources::is_form;
use super::super::verify::{Outcome, Signatures};
use super::pending::Pending;
use super::{Login, destination, handed, is_signed, with_arguments};

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
    /// The answer as it was signed, where answers are.
    signed: Option<String>,
}

/// What follows a login.
pub(in super::super) struct Action {
    kind: Kind,
    /// The methods that it follows.
    methods: Vec<String>,
    uri: Option<String>,
    in_fragment: bool,
    tokens: Vec<String>,
    keeps_query: bool,
    expects_signed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Upstream,
    Redirect,
    Response,
}

impl Action {
    pub(in super::super) fn new(config: &Config) -> Result<Self, BuildError> {
        let login = &config.login;
        Ok(Self {
            kind: match login.login_action.as_str() {
                "redirect" => Kind::Redirect,
                "response" => Kind::Response,
                _ => Kind::Upstream,
            },
            methods: login.login_methods.clone(),
            uri: destination("login_redirect_uri", &login.login_redirect_uri)?,
            in_fragment: login.login_redirect_mode == "fragment",
            tokens: login.login_tokens.clone(),
            keeps_query: login.preserve_query_args,
            expects_signed: is_signed(&login.response_mode),
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
        let (answer, signed) = match self.expects_signed {
            true => match self.unpacked(&answer) {
                Some((said, signed)) => (Cow::Owned(said), Some(signed)),
                // Who leaves the signature away does not get further.
                None if one_value(&answer, "state").is_some() && one_value(&answer, "code").is_some() => {
                    return Arrival::Unknown;
                }
                None => return Arrival::None,
            },
            false => (answer, None),
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
        Arrival::Answered(Box::new(Answered { pending, lines, code, issuer, signed }))
    }

    /// What a signed answer says, as a form, and the answer itself. Nothing of it is believed yet.
    fn unpacked(&self, answer: &[u8]) -> Option<(Vec<u8>, String)> {
        let signed = String::from_utf8(one_value(answer, "response")?.ok()?.into_owned()).ok()?;
        let claims = Token::without_verification(signed.as_bytes()).ok()?.claims;
        let named = OF_ANSWERS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), claims.get(*name)?.as_str()?.to_owned())));
        Some((form_of(&named.collect::<Pairs>()).into_bytes(), signed))
    }

    /// Checks that a signed answer is the provider's, to this client, of now (JARM 2.4).
    async fn check_signed(&self, inner: &Inner, signed: &str, now_ms: u64) -> Result<(), Refusal> {
        let verification = &inner.verification;
        let (token, known) = verification.signed(signed.as_bytes(), is_id_token, Signatures::Checked).await?;
        let claims = &token.claims;
        let is_for_us = claims::list(claims.get("aud"), Reading::Whole).contains(&self.client.as_str());
        match verification.fault(claims, &known, now_ms) {
            Some(fault) => Err(Refusal::Invalid(fault)),
            None if !is_for_us => Err(Refusal::Invalid("an answer to a login at another client")),
            None => Ok(()),
        }
    }

    /// Ends a login with what the provider has answered.
    pub(in super::super) fn end(&self, inner: &Arc<Inner>, cx: &Access<'_>, answered: Answered) -> Flow {
        let (inner, worker, now_ms) = (inner.clone(), cx.worker.index, cx.record.started_ms);
        let asked_with = inner.asked_with(cx);
        Flow::wait(async move {
            let outcome = match inner.login() {
                Some(login) => login.redeem(&inner, &answered, &asked_with, (worker, now_ms)).await,
                None => Err(Refusal::Unavailable),
            };
            let Answered { pending, lines, .. } = answered;
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
        answered: &Answered,
        asked_with: &AskedWith,
        (worker, now_ms): (usize, u64),
    ) -> Result<Granted, Refusal> {
        let Answered { pending, code, issuer, signed, .. } = answered;
        let code = code.as_ref().map_err(Clone::clone)?;
        if let Some(signed) = signed {
            self.check_signed(inner, signed, now_ms).await?;
        }
        self.check_sender(issuer.as_deref()).await?;
        let login = Use {
            thing: Digest::of([pending.state.as_bytes()]),
            made_s: pending.begun_s,
            oldest_s: (now_ms / 1_000).saturating_sub(self.pending.timeout_s()),
        };
        if !self.used.is_first(worker, &login).await? {
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
        let tokens = inner.tokens.redeem(form, &asked_with.tokens, now_ms).await?;
        let expected = Expected {
            client: &self.client,
            demands_id_token: self.demands_id_token,
            nonce: Some(pending.nonce.as_str()).filter(|_| self.checks_nonce),
            subject: None,
            max_age_s: self.max_age_s,
            signatures: inner.verification.signatures("authorization_code"),
        };
        let mut granted = inner.verification.granted(tokens, &expected, now_ms).await?;
        inner.add_user_info(&mut granted, &asked_with.user_info, now_ms).await?;
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
            if kept.is_err() {
                cx.remember(Some(Ending::writing(lines)));
                return inner.telling.refuse(cx, &Refusal::Unavailable);
            }
            inner.tokens.replay(cx, "authorization_code", &granted.tokens);
            let flow = inner.action.answer(inner, cx, (&pending, &granted), &admission, session.as_ref());
            cx.remember(Some(Ending::saving(inner.number, session, lines)));
            flow
        })
    }
}

impl Action {
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
        match self.kind("authorization_code") {
            Kind::Upstream if !is_posted => {
                self.show_upstream(cx, pending);
                inner.go_on(cx, admission, session);
                Flow::Next
            }
            // The upstream gets no request that was only meant for the gateway.
            Kind::Upstream => see_other(cx, &pending.target),
            Kind::Redirect => see_other(cx, &self.redirection(&pending.target, &granted.tokens)),
            Kind::Response => self.hand_over(cx, &granted.tokens),
        }
    }

    fn kind(&self, method: &str) -> Kind {
        match self.methods.iter().any(|listed| listed == method) {
            true => self.kind,
            false => Kind::Upstream,
        }
    }

    /// What follows where a caller has got tokens by `method` without a login; none if the request goes on.
    pub(in super::super) fn after(
        &self,
        cx: &mut Access<'_>,
        method: &str,
        tokens: &TokenSet,
    ) -> Option<Flow> {
        match self.kind(method) {
            Kind::Response => Some(self.hand_over(cx, tokens)),
            // Without another address, the caller would be sent to where it is.
            Kind::Redirect if self.uri.is_some() => Some(see_other(cx, &self.redirection("/", tokens))),
            Kind::Redirect | Kind::Upstream => None,
        }
    }

    fn hand_over(&self, cx: &mut Access<'_>, tokens: &TokenSet) -> Flow {
        let handed = handed(&self.tokens, &tokens.answer);
        cx.answer(200).header("Cache-Control", b"no-store").json(&handed)
    }

    /// The upstream sees the request without what the provider has added.
    fn show_upstream(&self, cx: &mut Access<'_>, pending: &Pending) {
        if self.keeps_query {
            let before = pending.target.split_once('?').map(|(_, query)| query.as_bytes().to_vec());
            return cx.set_upstream_query(before.as_deref());
        }
        let mut rest = cx.upstream.query.clone();
        let signed = self.expects_signed.then_some("response");
        for name in OF_ANSWERS.into_iter().chain(signed) {
            rest = query::without(&rest, name).unwrap_or(rest);
        }
        cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
    }

    /// Where the browser goes. Tokens go nowhere but to where the configuration says.
    fn redirection(&self, target: &str, tokens: &TokenSet) -> String {
        let (path, asked) = target.split_once('?').unwrap_or((target, ""));
        let Some(uri) = &self.uri else {
            return if self.keeps_query { target.to_owned() } else { path.to_owned() };
        };
        let Value::Object(handed) = handed(&self.tokens, &tokens.answer) else {
            return uri.clone();
        };
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let tokens: Pairs = handed.into_iter().map(|(name, value)| (name, text(value))).collect();
        let uri = match self.keeps_query && !asked.is_empty() {
            true => format!("{uri}{}{asked}", if uri.contains('?') { '&' } else { '?' }),
            false => uri.clone(),
        };
        match self.in_fragment && !tokens.is_empty() {
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
