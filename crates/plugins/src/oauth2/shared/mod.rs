//! Tokens and codes in Redis, shared by all gateways that use it.
//!
//! A consent has two keys in one slot: a hash with its code, its refresh token and those that were replaced, and its
//! access token. The text of each token and code begins with the name of its consent, which is no secret; what else is in it
//! is nowhere but hashed. Each
//! step is one script, so of many gateways that redeem a code or use a refresh token at once, one succeeds. A script that
//! runs twice, because its answer was lost, comes to the same.

mod record;

use std::sync::Arc;

use plugin::redis::{Answer, Argument, Invocation, Script};

use super::secret::{Hash, consent_of, hash, hex, is};
use super::store::{Code, NEVER, Token};
use super::tokens::{Redeemed, Refreshed, Trouble};

/// Refresh tokens of a consent that are known to be spent. An older one is unknown, and revokes nothing.
const MOST_SPENT: usize = 64;
/// Digits of a hash.
const DIGITS: usize = 64;

static ADD: Script = Script::new(concat!(include_str!("common.lua"), include_str!("add.lua")));
static ADD_CODE: Script = Script::new(concat!(include_str!("common.lua"), include_str!("add_code.lua")));
static LOOK_AT: Script = Script::new(concat!(include_str!("common.lua"), include_str!("look_at.lua")));
static REDEEM: Script = Script::new(concat!(include_str!("common.lua"), include_str!("redeem.lua")));
static REFRESH: Script = Script::new(concat!(include_str!("common.lua"), include_str!("refresh.lua")));
static REPLACE: Script = Script::new(concat!(include_str!("common.lua"), include_str!("replace.lua")));
static REVOKE: Script = Script::new(concat!(include_str!("common.lua"), include_str!("revoke.lua")));

/// The tokens of all gateways with this Redis.
pub(super) struct SharedTokens(pub(super) Arc<plugin::redis::Store>);

/// The keys of a consent.
struct Keys {
    consent: Vec<u8>,
    access_token: Vec<u8>,
}

impl Keys {
    /// Of the consent that the text of a token or code names.
    fn of(text: &str) -> Option<Self> {
        consent_of(text).map(|consent| Self::named(&consent))
    }

    fn named(consent: &[u8]) -> Self {
        let tag = &hex(&hash(consent))[..32];
        Self {
            consent: format!("oauth2:{{{tag}}}").into_bytes(),
            access_token: format!("oauth2:{{{tag}}}:token").into_bytes(),
        }
    }
}

impl SharedTokens {
    /// The token with this text, if it has not ended.
    pub(super) async fn find(
        &self,
        worker: usize,
        text: &str,
        now: u64,
    ) -> Result<Option<Arc<Token>>, Trouble> {
        let Some(keys) = Keys::of(text) else { return Ok(None) };
        let found = self.0.read(worker, &keys.access_token).await.map_err(|_| Trouble::Silent)?;
        let token = found.as_deref().and_then(record::token);
        // Another token of the same consent has the same key.
        let token = token.filter(|token| is(text.as_bytes(), &token.access) && now <= token.expires);
        Ok(token.map(Arc::new))
    }

    pub(super) async fn add_code(&self, worker: usize, code: &Code, now: u64) -> Result<(), Trouble> {
        let keys = Keys::named(&super::secret::consent(&code.grant.family));
        let arguments = vec![hex(&code.code).into(), record::of_code(code).into(), lifetime(code.gone, now)];
        self.evaluate(worker, &ADD_CODE, keys, arguments).await.map(drop)
    }

    pub(super) async fn look_at(&self, worker: usize, text: &str, now: u64) -> Result<Option<Code>, Trouble> {
        let Some(keys) = Keys::of(text) else { return Ok(None) };
        let mut known = self.evaluate(worker, &LOOK_AT, keys, Vec::new()).await?.into_iter();
        let (code, record) =
            (known.next().and_then(Answer::into_bytes), known.next().and_then(Answer::into_bytes));
        let hash = hash(text.as_bytes());
        let found = code.zip(record).filter(|(code, _)| *code == hex(&hash).into_bytes());
        Ok(found.and_then(|(_, record)| record::code(hash, &record)).filter(|code| now < code.gone))
    }

    pub(super) async fn redeem(
        &self,
        worker: usize,
        code: &Hash,
        token: &Token,
        now: u64,
    ) -> Result<Redeemed, Trouble> {
        let mut arguments = of_token(token, now);
        arguments.push(hex(code).into());
        let answer = self.evaluate(worker, &REDEEM, keys_of(token), arguments).await?;
        Ok(match answer.first() {
            Some(Answer::Number(1)) => Redeemed::Good,
            Some(Answer::Number(2)) => Redeemed::Again,
            _ => Redeemed::Unknown,
        })
    }

    pub(super) async fn refresh(&self, worker: usize, text: &str, now: u64) -> Result<Refreshed, Trouble> {
        let Some(keys) = Keys::of(text) else { return Ok(Refreshed::Unknown) };
        let arguments = vec![hex(&hash(text.as_bytes())).into()];
        let mut answer = self.evaluate(worker, &REFRESH, keys, arguments).await?.into_iter();
        Ok(match (answer.next(), answer.next().and_then(Answer::into_bytes)) {
            (Some(Answer::Number(1)), Some(record)) => match record::token(&record) {
                Some(token) if now < token.gone => Refreshed::Good(Arc::new(token)),
                _ => Refreshed::Unknown,
            },
            (Some(Answer::Number(2)), _) => Refreshed::Spent,
            _ => Refreshed::Unknown,
        })
    }

    /// Keeps a token, in place of `replaced`.
    pub(super) async fn add(
        &self,
        worker: usize,
        token: &Token,
        replaced: Option<&Token>,
        now: u64,
    ) -> Result<(), Trouble> {
        let mut arguments = of_token(token, now);
        let Some(old) = replaced else {
            return self.evaluate(worker, &ADD, keys_of(token), arguments).await.map(drop);
        };
        let most = i64::try_from(MOST_SPENT * DIGITS).unwrap_or(i64::MAX);
        arguments.extend([hex(&old.access).into(), refresh_of(old).into(), most.into()]);
        match self.evaluate(worker, &REPLACE, keys_of(token), arguments).await?.first() {
            Some(Answer::Number(1)) => Ok(()),
            _ => Err(Trouble::Full),
        }
    }

    /// Takes a token back, with its refresh token.
    pub(super) async fn revoke(&self, worker: usize, token: &Token) -> Result<(), Trouble> {
        self.evaluate(worker, &REVOKE, keys_of(token), Vec::new()).await.map(drop)
    }

    async fn evaluate(
        &self,
        worker: usize,
        script: &'static Script,
        keys: Keys,
        arguments: Vec<Argument>,
    ) -> Result<Vec<Answer>, Trouble> {
        let invocation = Invocation { script, keys: vec![keys.consent, keys.access_token], arguments };
        let answer = self.0.evaluate(worker, &invocation).await.map_err(|_| Trouble::Silent)?;
        Ok(answer.into_list())
    }
}

fn keys_of(token: &Token) -> Keys {
    Keys::named(&super::secret::consent(&token.grant.family))
}

/// What every script that keeps a token is told.
fn of_token(token: &Token, now: u64) -> Vec<Argument> {
    // An access token is good in the last second of its time, too.
    let ends = if token.expires == NEVER { NEVER } else { token.expires + 1 };
    vec![
        hex(&token.access).into(),
        record::of_token(token).into(),
        lifetime(ends, now),
        refresh_of(token).into(),
        lifetime(token.gone, now),
    ]
}

fn refresh_of(token: &Token) -> String {
    token.refresh.as_ref().map(hex).unwrap_or_default()
}

/// Milliseconds from `now` to `end`; 0 for one that never comes.
fn lifetime(end: u64, now: u64) -> Argument {
    let milliseconds = match end {
        NEVER => 0,
        _ => end.saturating_sub(now).saturating_mul(1_000).clamp(1, i64::MAX as u64 >> 12),
    };
    Argument::Number(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}
