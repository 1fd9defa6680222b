//! One question to the token endpoint, and what follows from its answer (RFC 6749 5).

use std::sync::Arc;
use std::time::Duration;

use plugin::remember::{Digest, Learned};

use super::granted::TokenSet;
use super::http::{Address, Http, Pairs};
use super::pool::{self, Pool, Said, Way};
use super::refusal::Refusal;

/// How long it is remembered that credentials were refused.
const REFUSED: Duration = Duration::from_secs(10);

/// What came of a question for tokens.
pub(super) enum Answered {
    Tokens(Box<TokenSet>),
    Refused,
}

/// One question, ready to be sent.
pub(super) struct Question {
    pub(super) worker: usize,
    pub(super) http: Arc<Http>,
    pub(super) address: Address,
    pub(super) form: Pairs,
    pub(super) headers: Pairs,
    pub(super) scope: String,
    pub(super) replayed: Vec<String>,
    pub(super) now_s: u64,
    /// Whether it is the gateway that signs in, rather than the caller with what it has brought.
    pub(super) is_own: bool,
}

/// Errors that are nothing a caller has done, where the gateway signs in (RFC 6749 5.2).
const OF_THE_CLIENT: [&str; 3] = ["invalid_client", "unauthorized_client", "unsupported_grant_type"];

impl Question {
    pub(super) async fn ask(
        self,
        holds: impl Fn(&TokenSet) -> Duration,
    ) -> Result<Learned<Answered>, String> {
        let said = self.say().await?;
        self.learned(said, holds).map(|(learned, _)| learned)
    }

    /// The same, unless another gateway has asked about `thing`, or asks.
    pub(super) async fn ask_for_all(
        self,
        pool: Option<Pool>,
        thing: Digest,
        holds: impl Fn(&TokenSet) -> Duration,
    ) -> Result<Learned<Answered>, String> {
        let Some(pool) = pool else { return self.ask(holds).await };
        let lease = match pool.way(self.worker, &thing).await? {
            Way::Told(said) => return self.learned(said, holds).map(|(learned, _)| learned),
            Way::Ask(lease) => lease,
        };
        let said = match self.say().await {
            Ok(said) => said,
            Err(error) => {
                pool::end(lease, None).await;
                return Err(error);
            }
        };
        let told = lease.is_some().then(|| said.to_bytes());
        match self.learned(said, holds) {
            Ok((learned, lifetime)) => {
                pool::end(lease, told.as_deref().zip(lifetime)).await;
                Ok(learned)
            }
            Err(error) => {
                pool::end(lease, None).await;
                Err(error)
            }
        }
    }

    /// Asks the provider.
    async fn say(&self) -> Result<Said, String> {
        let given = self.http.post_once(&self.address, &self.form, &self.headers).await?;
        let replayed = |name: &String| {
            let value = given.headers.get(name).map(String::from_utf8_lossy)?;
            Some((name.clone(), value.into_owned()))
        };
        let replayed = self.replayed.iter().filter_map(replayed).collect();
        Ok(Said { status: given.status, answer: given.content, replayed, asked_s: self.now_s })
    }

    /// What follows from an answer, and for how long others may take it.
    fn learned(
        &self,
        said: Said,
        holds: impl Fn(&TokenSet) -> Duration,
    ) -> Result<(Learned<Answered>, Option<Duration>), String> {
        let Said { status, answer, replayed, asked_s } = said;
        if matches!(status, 400 | 401 | 403) {
            let error = answer["error"].as_str();
            if let Some(error) = error.filter(|error| self.is_own && OF_THE_CLIENT.contains(error)) {
                return Err(format!("{} refuses the gateway itself: {error}", self.address.told()));
            }
            tracing::debug!(status, error, "a provider gives no tokens");
            return Ok((Learned::new(Answered::Refused, REFUSED), None));
        }
        if status != 200 {
            return Err(format!("{} answers {status}", self.address.told()));
        }
        let size = answer.to_string().len() * 2;
        let tokens = TokenSet::of(answer, &self.scope, asked_s);
        let mut tokens =
            tokens.ok_or_else(|| format!("no token that can be used from {}", self.address.told()))?;
        tokens.replayed = replayed;
        let holds = holds(&tokens);
        Ok((Learned::new(Answered::Tokens(Box::new(tokens)), holds).holding(size), Some(holds)))
    }
}

pub(super) fn tokens_of(outcome: &plugin::remember::Outcome<Answered>) -> Result<TokenSet, Refusal> {
    match outcome.as_deref() {
        Ok(Answered::Tokens(tokens)) => Ok(TokenSet::clone(tokens)),
        Ok(Answered::Refused) => Err(Refusal::Invalid("the provider gives no tokens")),
        Err(_) => Err(Refusal::Unavailable),
    }
}
