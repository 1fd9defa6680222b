//! Tokens that are made.

use plugin::Exchange;
use serde_json::json;

use super::Oauth2;
use super::reply::{Problem, Reply};
use super::secret::{self, hash};
use super::store::{Change, Grant, NEVER, Token};

/// A token that has been made.
pub(super) struct Issued {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) expires_in: u64,
    pub(super) changes: Vec<Change>,
    pub(super) token: Token,
}

impl Oauth2 {
    /// Makes a token and keeps it, in place of another one if there is one.
    pub(super) fn issue(
        &self,
        exchange: &Exchange,
        grant: Grant,
        replaced: Option<(&Token, Option<String>)>,
        refreshable: bool,
    ) -> Result<Issued, Problem> {
        let (old, same) = replaced.map_or((None, None), |(old, same)| (Some(old), same));
        let mut issued = self.make(exchange, grant, same, refreshable)?;
        issued.changes = self.store()?.add(issued.token.clone(), old).map_err(|_| Problem::full())?;
        Ok(issued)
    }

    /// Makes a token in place of `old`, with the same refresh token or a new one.
    pub(super) fn issue_again(
        &self,
        exchange: &Exchange,
        old: &Token,
        same: Option<String>,
    ) -> Result<Issued, Problem> {
        self.issue(exchange, old.grant.clone(), Some((old, same)), true)
    }

    /// Makes a token, which nobody knows of yet; `same` is a refresh token that it goes on with.
    pub(super) fn make(
        &self,
        exchange: &Exchange,
        grant: Grant,
        same: Option<String>,
        refreshable: bool,
    ) -> Result<Issued, Problem> {
        let now = exchange.record.started_ms / 1000;
        let access = secret::make().ok_or_else(Problem::full)?;
        let refresh = match same {
            Some(same) => Some(same),
            None if refreshable && self.token_seconds > 0 => Some(secret::make().ok_or_else(Problem::full)?),
            None => None,
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
        Ok(Issued { access, refresh, expires_in: self.token_seconds, changes: Vec::new(), token })
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
        Reply { status: 200, body, challenge: None, changes: self.changes, undo: Some(self.token) }
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
