//! What a phase that may answer or wait returns.

use std::future::Future;
use std::pin::Pin;

use crate::views::Access;

/// The outcome of a room's `rewrite` or `access`.
///
/// Only [`Flow::Wait`] allocates, so a room that decides at once costs nothing beyond its own work.
pub enum Flow {
    /// Go on with the next room.
    Next,
    /// The room has answered (see [`Access::answer`]): skip the remaining rooms of this phase and the upstream.
    Answer,
    /// Read the request body into memory, within the gateway's bound, then call this room's phase again.
    ReadBody,
    /// Wait for something outside, then go on with what the future yields.
    Wait(Waiting),
}

/// A room's wait: owns all it needs, runs on the worker that serves the request.
pub type Waiting = Pin<Box<dyn Future<Output = Resume>>>;

/// What to do once a wait is over, with the request at hand again.
pub type Resume = Box<dyn FnOnce(&mut Access<'_>) -> Flow>;

impl Flow {
    /// Waits for `future` and then runs the continuation it yields.
    pub fn wait(future: impl Future<Output = Resume> + 'static) -> Self {
        Self::Wait(Box::pin(future))
    }
}
