//! Log lines about what may happen on every request: a worker writes one a second and counts the rest.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// When a line was last written, and how many were not.
#[derive(Default)]
pub struct Seldom {
    last: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl Seldom {
    /// Whether a line may be written now, and how many were left out since the last one.
    pub fn now(&self) -> Option<u64> {
        let now = Instant::now();
        if self.last.get().is_some_and(|last| now < last + PAUSE) {
            self.untold.set(self.untold.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.untold.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_second_tells_how_many_were_left_out() {
        let seldom = Seldom::default();
        assert_eq!([seldom.now(), seldom.now(), seldom.now()], [Some(0), None, None]);
        tokio::time::advance(PAUSE).await;
        assert_eq!([seldom.now(), seldom.now()], [Some(2), None]);
    }
}
