//! Tokens that logins have brought, by account: kept, made to hold longer, and replaced in time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::secret::Secret;
use plugin::remember::Digest;

use super::account::{Account, Login};
use super::dialogue::{Dialogue, Granted, Refusal};

/// Accounts with a token at most; the one that has gone unused longest gives way.
const MOST: usize = 64;
/// An account that no secret in use needs is kept for so long: a configuration may be on its way.
const UNUSED: Duration = Duration::from_secs(600);

/// The tokens of all accounts.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<Digest, Session>>);

struct Session {
    account: Arc<Account>,
    token: Option<Token>,
    /// The secret id that was unwrapped, with the digest of its wrapping.
    unwrapped: Option<(Digest, Secret)>,
    used: Instant,
}

#[derive(Clone)]
struct Token {
    text: Secret,
    /// It is worth nothing then; none is never.
    ends: Option<Instant>,
    /// It is made to hold longer, or replaced, from then on.
    due: Option<Instant>,
    is_renewable: bool,
    /// How long it held at first.
    lasts: Duration,
}

impl Token {
    fn new(granted: Granted, now: Instant) -> Self {
        let lasts = granted.lasts;
        let ends = (!lasts.is_zero()).then(|| now.checked_add(lasts)).flatten();
        Self {
            text: granted.token,
            ends,
            due: ends.map(|_| now + lasts * 2 / 3),
            is_renewable: granted.is_renewable,
            lasts,
        }
    }

    /// Holds for so long from now on. Where that is much less than before, its time is nearly over for good.
    fn renewed(self, mut granted: Granted, now: Instant) -> Self {
        granted.token = self.text;
        let renewed = Self::new(granted, now);
        let is_renewable = renewed.is_renewable && renewed.lasts >= self.lasts / 2;
        Self { is_renewable, lasts: self.lasts, ..renewed }
    }

    fn holds(&self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

impl Sessions {
    /// A token of the account that holds now.
    pub async fn token(&self, dialogue: &Dialogue<'_>, now: Instant) -> Result<Secret, Refusal> {
        if let Login::Token(token) = &dialogue.account.login {
            return Ok(token.clone());
        }
        let known = self.known(dialogue.account, now);
        if let Some(token) = known.as_ref().filter(|token| token.holds(now) && !token.is_due(now)) {
            return Ok(token.text.clone());
        }
        match self.fresh(dialogue, known.clone(), now).await {
            Ok(token) => Ok(token),
            // There is still time.
            Err(refusal) => known.filter(|token| token.holds(now)).map(|token| token.text).ok_or(refusal),
        }
    }

    /// Makes the token hold longer, or gets another.
    async fn fresh(
        &self,
        dialogue: &Dialogue<'_>,
        known: Option<Token>,
        now: Instant,
    ) -> Result<Secret, Refusal> {
        if let Some(token) = known.filter(|token| token.is_renewable && token.holds(now)) {
            match dialogue.renew(&token.text).await {
                Ok(granted) => return Ok(self.keep(dialogue.account, token.renewed(granted, now))),
                Err(refusal) if refusal.will_pass() => return Err(refusal),
                Err(_) => {}
            }
        }
        let secret_id = self.secret_id(dialogue).await?;
        let granted = dialogue.log_in(secret_id.as_ref()).await?;
        Ok(self.keep(dialogue.account, Token::new(granted, now)))
    }

    /// The secret id where it comes wrapped. A wrapping can be opened once, so what was in it is kept.
    async fn secret_id(&self, dialogue: &Dialogue<'_>) -> Result<Option<Secret>, Refusal> {
        let Login::AppRole { proof, is_wrapped: true, .. } = &dialogue.account.login else { return Ok(None) };
        let key = dialogue.account.key();
        let kept = self.lock().get(&key).and_then(|session| session.unwrapped.clone());
        let wrapping = match (proof.read(), kept) {
            (Ok(wrapping), Some((of, secret_id))) => {
                if Digest::of([wrapping.reveal().as_bytes()]) == of {
                    return Ok(Some(secret_id));
                }
                wrapping
            }
            // Whoever has read it may have taken the file away.
            (Err(_), Some((_, secret_id))) => return Ok(Some(secret_id)),
            (wrapping, None) => wrapping?,
        };
        let secret_id = dialogue.unwrap(&wrapping).await?;
        if let Some(session) = self.lock().get_mut(&key) {
            session.unwrapped = Some((Digest::of([wrapping.reveal().as_bytes()]), secret_id.clone()));
        }
        Ok(Some(secret_id))
    }

    /// Forgets a token that the server does not know any more.
    pub fn forget(&self, account: &Account) {
        if let Some(session) = self.lock().get_mut(&account.key()) {
            session.token = None;
        }
    }

    /// Accounts whose token is due, of those in use; others are forgotten after a while.
    pub fn due(&self, in_use: &[Digest], now: Instant) -> Vec<Arc<Account>> {
        let mut sessions = self.lock();
        sessions.retain(|key, session| {
            if in_use.contains(key) {
                session.used = now;
            }
            now.saturating_duration_since(session.used) < UNUSED
        });
        let due =
            sessions.values().filter(|session| session.token.as_ref().is_some_and(|token| token.is_due(now)));
        due.map(|session| session.account.clone()).collect()
    }

    fn known(&self, account: &Account, now: Instant) -> Option<Token> {
        let mut sessions = self.lock();
        let key = account.key();
        if sessions.len() >= MOST && !sessions.contains_key(&key) {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key);
            oldest.map(|oldest| sessions.remove(&oldest));
        }
        let session = sessions.entry(key).or_insert_with(|| Session {
            account: Arc::new(account.clone()),
            token: None,
            unwrapped: None,
            used: now,
        });
        session.used = now;
        session.token.clone()
    }

    fn keep(&self, account: &Account, token: Token) -> Secret {
        let text = token.text.clone();
        if let Some(session) = self.lock().get_mut(&account.key()) {
            session.token = Some(token);
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
