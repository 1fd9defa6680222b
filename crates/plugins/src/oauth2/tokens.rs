//! Where tokens and codes are kept: by this process, or in a Redis that several share.

use std::sync::Arc;

use super::secret::{Hash, hash};
use super::shared::SharedTokens;
use super::store::{self, Change, Code, Store, Token};

/// A place for tokens.
pub(super) enum Tokens {
    /// The memory of the process and its database.
    Own(Store),
    /// A Redis.
    Shared(SharedTokens),
}

/// Why nothing was kept or found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no more room, or somebody else was faster.
    Full,
    /// The place does not answer, or cannot be written to.
    Silent,
}

/// What came of redeeming a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redeemed {
    /// It is spent, and its token kept.
    Good,
    /// It had been redeemed before: what came of that is revoked.
    Again,
    Unknown,
}

/// What a refresh token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refreshed {
    Good(Arc<Token>),
    /// It had been replaced: somebody has a copy. What goes back to the same consent is revoked.
    Spent,
    Unknown,
}

impl Tokens {
    /// The token with this text, if it has not ended.
    pub(super) async fn find(
        &self,
        worker: usize,
        text: &str,
        now: u64,
    ) -> Result<Option<Arc<Token>>, Trouble> {
        match self {
            Self::Own(store) => Ok(store.find(&hash(text.as_bytes()), now)),
            Self::Shared(shared) => shared.find(worker, text, now).await,
        }
    }

    /// Keeps a code.
    pub(super) async fn add_code(&self, worker: usize, code: Code, now: u64) -> Result<(), Trouble> {
        match self {
            Self::Own(store) => {
                let change = store.add_code(code).map_err(|_| Trouble::Full)?;
                written(store, vec![change]).await
            }
            Self::Shared(shared) => shared.add_code(worker, &code, now).await,
        }
    }

    /// The code with this text, as far as it can be seen without redeeming it.
    pub(super) async fn look_at(&self, worker: usize, text: &str, now: u64) -> Result<Option<Code>, Trouble> {
        match self {
            Self::Own(store) => Ok(store.look_at(&hash(text.as_bytes()), now)),
            Self::Shared(shared) => shared.look_at(worker, text, now).await,
        }
    }

    /// Redeems a code for `token`. One of many who try at once succeeds; the others have its token revoked.
    pub(super) async fn redeem(
        &self,
        worker: usize,
        code: &Hash,
        token: Token,
        now: u64,
    ) -> Result<Redeemed, Trouble> {
        let store = match self {
            Self::Own(store) => store,
            Self::Shared(shared) => return shared.redeem(worker, code, &token, now).await,
        };
        match store.redeem(code, token.clone(), now) {
            store::Redeemed::Unknown => Ok(Redeemed::Unknown),
            store::Redeemed::Full => Err(Trouble::Full),
            store::Redeemed::Good(changes) => {
                written(store, changes).await.inspect_err(|_| store.undo_redeem(code, &token))?;
                Ok(Redeemed::Good)
            }
            store::Redeemed::Again(changes) => {
                written(store, changes).await?;
                Ok(Redeemed::Again)
            }
        }
    }

    /// What a refresh token stands for.
    pub(super) async fn refresh(&self, worker: usize, text: &str, now: u64) -> Result<Refreshed, Trouble> {
        let store = match self {
            Self::Own(store) => store,
            Self::Shared(shared) => return shared.refresh(worker, text, now).await,
        };
        match store.refresh(&hash(text.as_bytes()), now) {
            store::Refresh::Good(token) => Ok(Refreshed::Good(token)),
            store::Refresh::Unknown => Ok(Refreshed::Unknown),
            store::Refresh::Spent(changes) => {
                written(store, changes).await?;
                Ok(Refreshed::Spent)
            }
        }
    }

    /// Keeps a token, in place of `replaced`. None of both happens if that is not there any more.
    pub(super) async fn add(
        &self,
        worker: usize,
        token: Token,
        replaced: Option<&Token>,
        now: u64,
    ) -> Result<(), Trouble> {
        let store = match self {
            Self::Own(store) => store,
            Self::Shared(shared) => return shared.add(worker, &token, replaced, now).await,
        };
        let changes = store.add(token.clone(), replaced).map_err(|_| Trouble::Full)?;
        written(store, changes).await.inspect_err(|_| store.undo_add(&token, replaced))
    }
}

/// Nobody is told of anything before it is written.
async fn written(store: &Store, changes: Vec<Change>) -> Result<(), Trouble> {
    if changes.is_empty() || store.write(changes).await.unwrap_or(false) {
        Ok(())
    } else {
        Err(Trouble::Silent)
    }
}
