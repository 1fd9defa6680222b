//! A say in where a request may go: decided by a room, asked for by the engine each time it is about to choose a target.
//!
//! A room sets a [`Guard`] in `access` ([`Access::guard_by`]). By the time it is asked, all rooms have said where the
//! request is to be sent, so it judges the service that is really asked.

use std::any::Any;
use std::net::SocketAddr;

use crate::exchange::Exchange;
use crate::views::Access;

/// What stands before the targets of one request. It lives as long as the request does.
pub trait Guard: Any {
    /// Whether the request could go anywhere now, wherever it is sent. Asked before its body is taken in; takes nothing.
    fn is_open(&self, exchange: &Exchange) -> bool;

    /// Whether `target` may be chosen. Takes nothing.
    fn allows(&self, exchange: &Exchange, target: SocketAddr) -> bool;

    /// `target` has been chosen for a try, which will be the next in the record. False if it may not be after all,
    /// because another request was faster.
    fn enter(&self, exchange: &Exchange, target: SocketAddr) -> bool;

    /// Says what becomes of the request now that it goes nowhere; nothing, if it is to fail. From here on nobody guards it.
    /// Nothing can be remembered here.
    fn stand_in(&self, cx: &mut Access<'_>, why: Nowhere) -> Option<Instead>;
}

/// Why a request goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nowhere {
    /// Its guard lets it to no target.
    Barred,
    /// There is no target that could take it: none is healthy, none is known, or no name resolves.
    NoTarget,
    /// There are as many connections to its target as its upstream allows, and none has become free in time.
    NoConnection,
    /// No connection to a target came about, however often that was tried.
    Unreachable,
}

/// What becomes of a request that goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// It has been answered.
    Answered,
    /// It has been sent elsewhere (see [`Access::send_to`]).
    SentElsewhere,
}

impl Exchange {
    /// The guard of the request, if it is one of this type.
    #[must_use]
    pub fn guard_as<G: Guard>(&self) -> Option<&G> {
        let guard: &dyn Any = &**self.guard.as_ref()?;
        guard.downcast_ref()
    }

    /// Whether the request will be let nowhere, as far as is known now: there is no point in making it wait.
    #[must_use]
    pub fn is_barred(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| !guard.is_open(self))
    }
}
