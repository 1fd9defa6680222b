//! How much of the traffic goes to the canary at a moment.

/// How the share of the canary comes about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Schedule {
    /// It stays where it is.
    Fixed {
        /// Parts that go to the canary.
        parts: f64,
    },
    /// It grows in equal steps from nothing to everything, and stays there.
    Growing {
        /// When it begins, milliseconds since 1970.
        start_ms: f64,
        /// How long it takes, milliseconds.
        duration_ms: f64,
        /// In how many steps.
        steps: f64,
    },
}

impl Schedule {
    /// The number of parts that go to the canary at `now_ms`: those with lower numbers.
    pub(super) fn parts(&self, now_ms: u64) -> f64 {
        match *self {
            Self::Fixed { parts } => parts,
            Self::Growing { start_ms, duration_ms, steps } => {
                let elapsed = now_ms as f64 - start_ms;
                if elapsed < 0.0 {
                    0.0
                } else if elapsed >= duration_ms {
                    steps
                } else {
                    (elapsed / duration_ms * steps).floor()
                }
            }
        }
    }
}
