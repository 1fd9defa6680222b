//! Panics of one request. They cost that request: never its worker, nor another stream of its connection.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use plugin::Exchange;

/// Something has panicked. What and where has been reported by the hook of [`report_panics`].
#[derive(Debug)]
pub struct Panicked;

/// A future whose panic is an outcome. What it had borrowed is whole, though maybe not up to date.
pub struct Caught<'a, F>(pub Pin<&'a mut F>);

impl<F: Future> Future for Caught<'_, F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.0.as_mut();
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

/// Does `work`, whose panic is an outcome.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

/// Says whose request has panicked; what has, the hook says.
pub fn report_panic(exchange: &Exchange) {
    let route = exchange.matched.as_ref().map(|matched| matched.route.id.to_string());
    let request_id = String::from_utf8_lossy(&exchange.request_id);
    tracing::error!(%request_id, route, "a request has panicked; others are not affected");
}

/// From now on every panic of the process is logged as an error, with its place and a backtrace.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(message, place, thread = thread.name(), %backtrace, "a thread has panicked");
    }));
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_future_that_panics_is_an_outcome_and_its_neighbour_goes_on() {
        let mut count = 0;
        let outcome = Caught(pin!(async {
            count += 1;
            tokio::task::yield_now().await;
            panic!("after a wait");
        }))
        .await;
        assert!(outcome.is_err());
        assert_eq!(Caught(pin!(async { count + 1 })).await.unwrap(), 2);
        assert!(caught(|| panic!("at once")).is_err());
    }
}
