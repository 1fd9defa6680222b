//! Keys that the process makes for itself. They end with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::Unchanged;
use crate::clock::Clock;
use crate::jose::{Algorithm, Signer};

/// Keys of one algorithm.
pub(super) struct Made {
    algorithm: Algorithm,
    clock: Clock,
    number: AtomicU64,
    state: Mutex<State>,
}

struct State {
    current: Arc<Signer>,
    /// None while it is made.
    next: Option<Arc<Signer>>,
    /// The public half of the one before.
    previous: Option<Value>,
    since_ms: u64,
}

impl Made {
    /// Makes the first keys. None if that fails.
    pub(super) fn new(algorithm: Algorithm, clock: Clock) -> Option<Self> {
        let (current, next) = (make(algorithm)?, make(algorithm)?);
        let since_ms = clock.now_ms();
        let state = Mutex::new(State { current, next: Some(next), previous: None, since_ms });
        Some(Self { algorithm, clock, number: AtomicU64::new(1), state })
    }

    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    pub(super) fn signer(&self) -> (u64, Arc<Signer>) {
        let state = self.lock();
        (self.number(), state.current.clone())
    }

    pub(super) fn published(&self) -> Vec<Value> {
        let state = self.lock();
        let halves = [Some(&state.current), state.next.as_ref()].into_iter().flatten();
        halves.filter_map(|signer| signer.public_jwk()).chain(state.previous.clone()).collect()
    }

    pub(super) fn exchange_after(self: &Arc<Self>, period: Duration) {
        let age_ms = self.clock.now_ms().saturating_sub(self.lock().since_ms);
        if u128::from(age_ms) >= period.as_millis() {
            // Somebody else may have been faster.
            let _early = self.exchange();
        }
    }

    pub(super) fn exchange(self: &Arc<Self>) -> Result<(), Unchanged> {
        let mut state = self.lock();
        let next = state.next.take().ok_or(Unchanged::Early)?;
        state.previous = state.current.public_jwk();
        state.current = next;
        state.since_ms = self.clock.now_ms();
        self.number.fetch_add(1, Ordering::Release);
        drop(state);
        let this = self.clone();
        let make_next = move || {
            let next = make(this.algorithm);
            this.lock().next = next;
        };
        if let Err(error) = thread::Builder::new().name("keys".to_owned()).spawn(make_next) {
            tracing::warn!(%error, "the next signing key cannot be made: the keys stay until the gateway starts again");
        }
        Ok(())
    }

    pub(super) fn replace(&self) -> Result<(), Unchanged> {
        let (Some(current), Some(next)) = (make(self.algorithm), make(self.algorithm)) else {
            return Err(Unchanged::Early);
        };
        let since_ms = self.clock.now_ms();
        *self.lock() = State { current, next: Some(next), previous: None, since_ms };
        self.number.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(algorithm: Algorithm) -> Option<Arc<Signer>> {
    Signer::generate(algorithm, &Uuid::new_v4().to_string()).map(Arc::new)
}
