//! How many connections there may be to an address, over all workers, and who is next when there are that many.
//!
//! A connection has a [`Seat`] for as long as it is open, idle or not. While seats are left, taking one is an atomic;
//! when there are none, requests stand in a [`Line`], first come, first served. What is given up goes to the first in
//! the line: its seat, or, on the same worker, the connection itself.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ahash::AHashMap;
use arc_swap::ArcSwap;
use model::entity::PoolLimits;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// So often in a row a connection is given to a request of its own worker that came later than the first in the line.
/// It saves that request a connection of its own.
const FAVOURS: u32 = 8;

/// What an upstream sets for the connections to each of its addresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections at most; 0 is any number.
    pub most: u32,
    /// Requests that may wait at most.
    pub line: usize,
    /// How long each of them may.
    pub patience: Duration,
    /// Idle connections that are kept ready.
    pub ready: u32,
    /// How long a connection may be idle, where that is not left to the gateway's settings.
    pub idle: Option<Duration>,
    /// How long a connection may be used, if not for ever.
    pub lifetime: Option<Duration>,
}

impl From<&PoolLimits> for Limits {
    fn from(set: &PoolLimits) -> Self {
        Self {
            most: set.max_connections,
            line: set.queue_size as usize,
            patience: Duration::from_secs_f64(set.queue_timeout),
            ready: set.min_idle,
            idle: set.idle_timeout.map(Duration::from_secs_f64),
            lifetime: set.max_lifetime.map(Duration::from_secs_f64),
        }
    }
}

/// The connections to one address of an upstream. One truth for all workers, over reloads.
#[derive(Debug)]
pub struct Gate {
    limits: ArcSwap<Limits>,
    open: AtomicU32,
    /// The length of the line, to be read without a lock.
    waiting: AtomicU32,
    line: Mutex<Line>,
    workers: Arc<Workers>,
}

/// Who waits, in order.
#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    /// The number of the next one who comes.
    next: u64,
    /// Favours since the first in the line was last served.
    favours: u32,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// Whose connections are of use to it, if any but its own are.
    worker: Option<usize>,
    call: oneshot::Sender<Call>,
}

/// What a request is told that has waited.
#[derive(Debug)]
pub enum Call {
    /// It may open a connection.
    Seat(Seat),
    /// A connection of its worker may be free.
    Look,
}

/// A connection's place among those of its address. Whoever drops it gives it to the first in the line.
#[derive(Debug)]
pub struct Seat {
    gate: Arc<Gate>,
    opened: std::time::Instant,
}

/// The line is as long as it may be.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// A request's place in the line, which it leaves when this is dropped.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    worker: Option<usize>,
    number: u64,
    called: oneshot::Receiver<Call>,
    /// What it was called for is still to be taken.
    is_called: bool,
}

impl Place {
    /// One at the end of the line, of a request on `worker`; without that, of something that wants a connection of its
    /// own and has no use for those that are there.
    ///
    /// # Errors
    /// When the line is as long as it may be.
    pub fn take(gate: &Arc<Gate>, worker: Option<usize>) -> Result<Self, Full> {
        let (number, called) = gate.enter(worker, None)?;
        Ok(Self { gate: gate.clone(), worker, number, called, is_called: false })
    }

    /// Waits until it is called.
    pub async fn called(&mut self) -> Option<Call> {
        let call = (&mut self.called).await.ok();
        self.is_called = true;
        call
    }

    /// Back to the same place, because there was nothing to be found after the call.
    pub fn take_again(&mut self) {
        // Who has a number is never turned away.
        if let Ok((_, called)) = self.gate.enter(self.worker, Some(self.number)) {
            (self.called, self.is_called) = (called, false);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Called to a connection that it does not come to take: that is for others.
        if !self.is_called && matches!(self.called.try_recv(), Ok(Call::Look)) {
            self.gate.workers.rouse();
        }
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Gate {}

impl Hash for Gate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self, state);
    }
}

/// What is to become of a connection that is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It stays: nobody waits.
    Kept,
    /// It stays for one of its own worker, who has been called to take it.
    Promised,
    /// Its place is for the first in the line.
    Wanted,
}

impl Gate {
    fn new(limits: Limits, workers: Arc<Workers>) -> Self {
        let (open, waiting, line) = Default::default();
        Self { limits: ArcSwap::from_pointee(limits), open, waiting, line, workers }
    }

    /// What is set for it now.
    pub fn limits(&self) -> arc_swap::Guard<Arc<Limits>> {
        self.limits.load()
    }

    /// Whether anybody waits.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// A seat, if one is free and nobody waits for it.
    pub fn try_seat(self: &Arc<Self>) -> Option<Seat> {
        if self.is_crowded() { None } else { self.claim() }
    }

    /// Puts a request on `worker` into the line: at its end, or where it stood as the one of this number.
    fn enter(
        self: &Arc<Self>,
        worker: Option<usize>,
        again: Option<u64>,
    ) -> Result<(u64, oneshot::Receiver<Call>), Full> {
        let mut line = self.line();
        line.waiters.retain(|waiter| !waiter.call.is_closed());
        if again.is_none() && line.waiters.len() >= self.limits().line {
            self.note(&line);
            return Err(Full);
        }
        let number = again.unwrap_or(line.next);
        line.next += u64::from(again.is_none());
        let (call, called) = oneshot::channel();
        let at = line.waiters.partition_point(|waiter| waiter.number < number);
        line.waiters.insert(at, Waiter { number, worker, call });
        self.note(&line);
        // One may have been given up before anybody was seen to wait.
        let lost = self.serve(&mut line);
        drop(line);
        drop(lost);
        if self.is_crowded() {
            self.workers.rouse();
        }
        Ok((number, called))
    }

    /// A connection on `worker` is idle from now on, or has room for one more.
    pub fn offer(&self, worker: usize) -> Idle {
        if !self.is_crowded() {
            return Idle::Kept;
        }
        let mut line = self.line();
        let idle = loop {
            let Some(near) = line.waiters.iter().position(|waiter| waiter.worker == Some(worker)) else {
                break if line.waiters.is_empty() { Idle::Kept } else { Idle::Wanted };
            };
            if near > 0 && line.favours >= FAVOURS {
                break Idle::Wanted;
            }
            line.favours = if near > 0 { line.favours + 1 } else { 0 };
            let called = line.waiters.remove(near).is_some_and(|waiter| waiter.call.send(Call::Look).is_ok());
            if called {
                break Idle::Promised;
            }
        };
        if idle == Idle::Wanted {
            line.favours = 0;
        }
        self.note(&line);
        idle
    }

    /// Tells all workers to look after what they keep idle.
    pub fn rouse(&self) {
        self.workers.rouse();
    }

    /// There is room on a connection of `worker` for many: all who wait there are called.
    pub fn call_all(&self, worker: usize) {
        if !self.is_crowded() {
            return;
        }
        let mut line = self.line();
        let mut waiters = std::mem::take(&mut line.waiters);
        while let Some(waiter) = waiters.pop_front() {
            if waiter.worker == Some(worker) {
                // One that has left needs no call.
                let _ = waiter.call.send(Call::Look);
            } else {
                line.waiters.push_back(waiter);
            }
        }
        self.note(&line);
    }

    /// Gives seats that are free to the first in the line. Those that nobody took are handed back, to be dropped when
    /// the line is no longer locked.
    #[must_use]
    fn serve(self: &Arc<Self>, line: &mut Line) -> Option<Seat> {
        let mut lost = None;
        while !line.waiters.is_empty() {
            let Some(seat) = lost.take().or_else(|| self.claim()) else { break };
            let Some(waiter) = line.waiters.pop_front() else { break };
            line.favours = 0;
            if let Err(Call::Seat(seat)) = waiter.call.send(Call::Seat(seat)) {
                lost = Some(seat);
            }
        }
        self.note(line);
        lost
    }

    fn claim(self: &Arc<Self>) -> Option<Seat> {
        let most = self.limits().most;
        let more = |open: u32| (most == 0 || open < most).then_some(open.saturating_add(1));
        self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Seat { gate: self.clone(), opened: Instant::now().into_std() })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, line: &Line) {
        let length = u32::try_from(line.waiters.len()).unwrap_or(u32::MAX);
        self.waiting.store(length, Ordering::SeqCst);
    }

    /// Other limits hold from now on.
    pub fn limit_to(&self, limits: &Limits) {
        if **self.limits() != *limits {
            self.limits.store(Arc::new(limits.clone()));
        }
    }

    /// Connections that are open, and requests that wait.
    pub fn counts(&self) -> (u32, u32) {
        (self.open.load(Ordering::SeqCst), self.waiting.load(Ordering::SeqCst))
    }
}

impl Seat {
    /// Whose it is.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Whether the connection may be used for another request at `now`.
    pub fn is_worn_out(&self, now: std::time::Instant) -> bool {
        self.gate.limits().lifetime.is_some_and(|most| now.saturating_duration_since(self.opened) >= most)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::SeqCst);
        if self.gate.is_crowded() {
            let mut line = self.gate.line();
            let lost = self.gate.serve(&mut line);
            drop(line);
            drop(lost);
        }
    }
}

/// Workers, to be woken when somebody waits for what they keep idle.
#[derive(Debug, Default)]
pub struct Workers(Mutex<Vec<Weak<Notify>>>);

impl Workers {
    fn rouse(&self) {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().filter_map(Weak::upgrade).for_each(|worker| worker.notify_one());
    }
}

/// Whose address it is, and the address.
type Key = (Arc<str>, SocketAddr);

/// All gates in use, by whose address it is: the id of an upstream.
#[derive(Default)]
pub struct Gates {
    kept: Mutex<AHashMap<Key, Weak<Gate>>>,
    workers: Arc<Workers>,
}

impl Gates {
    /// The gate of `address` of `owner`, with these limits if there has been none.
    pub fn keep(&self, owner: &Arc<str>, address: SocketAddr, limits: &Limits) -> Arc<Gate> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (owner.clone(), address);
        if let Some(known) = kept.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        kept.retain(|_, gate| gate.strong_count() > 0);
        let made = Arc::new(Gate::new(limits.clone(), self.workers.clone()));
        kept.insert(key, Arc::downgrade(&made));
        made
    }

    /// Tells `worker` from now on when somebody waits for what it keeps idle.
    pub fn tell(&self, worker: &Arc<Notify>) {
        let mut workers = self.workers.0.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|worker| worker.strong_count() > 0);
        workers.push(Arc::downgrade(worker));
    }
}
