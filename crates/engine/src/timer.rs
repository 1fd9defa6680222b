//! A bound on every wait of a connection, at the price of none that ends in time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

use crate::channel::Fault;

/// One sleep per connection, moved lazily: a deadline that is never reached costs no timer operation.
#[derive(Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the sleep will wake.
    sleeper: Option<Waker>,
}

impl Timer {
    /// Whether `deadline` has passed; registers to be woken about then if not.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            let sleep = match &mut self.sleep {
                Some(sleep) if sleep.deadline() <= deadline => sleep,
                Some(sleep) => {
                    sleep.as_mut().reset(deadline);
                    self.sleeper = None;
                    sleep
                }
                None => self.sleep.insert(Box::pin(tokio::time::sleep_until(deadline))),
            };
            let will_wake = self.sleeper.as_ref().is_some_and(|sleeper| sleeper.will_wake(cx.waker()));
            if will_wake && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            // Unconstrained: whoever has used up its turn would be sent away without being registered.
            if pin!(unconstrained(sleep.as_mut())).poll(cx).is_pending() {
                self.sleeper = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
            self.sleeper = None;
        }
    }

    /// Waits for `future`, no longer than `limit` from the first time it has to.
    pub async fn within<F: Future>(&mut self, limit: Duration, future: F) -> Result<F::Output, Fault> {
        let mut future = pin!(future);
        let mut deadline = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
            self.poll_passed(cx, deadline).map(|()| Err(Fault::Timeout))
        })
        .await
    }

    /// Waits for `future`, no longer than until `deadline`.
    pub async fn until<F: Future>(&mut self, deadline: Instant, future: F) -> Result<F::Output, Fault> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            self.poll_passed(cx, deadline).map(|()| Err(Fault::Timeout))
        })
        .await
    }
}
