//! What a row of successes or failures makes of an address. Pure: what happens comes in, the new state comes out.

/// What an address showed of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It works.
    Success,
    /// It could not be connected to, or broke off.
    TcpFailure,
    /// It answered with a status that is a failure.
    HttpFailure,
    /// It took too long.
    Timeout,
}

/// How many in a row turn an address over; 0 never does. Those of traffic and those of probes differ, and count in
/// the same row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thresholds {
    /// Successes that make it healthy.
    pub successes: u8,
    /// Failures of the connection that make it unhealthy.
    pub tcp_failures: u8,
    /// Statuses that make it unhealthy.
    pub http_failures: u8,
    /// Timeouts that make it unhealthy.
    pub timeouts: u8,
}

/// Whether an address is healthy, and what speaks against that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Whether it is.
    pub healthy: bool,
    successes: u8,
    tcp_failures: u8,
    http_failures: u8,
    timeouts: u8,
}

impl Counters {
    /// Without anything that would speak against it: a new address is healthy (kong.md 5.2).
    pub const fn fresh(healthy: bool) -> Self {
        Self { healthy, successes: 0, tcp_failures: 0, http_failures: 0, timeouts: 0 }
    }

    /// The state after `sign`. A success ends every row of failures, and a failure the row of successes, whatever the
    /// thresholds. Failures of one kind leave those of another alone.
    pub fn after(self, sign: Sign, thresholds: &Thresholds) -> Self {
        let mut next = self;
        let (count, most) = match sign {
            Sign::Success => (&mut next.successes, thresholds.successes),
            Sign::TcpFailure => (&mut next.tcp_failures, thresholds.tcp_failures),
            Sign::HttpFailure => (&mut next.http_failures, thresholds.http_failures),
            Sign::Timeout => (&mut next.timeouts, thresholds.timeouts),
        };
        let turns = self.healthy != (sign == Sign::Success);
        if turns && most > 0 {
            *count = count.saturating_add(1);
            if *count >= most {
                return Self::fresh(!self.healthy);
            }
        }
        match sign {
            Sign::Success => Self { successes: next.successes, ..Self::fresh(self.healthy) },
            _ => Self { successes: 0, ..next },
        }
    }

    /// In one word.
    pub fn pack(self) -> u64 {
        let counts = [self.successes, self.tcp_failures, self.http_failures, self.timeouts];
        u64::from(u32::from_le_bytes(counts)) | u64::from(!self.healthy) << 32
    }

    /// Out of one word; 0 is a new address.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of the word")]
    pub fn unpack(word: u64) -> Self {
        let [successes, tcp_failures, http_failures, timeouts] = (word as u32).to_le_bytes();
        Self { healthy: word >> 32 == 0, successes, tcp_failures, http_failures, timeouts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds =
        Thresholds { successes: 2, tcp_failures: 3, http_failures: 2, timeouts: 1 };

    fn after(signs: &[Sign], thresholds: &Thresholds) -> Counters {
        signs.iter().fold(Counters::fresh(true), |counters, sign| counters.after(*sign, thresholds))
    }

    #[test]
    fn failures_in_a_row_make_unhealthy_and_successes_in_a_row_healthy() {
        use Sign::{HttpFailure, Success, TcpFailure, Timeout};
        let cases: [(&[Sign], bool); 9] = [
            (&[], true),
            (&[TcpFailure, TcpFailure], true),
            (&[TcpFailure, TcpFailure, TcpFailure], false),
            (&[TcpFailure, TcpFailure, Success, TcpFailure, TcpFailure], true),
            (&[TcpFailure, HttpFailure, TcpFailure, TcpFailure], false),
            (&[Timeout], false),
            (&[Timeout, Success], false),
            (&[Timeout, Success, TcpFailure, Success], false),
            (&[Timeout, Success, Success], true),
        ];
        for (signs, healthy) in cases {
            assert_eq!(after(signs, &THRESHOLDS).healthy, healthy, "{signs:?}");
        }
    }

    #[test]
    fn a_threshold_of_zero_never_turns_an_address_over() {
        let off = Thresholds { timeouts: 1, ..Thresholds::default() };
        assert!(after(&[Sign::TcpFailure; 300], &off).healthy);
        let mut signs = vec![Sign::Timeout];
        signs.extend([Sign::Success; 300]);
        assert!(!after(&signs, &off).healthy, "only by hand");
    }

    #[test]
    fn whoever_comes_back_begins_with_a_clean_sheet() {
        let mut signs = vec![Sign::TcpFailure; 2];
        signs.extend([Sign::Timeout, Sign::Success, Sign::Success, Sign::TcpFailure, Sign::TcpFailure]);
        assert!(after(&signs, &THRESHOLDS).healthy);
    }

    #[test]
    fn a_state_is_the_same_in_one_word() {
        assert_eq!(Counters::unpack(0), Counters::fresh(true));
        let mut counters = Counters::fresh(true);
        for sign in [Sign::TcpFailure, Sign::HttpFailure, Sign::TcpFailure, Sign::Timeout, Sign::Success] {
            counters = counters.after(sign, &THRESHOLDS);
            assert_eq!(Counters::unpack(counters.pack()), counters);
        }
        assert!(!counters.healthy);
    }
}
