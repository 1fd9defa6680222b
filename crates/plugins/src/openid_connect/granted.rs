//! Tokens that the provider gave to the gateway for somebody, and what they say.

use std::sync::Arc;

use plugin::jose::Token;
use serde_json::{Value, json};

use super::claims::Claims;
use super::http::Pairs;
use super::id_token::Expected;
use super::refusal::Refusal;
use super::told::{Evidence, Part};
use super::verify::{Signatures, Verification, is_access_token};

/// What the token endpoint answers (RFC 6749 5.1).
#[derive(Clone)]
pub(super) struct TokenSet {
    pub(super) access: String,
    pub(super) id: Option<String>,
    pub(super) refresh: Option<String>,
    /// When the access token ends, in seconds since 1970, if that is known.
    pub(super) ends_s: Option<u64>,
    /// What it is good for.
    pub(super) scope: Option<String>,
    /// The whole answer, for who hands it on.
    pub(super) answer: Value,
    /// Headers of the answer that the client gets.
    pub(super) replayed: Pairs,
}

/// Tokens that have been checked. What is kept of somebody who logged in.
#[derive(Clone)]
pub(super) struct Granted {
    pub(super) tokens: TokenSet,
    /// The access token says something that can be relied on.
    reads_access: bool,
    pub(super) user_info: Option<Claims>,
    /// What was had from elsewhere, where the tokens or the provider point to it.
    pub(super) elsewhere: Claims,
    /// The same as it was signed, where somebody is told it.
    pub(super) user_info_token: Option<String>,
    /// The public keys that the access token and the ID token are signed with, as JSON, where somebody is told them.
    access_key: Option<Arc<str>>,
    id_key: Option<Arc<str>>,
    /// When the provider made the first ID token, in seconds since 1970 by its clock.
    pub(super) begun_s: u64,
    /// Whom the tokens are about, and the session at the provider.
    pub(super) subject: Option<String>,
    pub(super) session: Option<String>,
}

impl TokenSet {
    /// What the answer of a token endpoint holds; none if there is no token in it that can be used (RFC 6749 7.1).
    /// `asked` are the scopes that were asked for, which hold unless others are named.
    pub(super) fn of(answer: Value, asked: &str, now_s: u64) -> Option<Self> {
        let text = |name: &str| answer[name].as_str().map(str::to_owned).filter(|text| !text.is_empty());
        let is_bearer = answer["token_type"].as_str().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        let lifetime = match &answer["expires_in"] {
            Value::String(text) => text.parse().ok(),
            number => number.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64),
        };
        let access = text("access_token")
            .filter(|token| is_bearer && token.bytes().all(|byte| byte.is_ascii_graphic()))?;
        Some(Self {
            access,
            id: text("id_token"),
            refresh: text("refresh_token"),
            ends_s: lifetime.map(|seconds: u64| now_s.saturating_add(seconds)),
            scope: text("scope").or_else(|| Some(asked.to_owned()).filter(|asked| !asked.is_empty())),
            answer,
            replayed: Pairs::new(),
        })
    }

    /// What a caller has brought itself.
    pub(super) fn brought(access: &[u8], id: Option<String>) -> Self {
        let access = String::from_utf8_lossy(access).into_owned();
        Self {
            access,
            id,
            refresh: None,
            ends_s: None,
            scope: None,
            answer: Value::Null,
            replayed: Pairs::new(),
        }
        .answered()
    }

    /// The same with an answer that it might have come in, where that has not been kept.
    pub(super) fn answered(self) -> Self {
        let members = [
            ("access_token", Some(&self.access)),
            ("id_token", self.id.as_ref()),
            ("refresh_token", self.refresh.as_ref()),
            ("scope", self.scope.as_ref()),
        ];
        let members =
            members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.as_str().into())));
        let answer = Value::Object(members.collect());
        Self { answer, ..self }
    }
}

impl Granted {
    /// Everything that is said of whoever the tokens are about. The access token has the last word.
    pub(super) fn claims(&self) -> Claims {
        let mut claims = self.elsewhere.clone();
        claims.extend(self.user_info.clone().unwrap_or_default());
        let said = |token: &str| Token::without_verification(token.as_bytes()).map(|token| token.claims);
        claims.extend(self.tokens.id.as_deref().and_then(|token| said(token).ok()).unwrap_or_default());
        if self.reads_access {
            claims.extend(said(&self.tokens.access).unwrap_or_default());
        }
        if let Some(scope) = &self.tokens.scope {
            claims.entry("scope").or_insert_with(|| scope.as_str().into());
        }
        claims
    }

    /// Whether there is nothing in the tokens that could be read.
    pub(super) fn says_nothing(&self) -> bool {
        !self.reads_access && self.tokens.id.is_none()
    }

    pub(super) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            access: self.tokens.access.as_bytes(),
            id: self.tokens.id.as_deref(),
            refresh: self.tokens.refresh.as_deref(),
            user_info: self.user_info.as_ref(),
            user_info_token: self.user_info_token.as_deref(),
            access_key: self.access_key.as_deref(),
            id_key: self.id_key.as_deref(),
            ..Evidence::default()
        }
    }

    /// The access token, if it says something that can be relied on.
    pub(super) fn readable_access(&self) -> Option<&str> {
        Some(self.tokens.access.as_str()).filter(|_| self.reads_access)
    }

    /// As a session keeps it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let tokens = &self.tokens;
        let mut kept = json!({
            "a": tokens.access, "i": tokens.id, "r": tokens.refresh, "e": tokens.ends_s, "s": tokens.scope,
            "j": self.reads_access, "u": self.user_info, "b": self.begun_s, "n": self.subject, "d": self.session,
            "c": Some(&self.elsewhere).filter(|claims| !claims.is_empty()), "w": self.user_info_token, "k": self.access_key.as_deref(), "l": self.id_key.as_deref(),
        });
        if let Some(members) = kept.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        kept.to_string().into_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut kept: Value = serde_json::from_slice(bytes).ok()?;
        let mut claims = |name: &str| match kept[name].take() {
            Value::Object(claims) => Some(claims),
            _ => None,
        };
        let (user_info, elsewhere) = (claims("u"), claims("c").unwrap_or_default());
        let text = |name: &str| kept[name].as_str().map(str::to_owned);
        Some(Self {
            tokens: TokenSet {
                access: text("a")?,
                id: text("i"),
                refresh: text("r"),
                ends_s: kept["e"].as_u64(),
                scope: text("s"),
                answer: Value::Null,
                replayed: Pairs::new(),
            },
            reads_access: kept["j"].as_bool()?,
            user_info,
            elsewhere,
            user_info_token: text("w"),
            access_key: text("k").map(Into::into),
            id_key: text("l").map(Into::into),
            begun_s: kept["b"].as_u64()?,
            subject: text("n"),
            session: text("d"),
        })
    }

    /// The same person with newer tokens. What the provider did not send anew is still good (RFC 6749 6).
    pub(super) fn renewed(&self, newer: Self) -> Self {
        let before = &self.tokens;
        let id_key = if newer.tokens.id.is_some() { newer.id_key } else { self.id_key.clone() };
        let points_anew = newer.tokens.id.is_some() || newer.user_info.is_some();
        let elsewhere = if points_anew { newer.elsewhere } else { self.elsewhere.clone() };
        let tokens = TokenSet {
            id: newer.tokens.id.or_else(|| before.id.clone()),
            refresh: newer.tokens.refresh.or_else(|| before.refresh.clone()),
            scope: newer.tokens.scope.or_else(|| before.scope.clone()),
            ..newer.tokens
        };
        Self {
            tokens,
            reads_access: newer.reads_access,
            user_info: newer.user_info.or_else(|| self.user_info.clone()),
            elsewhere,
            user_info_token: newer.user_info_token.or_else(|| self.user_info_token.clone()),
            access_key: newer.access_key,
            id_key,
            begun_s: self.begun_s,
            subject: self.subject.clone(),
            session: newer.session.or_else(|| self.session.clone()),
        }
    }
}

impl Verification {
    /// Checks tokens that came from the token endpoint.
    pub(super) async fn granted(
        &self,
        mut tokens: TokenSet,
        expected: &Expected<'_>,
        now_ms: u64,
    ) -> Result<Granted, Refusal> {
        let now_ms = self.after_answer(now_ms);
        let id = match &tokens.id {
            Some(token) => Some(self.id_token(token, &tokens.access, expected, now_ms).await?),
            None if expected.demands_id_token => return Err(Refusal::Invalid("no ID token")),
            None => None,
        };
        let access = self.readable(&tokens.access, expected.signatures, now_ms).await;
        if tokens.ends_s.is_none() {
            let exp = access.as_ref().and_then(|token| token.claims.get("exp")?.as_f64());
            tokens.ends_s = exp.map(|exp| exp as u64);
        }
        let key = |token: Option<&Token>, part| {
            token.and_then(|token| token.key.clone()).filter(|_| self.rules.tell(part))
        };
        let (access_key, id_key) = (key(access.as_ref(), Part::AccessKey), key(id.as_ref(), Part::IdKey));
        let said = id.map(|token| token.claims).unwrap_or_default();
        let text = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
        let begun_s = said.get("iat").and_then(Value::as_f64).map_or(now_ms / 1_000, |iat| iat as u64);
        let (subject, session) = (text("sub"), text("sid"));
        Ok(Granted {
            tokens,
            reads_access: access.is_some(),
            user_info: None,
            elsewhere: Claims::new(),
            user_info_token: None,
            access_key,
            id_key,
            begun_s,
            subject,
            session,
        })
    }

    /// An access token, if it is one that the gateway can read.
    async fn readable(&self, token: &str, signatures: Signatures, now_ms: u64) -> Option<Token> {
        plugin::jose::Header::of(token.as_bytes()).ok()?;
        let (token, known) = self.signed(token.as_bytes(), is_access_token, signatures).await.ok()?;
        self.fault(&token.claims, &known, now_ms).is_none().then_some(token)
    }
}
