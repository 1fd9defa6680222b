//! What tokens and codes are found by, and when they end.

use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap;
use uuid::Uuid;

use super::secret::Hash;
use super::store::{Code, MOST_TOKENS, Spent, Token};

/// Codes and tokens by all that they are found by, but for access tokens, which are apart. All of it is behind one lock.
#[derive(Default)]
pub(super) struct Book {
    pub(super) codes: AHashMap<Hash, Code>,
    pub(super) by_refresh: AHashMap<Hash, Arc<Token>>,
    pub(super) spent: AHashMap<Hash, Spent>,
    /// The one living token of a family.
    pub(super) families: AHashMap<Uuid, Arc<Token>>,
    /// When what is gone, so that nobody has to look through all.
    ends: BTreeSet<(u64, Thing)>,
}

/// What has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    /// The living token of a family.
    Family(Uuid),
    Spent(Hash),
    Code(Hash),
}

/// What was over.
pub(super) enum Over {
    /// A token that is still there.
    Token(Arc<Token>),
    /// Something else, which is not any more.
    Other,
}

impl Book {
    pub(super) fn is_full(&self) -> bool {
        self.families.len() + self.spent.len() >= MOST_TOKENS
    }

    pub(super) fn insert(&mut self, token: &Arc<Token>) {
        if let Some(refresh) = token.refresh {
            self.by_refresh.insert(refresh, token.clone());
        }
        let family = token.grant.family;
        if let Some(before) = self.families.insert(family, token.clone()) {
            self.ends.remove(&(before.gone, Thing::Family(family)));
        }
        self.ends.insert((token.gone, Thing::Family(family)));
    }

    pub(super) fn spend(&mut self, spent: Spent) {
        self.forget_spent(&spent.refresh);
        self.ends.insert((spent.gone, Thing::Spent(spent.refresh)));
        self.spent.insert(spent.refresh, spent);
    }

    pub(super) fn forget_spent(&mut self, refresh: &Hash) {
        if let Some(before) = self.spent.remove(refresh) {
            self.ends.remove(&(before.gone, Thing::Spent(before.refresh)));
        }
    }

    pub(super) fn keep_code(&mut self, code: Code) {
        self.ends.insert((code.gone, Thing::Code(code.code)));
        self.codes.insert(code.code, code);
    }

    pub(super) fn remove(&mut self, token: &Token) {
        if let Some(refresh) = token.refresh {
            self.by_refresh.remove(&refresh);
        }
        if self.families.get(&token.grant.family).is_some_and(|live| live.access == token.access) {
            self.families.remove(&token.grant.family);
            self.ends.remove(&(token.gone, Thing::Family(token.grant.family)));
        }
    }

    /// Takes out the first of what is over by then; a token has to be forgotten by who comes for it.
    pub(super) fn pop_over(&mut self, now: u64) -> Option<Over> {
        let &(gone, thing) = self.ends.first()?;
        if now < gone {
            return None;
        }
        self.ends.pop_first();
        match thing {
            Thing::Family(family) => return self.families.get(&family).cloned().map(Over::Token),
            Thing::Spent(refresh) => drop(self.spent.remove(&refresh)),
            Thing::Code(code) => drop(self.codes.remove(&code)),
        }
        Some(Over::Other)
    }
}
