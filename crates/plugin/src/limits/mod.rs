//! Who may ask how often: what the rooms that limit rates have in common.
//!
//! A [`Limiter`] holds the limits of an instance. Requests are counted in a [`Table`] of this process, or in a
//! [`Ledger`], Redis, that several gateways share; or here first and there in intervals ([`batches`]). A [`Caller`]
//! says whose requests are counted together. [`decide`] puts them together for a room. [`fields`] is what their
//! configurations have in common, and [`Windowed`] what the ones with windows of seconds do alike. A [`Register`] knows
//! all limits of a snapshot, and an [`Inquiry`] tells how a caller stands with some of them, without counting.

pub mod batches;
mod caller;
mod cell;
mod decide;
pub mod fields;
mod ledger;
mod limit;
mod limiter;
mod peek;
mod register;
mod table;
mod window;
mod windowed;

pub use caller::{Caller, ConsumerName, Identifier, Naming, Target};
pub use cell::{Demand, Measure, Pending};
pub use decide::{Decision, Limited, decide, decide_again};
pub use ledger::{Ledger, Question};
pub use limit::{Algorithm, Limit, Span};
pub use limiter::{FailureMode, Limiter, Setup, Sharing};
pub use peek::{Inquiry, Left, Readable, Standing};
pub use register::{Entry, Register};
pub use table::{Refused, Table};
pub use window::{Period, Window};
pub use windowed::{Particulars, Windowed};

/// Limits that an instance may have.
pub const MOST_LIMITS: usize = 8;

/// What became of a request. The numbers are by the position of the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Every limit had room, and the request has been counted against each.
    pub admitted: bool,
    /// Requests counted so far in the current window, this one included if it was; of an even stream, those that are
    /// ahead of it.
    pub count: [u32; MOST_LIMITS],
    /// Requests of the window before, where that still counts; of an even stream, milliseconds until there is room.
    pub more: [u32; MOST_LIMITS],
    /// It is the caller's first request since the shared store was last told.
    pub is_new: bool,
}

/// What a theoretical arrival time says: requests ahead of an even stream, and milliseconds until the next one has room
/// among `limit` at once.
fn smooth_reading(time: u64, now: u64, interval: u64, limit: u32) -> (u32, u32) {
    let ahead = time.saturating_sub(now);
    let interval = interval.max(1);
    let used = ahead.div_ceil(interval);
    let wait = (ahead + interval).saturating_sub(interval.saturating_mul(u64::from(limit)));
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    (narrow(used), narrow(wait.div_ceil(1000)))
}
