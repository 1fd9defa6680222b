//! A gate: so many requests run, so many wait, ordered by priority and then by arrival; all others are turned away. A place
//! that becomes free goes to the first in the queue at once, whichever worker it waits on. How many run may change with
//! how long they take.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use plugin::figures::Figure;

use super::adaptive::{Adaptive, Rules};

/// Highest priority first, then first come.
type Order = (std::cmp::Reverse<u8>, u64);

/// The time that gates go by, which tests can set.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What is counted of a gate.
#[derive(Default)]
pub struct Figures {
    /// Requests that run.
    pub running: Arc<Figure>,
    /// Requests that wait.
    pub waiting: Arc<Figure>,
    /// Requests turned away.
    pub refused: Arc<Figure>,
    /// Requests that may run.
    pub limit: Arc<Figure>,
}

/// How many may run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Always so many.
    Fixed(usize),
    /// As many as it turns out.
    Adaptive(Rules),
}

/// One gate, shared by all workers.
pub struct Gate {
    state: Mutex<State>,
    figures: Figures,
    /// What times are counted from.
    origin: Instant,
}

struct State {
    limit: usize,
    adaptive: Option<Adaptive>,
    running: usize,
    queue: BTreeMap<Order, Arc<Waiter>>,
    arrivals: u64,
}

/// One that waits.
#[derive(Default)]
struct Waiter(Mutex<Standing>);

#[derive(Default)]
enum Standing {
    #[default]
    New,
    Asleep(Waker),
    /// It has a place, given in that era.
    In(u32),
    /// Somebody of a higher priority has taken its place in the queue.
    Displaced,
    /// It has been told, or has left.
    Over,
}

/// What a request finds at the gate.
pub enum Entry {
    /// It may run.
    In(Place),
    /// It has to wait.
    Wait(Waiting),
    /// There is no room to wait.
    Full,
}

/// A place among those that run. Given back when it is dropped.
pub struct Place {
    gate: Arc<Gate>,
    /// When it was given, as the one that finds out the limit counts.
    era: u32,
}

impl Place {
    /// Tells that a response took so long, at `now`.
    pub fn took(&self, took: Duration, now: Instant) {
        self.gate.learn(self.era, took, now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

/// A place in the queue. Yields a place among those that run; none if it has been displaced.
pub struct Waiting {
    gate: Arc<Gate>,
    order: Order,
    waiter: Arc<Waiter>,
}

impl Gate {
    /// A gate for so many requests at once.
    pub fn new(limit: Limit, figures: Figures) -> Self {
        let (adaptive, limit) = match limit {
            Limit::Fixed(limit) => (None, limit),
            Limit::Adaptive(rules) => {
                let adaptive = Adaptive::new(rules);
                let limit = adaptive.limit();
                (Some(adaptive), limit)
            }
        };
        figures.limit.set(limit as u64);
        let state = State { limit, adaptive, running: 0, queue: BTreeMap::new(), arrivals: 0 };
        Self { state: Mutex::new(state), figures, origin: now() }
    }

    /// Lets a request in, or into a queue of `room`, where it may take the place of one of a lower priority.
    pub fn enter(self: &Arc<Self>, priority: u8, room: usize) -> Entry {
        let mut state = self.lock();
        if state.queue.is_empty() && state.running < state.limit {
            let era = state.begin();
            self.figures.running.set(state.running as u64);
            return Entry::In(Place { gate: self.clone(), era });
        }
        let displaced = if state.queue.len() < room {
            None
        } else {
            match state.queue.last_entry() {
                Some(last) if room > 0 && last.key().0.0 < priority => Some(last.remove()),
                _ => {
                    self.figures.refused.add(1);
                    return Entry::Full;
                }
            }
        };
        state.arrivals += 1;
        let order = (std::cmp::Reverse(priority), state.arrivals);
        let waiter = Arc::new(Waiter::default());
        state.queue.insert(order, waiter.clone());
        self.figures.waiting.set(state.queue.len() as u64);
        drop(state);
        if let Some(displaced) = displaced {
            self.figures.refused.add(1);
            displaced.tell(Standing::Displaced);
        }
        Entry::Wait(Waiting { gate: self.clone(), order, waiter })
    }

    /// One has ended.
    fn leave(&self) {
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
        drop(state);
        self.fill();
    }

    /// Gives the places that are free to the first in the queue that are still there.
    fn fill(&self) {
        loop {
            let mut state = self.lock();
            let next = if state.running < state.limit { state.queue.pop_first() } else { None };
            let era = if next.is_some() { state.begin() } else { 0 };
            self.figures.running.set(state.running as u64);
            self.figures.waiting.set(state.queue.len() as u64);
            drop(state);
            let Some((_, next)) = next else { return };
            if !next.tell(Standing::In(era)) {
                let mut state = self.lock();
                state.running = state.running.saturating_sub(1);
            }
        }
    }

    /// Learns that a response took so long, which may change how many may run.
    fn learn(&self, era: u32, took: Duration, now: Instant) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        let State { limit, adaptive: Some(adaptive), .. } = &mut *state else { return };
        adaptive.enter(era, micros(took), micros(now.saturating_duration_since(self.origin)));
        let before = std::mem::replace(limit, adaptive.limit());
        let (grown, changed) = (*limit > before, *limit != before);
        if changed {
            self.figures.limit.set(*limit as u64);
        }
        drop(state);
        if grown {
            self.fill();
        }
    }

    /// Counts one that has waited for too long.
    pub fn note_late(&self) {
        self.figures.refused.add(1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One more runs.
    fn begin(&mut self) -> u32 {
        self.running += 1;
        let running = self.running;
        self.adaptive.as_mut().map_or(0, |adaptive| adaptive.begin(running))
    }
}

impl Waiter {
    /// Tells it what has become of it; false if it has left.
    fn tell(&self, news: Standing) -> bool {
        let mut standing = self.lock();
        if matches!(*standing, Standing::Over) {
            return false;
        }
        let before = std::mem::replace(&mut *standing, news);
        drop(standing);
        if let Standing::Asleep(waker) = before {
            waker.wake();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Waiting {
    type Output = Option<Place>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut standing = self.waiter.lock();
        match &*standing {
            Standing::In(era) => {
                let era = *era;
                *standing = Standing::Over;
                Poll::Ready(Some(Place { gate: self.gate.clone(), era }))
            }
            Standing::Displaced | Standing::Over => {
                *standing = Standing::Over;
                Poll::Ready(None)
            }
            Standing::New | Standing::Asleep(_) => {
                *standing = Standing::Asleep(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting {
    /// Who leaves makes room in the queue; a place that has been given to it meanwhile goes to the next.
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.queue.remove(&self.order);
        self.gate.figures.waiting.set(state.queue.len() as u64);
        drop(state);
        let standing = std::mem::replace(&mut *self.waiter.lock(), Standing::Over);
        if matches!(standing, Standing::In(_)) {
            self.gate.leave();
        }
    }
}
