//! Copies of requests: another service may be asked the same, beside the request and without its client waiting.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use wire::Headers;

use crate::detour::Detour;
use crate::exchange::Exchange;

/// Something that is done later, on the same worker.
pub type Later<T> = Pin<Box<dyn Future<Output = T>>>;

/// How much a copy may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of the answer's body; one that has more is no answer.
    pub body_bytes: usize,
    /// Time until the answer has been read whole.
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Fields, but for those of the connection.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

/// A copy of a request as it went upstream: head, fields that rooms have set, and body.
pub trait CopiedRequest {
    /// Sends it on `to`, or once more to where the request itself went. Waits on a connection of the worker's pool.
    ///
    /// # Errors
    /// Why there is no answer: `timeout`, `too large` or `failed`.
    fn send(self: Rc<Self>, to: Option<Detour>, bounds: Bounds) -> Later<Result<Answer, &'static str>>;

    /// Does `work` in a task apart.
    fn spawn(&self, work: Later<()>);
}

/// Makes copies, for a worker. The engine's part.
pub trait Copier {
    /// A copy of the request.
    ///
    /// # Errors
    /// Why there is none: `body` (it was passed on and not kept), `protocol` (an upgrade or a call of gRPC), `reloaded`
    /// (the request's configuration is no longer in use) or `busy` (as many copies as there may be are under way).
    fn copy(&self, exchange: &Exchange) -> Result<Rc<dyn CopiedRequest>, &'static str>;
}
