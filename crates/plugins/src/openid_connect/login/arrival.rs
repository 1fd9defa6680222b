//! People coming back from the provider (OpenID Connect Core 3.1.2.5 to 3.1.3, RFC 9207).

use std::borrow::Cow;
use std::sync::Arc;

use plugin::flow::Resume;
use plugin::jose::Token;
use plugin::remember::Digest;
use plugin::{Access, Exchange, Flow, Headers, Method, query};
use serde_json::Value;

use super::super::Inner;
use super::super::admission::Admission;
use super::super::claims::{self, Reading};
use super::super::exchange::pairs;
use super::super::granted::Granted;
use super::super::http::{Pairs, form_of};
use super::super::id_token::{Expected, is_id_token};
use super::super::of_client::AskedWith;
use super::super::once::Use;
use super::super::refusal::Refusal;
use super::super::session::Ending;
use super::super::sources::is_form;
use super::super::verify::Signatures;
use super::Login;
use super::pending::Pending;

/// What a provider adds to the address that it sends browsers back to.
pub(super) const OF_ANSWERS: [&str; 6] =
    ["code", "state", "iss", "session_state", "error", "error_description"];

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

/// Somebody who has logged in.
pub(super) struct Arrived {
    pub(super) pending: Pending,
    pub(super) granted: Granted,
    pub(super) admission: Arc<Admission>,
    /// What a page is handed.
    pub(super) handed: Value,
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
            let outcome = match outcome {
                Ok(granted) => inner.admit_arrival(pending, granted, asked_with, (worker, now_ms)).await,
                Err(refusal) => Err(refusal),
            };
            let resume: Resume = Box::new(move |cx| match (outcome, inner.login()) {
                (Ok(arrived), Some(login)) => login.welcome(&inner, cx, lines, arrived),
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
        self.check_sender(inner, issuer.as_deref()).await?;
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
            authenticated_since_s: self.max_age_s.map(|max_age_s| pending.begun_s as f64 - max_age_s),
            signatures: inner.verification.signatures("authorization_code"),
        };
        let mut granted = inner.verification.granted(tokens, &expected, now_ms).await?;
        inner.complete(&mut granted, &asked_with.user_info, now_ms).await?;
        Ok(granted)
    }

    /// The answer is one of this provider, and of no other (RFC 9207 2.4).
    async fn check_sender(&self, inner: &Inner, issuer: Option<&str>) -> Result<(), Refusal> {
        let known = self.provider.obtain().await.map_err(|_| Refusal::Unavailable)?;
        let is_right = match issuer {
            None => !known.content.names_itself,
            Some(issuer) => inner.verification.is_called(issuer, &known),
        };
        if is_right { Ok(()) } else { Err(Refusal::Invalid("an answer of another provider")) }
    }

    /// Lets somebody in who has logged in.
    fn welcome(&self, inner: &Arc<Inner>, cx: &mut Access<'_>, lines: Headers, arrived: Arrived) -> Flow {
        let session = inner.sessions.as_ref().and_then(|sessions| sessions.begin(cx, &arrived.granted));
        inner.clone().keep_session(cx, session, move |inner, cx, session, kept| {
            if kept.is_err() {
                cx.remember(Some(Ending::writing(lines)));
                return inner.telling.refuse(cx, &Refusal::Unavailable);
            }
            inner.tokens.replay(cx, "authorization_code", &arrived.granted.tokens);
            let flow = inner.action.answer(inner, cx, &arrived, session.as_ref());
            cx.remember(Some(Ending::saving(inner.number, session, lines)));
            flow
        })
    }
}

impl Inner {
    /// Judges who has logged in, and gets what a page is to be handed.
    async fn admit_arrival(
        &self,
        pending: Pending,
        granted: Granted,
        asked_with: AskedWith,
        (worker, now_ms): (usize, u64),
    ) -> Result<Arrived, Refusal> {
        let admission = self.verification.admit_granted(worker, &granted, &granted.to_bytes(), now_ms)?;
        let (action, asked_with) = (&self.action, asked_with.introspection);
        let handed = action
            .handed(&self.verification, "authorization_code", &granted.tokens, asked_with, now_ms)
            .await?;
        Ok(Arrived { pending, granted, admission, handed })
    }
}

const MALFORMED: Refusal = Refusal::Invalid("a malformed answer to a login");

/// The only value of an argument; none if there is none, and a refusal if there are several (RFC 6749 3.1).
fn one_value<'a>(arguments: &'a [u8], name: &str) -> Option<Result<Cow<'a, [u8]>, Refusal>> {
    let mut values = query::values(arguments, name);
    let first = values.next()?;
    Some(if values.next().is_none() { Ok(first) } else { Err(MALFORMED) })
}
