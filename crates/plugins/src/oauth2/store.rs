//! Tokens and codes: found in memory, written to the database by a thread of its own.
//!
//! Nothing is told to a client before it is written. All are named by their hashes, so neither the memory nor the database
//! tells a token. Bounded in number; those whose time is over go once a minute.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use plugin::clock::Clock;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::book::{Book, Over};
use super::database::Database;
use super::secret::Hash;

/// Most tokens, those that were replaced included.
pub(super) const MOST_TOKENS: usize = 500_000;
/// Most codes.
const MOST_CODES: usize = 100_000;
/// Parts of the table of tokens, each with a lock of its own.
const SHARDS: usize = 16;
/// Changes that wait to be written.
const MOST_WAITING: usize = 1024;
/// Changes written at once.
const MOST_AT_ONCE: usize = 64;
/// Time between two looks for what is over.
const SWEEP: Duration = Duration::from_secs(60);
/// Things that are forgotten before others have their turn.
const SWEPT_AT_ONCE: usize = 256;
/// When a thing that never ends ends, in seconds since 1970.
pub(super) const NEVER: u64 = i64::MAX as u64;

/// What somebody is allowed. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// All that goes back to the same consent.
    pub(super) family: Uuid,
    pub(super) credential: Uuid,
    /// The only service it is for; none for all.
    pub(super) service: Option<Uuid>,
    pub(super) user: Option<String>,
    pub(super) scope: Option<String>,
}

/// An access token, with its refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) access: Hash,
    pub(super) refresh: Option<Hash>,
    pub(super) grant: Grant,
    pub(super) created: u64,
    /// When the access token ends.
    pub(super) expires: u64,
    /// When all of it is gone.
    pub(super) gone: u64,
}

/// A code that stands for a grant until it is redeemed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) code: Hash,
    pub(super) grant: Grant,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<String>,
    pub(super) gone: u64,
    pub(super) used: bool,
}

/// A refresh token that has been replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) refresh: Hash,
    pub(super) family: Uuid,
    pub(super) gone: u64,
}

/// A change of the database.
#[derive(Debug, Clone)]
pub(super) enum Change {
    PutToken(Arc<Token>),
    DropToken(Hash),
    PutSpent(Spent),
    PutCode(Code),
}

/// Why something cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// What waits to be written, and who waits for that.
struct Order {
    changes: Vec<Change>,
    done: oneshot::Sender<bool>,
}

/// The tokens of a process.
pub(super) struct Store {
    inner: Arc<Inner>,
    orders: SyncSender<Order>,
}

struct Inner {
    access: [Mutex<AHashMap<Hash, Arc<Token>>>; SHARDS],
    book: Mutex<Book>,
    clock: Clock,
}

/// What a refresh token stands for.
pub(super) enum Refresh {
    Good(Arc<Token>),
    /// It had been replaced: somebody has a copy. What goes back to the same consent is revoked.
    Spent(Vec<Change>),
    Unknown,
}

/// What came of redeeming a code.
pub(super) enum Redeemed {
    /// It is spent, and its token kept.
    Good(Vec<Change>),
    /// It had been redeemed before: what came of that is revoked.
    Again(Vec<Change>),
    /// There is no room for its token. The code is as good as before.
    Full,
    Unknown,
}

impl Store {
    /// Opens the store in the database `file`.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(super) fn open(file: &Path, clock: Clock) -> Result<Self, String> {
        let mut database = Database::open(file)?;
        let inner = Arc::new(Inner { access: Default::default(), book: Mutex::default(), clock });
        let known = database.load(inner.now(), MOST_TOKENS)?;
        for token in known.tokens {
            inner.put(&mut inner.book(), &Arc::new(token));
        }
        let mut book = inner.book();
        known.spent.into_iter().for_each(|spent| book.spend(spent));
        known.codes.into_iter().for_each(|code| book.keep_code(code));
        drop(book);
        let (orders, waiting) = sync_channel(MOST_WAITING);
        let theirs = inner.clone();
        let body = move || write(&theirs, &waiting, &mut database);
        thread::Builder::new().name("oauth2".to_owned()).spawn(body).map_err(|error| error.to_string())?;
        Ok(Self { inner, orders })
    }

    /// The token with this hash, if it has not ended.
    pub(super) fn find(&self, access: &Hash, now: u64) -> Option<Arc<Token>> {
        let token = self.inner.shard(access).get(access)?.clone();
        (now <= token.expires && now < token.gone).then_some(token)
    }

    /// Keeps a code.
    pub(super) fn add_code(&self, code: Code) -> Result<Change, Full> {
        let mut book = self.inner.book();
        if book.codes.len() >= MOST_CODES {
            return Err(Full);
        }
        book.keep_code(code.clone());
        Ok(Change::PutCode(code))
    }

    /// The code, as far as it can be seen without redeeming it.
    pub(super) fn look_at(&self, code: &Hash, now: u64) -> Option<Code> {
        self.inner.book().codes.get(code).filter(|code| now < code.gone).cloned()
    }

    /// Redeems a code for `token`. One of many who try at once succeeds; the others have its token revoked.
    pub(super) fn redeem(&self, code: &Hash, token: Token, now: u64) -> Redeemed {
        let mut book = self.inner.book();
        let is_full = book.is_full();
        let Some(known) = book.codes.get_mut(code).filter(|code| now < code.gone) else {
            return Redeemed::Unknown;
        };
        if known.used {
            let (family, spent) = (known.grant.family, Change::PutCode(known.clone()));
            let mut changes = self.inner.revoke_family(&mut book, family);
            // Who came first may not have got that written yet.
            changes.push(spent);
            return Redeemed::Again(changes);
        }
        if is_full {
            return Redeemed::Full;
        }
        known.used = true;
        let spent = Change::PutCode(known.clone());
        let token = Arc::new(token);
        self.inner.put(&mut book, &token);
        Redeemed::Good(vec![spent, Change::PutToken(token)])
    }

    /// What a refresh token stands for.
    pub(super) fn refresh(&self, refresh: &Hash, now: u64) -> Refresh {
        let mut book = self.inner.book();
        if let Some(token) = book.by_refresh.get(refresh).filter(|token| now < token.gone) {
            return Refresh::Good(token.clone());
        }
        let Some(spent) = book.spent.get(refresh).filter(|spent| now < spent.gone).copied() else {
            return Refresh::Unknown;
        };
        Refresh::Spent(self.inner.revoke_family(&mut book, spent.family))
    }

    /// Keeps a token, in place of `replaced`. None of both happens if that is not there any more: somebody else was
    /// faster.
    pub(super) fn add(&self, token: Token, replaced: Option<&Token>) -> Result<Vec<Change>, Full> {
        let token = Arc::new(token);
        let mut changes = vec![Change::PutToken(token.clone())];
        let mut book = self.inner.book();
        if book.is_full() {
            return Err(Full);
        }
        if let Some(old) = replaced {
            if book.families.get(&old.grant.family).is_none_or(|live| live.access != old.access) {
                return Err(Full);
            }
            self.inner.take(&mut book, old);
            changes.push(Change::DropToken(old.access));
            if let Some(refresh) = old.refresh.filter(|_| old.refresh != token.refresh) {
                let spent = Spent { refresh, family: old.grant.family, gone: old.gone };
                book.spend(spent);
                changes.push(Change::PutSpent(spent));
            }
        }
        self.inner.put(&mut book, &token);
        Ok(changes)
    }

    /// Takes a token back that could not be written, and brings back the one that it replaced: its client holds that.
    pub(super) fn undo_add(&self, token: &Token, replaced: Option<&Token>) {
        let mut book = self.inner.book();
        if !self.inner.take_if_alive(&mut book, token) {
            return;
        }
        if let Some(old) = replaced {
            old.refresh.into_iter().for_each(|refresh| book.forget_spent(&refresh));
            self.inner.put(&mut book, &Arc::new(old.clone()));
        }
    }

    /// The same for a token that a code was redeemed for. The code is as good as before, unless it has come again.
    pub(super) fn undo_redeem(&self, code: &Hash, token: &Token) {
        let mut book = self.inner.book();
        if self.inner.take_if_alive(&mut book, token)
            && let Some(code) = book.codes.get_mut(code)
        {
            code.used = false;
        }
    }

    /// Forgets what is over, as is done once a minute.
    #[cfg(test)]
    pub(super) fn sweep(&self, now: u64) {
        self.inner.sweep(now);
    }

    /// Takes a token back.
    pub(super) fn revoke(&self, token: &Token) -> Change {
        self.inner.take(&mut self.inner.book(), token);
        Change::DropToken(token.access)
    }

    /// Has changes written; what comes says whether they are.
    pub(super) fn write(&self, changes: Vec<Change>) -> oneshot::Receiver<bool> {
        let (done, written) = oneshot::channel();
        // When too many wait, `done` is dropped with the order, which says that nothing was written.
        let _ = self.orders.try_send(Order { changes, done });
        written
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.clock.now_ms() / 1000
    }

    fn shard(&self, hash: &Hash) -> MutexGuard<'_, AHashMap<Hash, Arc<Token>>> {
        self.access[usize::from(hash[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a token. Who holds the book sees it in both places or in none.
    fn put(&self, book: &mut Book, token: &Arc<Token>) {
        book.insert(token);
        self.shard(&token.access).insert(token.access, token.clone());
    }

    /// Forgets a token.
    fn take(&self, book: &mut Book, token: &Token) {
        book.remove(token);
        self.shard(&token.access).remove(&token.access);
    }

    /// Forgets a token if it is the living one of its family. Whether it was.
    fn take_if_alive(&self, book: &mut Book, token: &Token) -> bool {
        let is_alive = book.families.get(&token.grant.family).is_some_and(|live| live.access == token.access);
        if is_alive {
            self.take(book, token);
        }
        is_alive
    }

    /// Forgets what has come of a consent.
    fn revoke_family(&self, book: &mut Book, family: Uuid) -> Vec<Change> {
        let Some(live) = book.families.get(&family).cloned() else { return Vec::new() };
        self.take(book, &live);
        vec![Change::DropToken(live.access)]
    }

    /// Whether a change is still worth writing: a token that was revoked meanwhile must not come back after its end was
    /// written.
    fn is_wanted(&self, change: &Change) -> bool {
        match change {
            Change::PutToken(token) => self.shard(&token.access).contains_key(&token.access),
            _ => true,
        }
    }

    /// Forgets what is over, a little at a time: workers wait for the book.
    fn sweep(&self, now: u64) {
        while self.sweep_some(now) {}
    }

    /// Whether there is more.
    fn sweep_some(&self, now: u64) -> bool {
        let mut book = self.book();
        for _ in 0..SWEPT_AT_ONCE {
            match book.pop_over(now) {
                Some(Over::Token(token)) => self.take(&mut book, &token),
                Some(Over::Other) => {}
                None => return false,
            }
        }
        true
    }
}

fn write(inner: &Inner, waiting: &Receiver<Order>, database: &mut Database) {
    let mut due = Instant::now() + SWEEP;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        match waiting.recv_timeout(left) {
            Ok(first) => carry_out(inner, first, waiting, database),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= due {
            due = Instant::now() + SWEEP;
            sweep(inner, database);
        }
    }
}

fn carry_out(inner: &Inner, first: Order, waiting: &Receiver<Order>, database: &mut Database) {
    let mut orders = vec![first];
    orders.extend(waiting.try_iter().take(MOST_AT_ONCE - 1));
    let changes = orders.iter().flat_map(|order| &order.changes).filter(|change| inner.is_wanted(change));
    let written = database.write(changes);
    if let Err(error) = &written {
        tracing::error!(error, "tokens cannot be written: none are given out");
    }
    for order in orders {
        // Who waited may be gone.
        let _ = order.done.send(written.is_ok());
    }
}

fn sweep(inner: &Inner, database: &mut Database) {
    let now = inner.now();
    inner.sweep(now);
    if let Err(error) = database.sweep(now) {
        tracing::error!(error, "tokens whose time is over cannot be removed from their database");
    }
}
