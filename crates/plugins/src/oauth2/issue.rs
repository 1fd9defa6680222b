//! Tokens that are made.

use serde_json::json;
use uuid::Uuid;

use super::Server;
use super::reply::{Problem, Reply};
use super::secret::{self, hash};
use super::store::{Grant, NEVER, Token};

/// A token that has been made.
pub(super) struct Issued {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) expires_in: u64,
    pub(super) token: Token,
}

/// Where and when something is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) worker: usize,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// The refresh token of a token that is made.
pub(super) enum Refreshing {
    None,
    New,
    /// It goes on with this one.
    Same(String),
}

impl Server {
    /// Makes a token and keeps it, in place of another one if there is one.
    pub(super) async fn issue(
        &self,
        moment: Moment,
        grant: Grant,
        replaced: Option<&Token>,
        refreshing: Refreshing,
    ) -> Result<Issued, Problem> {
        let issued = self.make(moment.now, grant, refreshing)?;
        self.tokens()?.add(moment.worker, issued.token.clone(), replaced, moment.now).await?;
        Ok(issued)
    }

    /// Makes a token, which nobody knows of yet.
    pub(super) fn make(&self, now: u64, grant: Grant, refreshing: Refreshing) -> Result<Issued, Problem> {
        let secret = |family: &Uuid| secret::make(family).ok_or_else(Problem::full);
        let access = secret(&grant.family)?;
        let refresh = match refreshing {
            Refreshing::Same(same) => Some(same),
            Refreshing::New if self.token_seconds > 0 => Some(secret(&grant.family)?),
            Refreshing::New | Refreshing::None => None,
        };
        let expires = if self.token_seconds == 0 { NEVER } else { now + self.token_seconds };
        let gone = match (&refresh, self.refresh_seconds) {
            (Some(_), 0) => NEVER,
            (Some(_), seconds) => now + seconds,
            (None, _) => expires.saturating_add(1).min(NEVER),
        };
        let token = Token {
            access: hash(access.as_bytes()),
            refresh: refresh.as_ref().map(|refresh| hash(refresh.as_bytes())),
            grant,
            created: now,
            expires,
            gone,
        };
        Ok(Issued { access, refresh, expires_in: self.token_seconds, token })
    }
}

impl Issued {
    pub(super) fn reply(self, state: Option<String>) -> Reply {
        let mut body = json!({ "access_token": self.access, "token_type": "bearer" });
        if self.expires_in > 0 {
            body["expires_in"] = self.expires_in.into();
        }
        for (name, value) in [("refresh_token", self.refresh), ("state", state)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        Reply { status: 200, body, challenge: None }
    }

    /// The same as arguments of a URI.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![("access_token", self.access.clone()), ("token_type", "bearer".to_owned())];
        if self.expires_in > 0 {
            pairs.push(("expires_in", self.expires_in.to_string()));
        }
        pairs
    }
}
