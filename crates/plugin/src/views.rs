//! What each phase may do. A view reads the whole [`Exchange`] and changes only what is legal in its phase.

use std::any::Any;
use std::ops::Deref;
use std::rc::Rc;

use wire::{Field, Headers};

use crate::copies::CopiedRequest;
use crate::exchange::Exchange;

mod access;

/// What a room wants with the response body; the strongest wish of a chain wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum BodyMode {
    /// Nothing: `body_filter` is not called.
    #[default]
    Pass,
    /// See each piece as it passes.
    Observe,
    /// Have the whole body in memory, within the gateway's bound, before the head is sent, and replace it at will.
    Whole,
    /// The client gets none of it, and nobody sees it. See [`HeaderFilter::withhold`].
    Withheld,
}

macro_rules! view {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<'a> {
            exchange: &'a mut Exchange,
            slot: usize,
        }

        impl<'a> $name<'a> {
            /// The view of the room in `slot` of the chain. For the engine and the harness.
            pub fn new(exchange: &'a mut Exchange, slot: usize) -> Self {
                Self { exchange, slot }
            }

            /// What this room remembered about the request in an earlier phase.
            #[must_use]
            pub fn state<T: 'static>(&mut self) -> Option<&mut T> {
                self.exchange.states.get_mut(self.slot)?.as_mut()?.downcast_mut()
            }
        }

        impl Deref for $name<'_> {
            type Target = Exchange;

            fn deref(&self) -> &Exchange {
                self.exchange
            }
        }
    };
}

view! {
    /// Before routing: the head may still be changed freely.
    Rewrite
}
view! {
    /// After routing: change the request, answer it, or let it pass.
    Access
}
view! {
    /// The response head may be changed.
    HeaderFilter
}

/// A piece of the response body passes.
pub struct BodyFilter<'a> {
    exchange: &'a mut Exchange,
    slot: usize,
    piece: &'a [u8],
    last: bool,
    replacement: Option<Vec<u8>>,
}

/// The exchange is over: read everything, change nothing.
pub struct Log<'a> {
    exchange: &'a Exchange,
    slot: usize,
}

impl Rewrite<'_> {
    /// The request's fields.
    pub fn headers(&mut self) -> &mut Headers {
        &mut self.exchange.request.headers
    }

    /// Remembers `state` for this room's later phases.
    pub fn remember<T: Any>(&mut self, state: T) {
        remember(self.exchange, self.slot, state);
    }
}

impl HeaderFilter<'_> {
    /// The response's fields.
    pub fn headers(&mut self) -> &mut Headers {
        &mut self.exchange.response.headers
    }

    /// The request's fields, to be read while the response's are changed.
    pub fn request_and_response(&mut self) -> (&Headers, &mut Headers) {
        (&self.exchange.request.headers, &mut self.exchange.response.headers)
    }

    /// Changes the status code.
    pub fn set_status(&mut self, status: u16) {
        self.exchange.response.status = status;
        self.exchange.response.set_reason(b"");
    }

    /// The request costs so many thousandths of a unit.
    pub fn charge(&mut self, thousandths: u32) {
        self.exchange.record.cost = Some(thousandths);
    }

    /// Answers with `status` and without content in place of the response. Fields stay, but for those about its content and
    /// for how long it may be kept. What is left of an upstream's response is not waited for.
    pub fn withhold(&mut self, status: u16) {
        const ABOUT_CONTENT: [&[u8]; 7] =
            [b"etag", b"last-modified", b"accept-ranges", b"cache-control", b"expires", b"age", b"trailer"];
        self.set_status(status);
        self.exchange.response.headers.retain(|Field { name, .. }| {
            let is_content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
            !is_content && !ABOUT_CONTENT.iter().any(|about| about.eq_ignore_ascii_case(name))
        });
        self.exchange.body_mode = BodyMode::Withheld;
    }

    /// Asks for the response body; `Content-Length` follows a replacement.
    pub fn want_body(&mut self, mode: BodyMode) {
        self.exchange.body_mode = self.exchange.body_mode.max(mode);
    }

    /// Remembers `state` for this room's later phases.
    pub fn remember<T: Any>(&mut self, state: T) {
        remember(self.exchange, self.slot, state);
    }
}

impl<'a> BodyFilter<'a> {
    /// The view of the room in `slot` on `piece`. For the engine and the harness.
    pub fn new(exchange: &'a mut Exchange, slot: usize, piece: &'a [u8], last: bool) -> Self {
        Self { exchange, slot, piece, last, replacement: None }
    }

    /// The piece that passes; the whole body in [`BodyMode::Whole`]. May be empty at the end.
    #[must_use]
    pub fn piece(&self) -> &'a [u8] {
        self.piece
    }

    /// No more pieces follow.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// Replaces the body. Has an effect only in [`BodyMode::Whole`].
    pub fn replace(&mut self, body: Vec<u8>) {
        self.replacement = Some(body);
    }

    /// A copy of the request as it went upstream, to be sent elsewhere, too.
    ///
    /// # Errors
    /// Why there is none, see [`Copier::copy`](crate::copies::Copier::copy).
    pub fn copy_request(&self) -> Result<Rc<dyn CopiedRequest>, &'static str> {
        self.exchange.worker.copy(self.exchange)
    }

    /// The replacement, for the engine.
    #[must_use]
    pub fn into_replacement(self) -> Option<Vec<u8>> {
        self.replacement
    }

    /// What this room remembered about the request in an earlier phase.
    #[must_use]
    pub fn state<T: 'static>(&mut self) -> Option<&mut T> {
        self.exchange.states.get_mut(self.slot)?.as_mut()?.downcast_mut()
    }

    /// Takes what this room remembered.
    #[must_use]
    pub fn take_state<T: 'static>(&mut self) -> Option<Box<T>> {
        self.exchange.states.get_mut(self.slot)?.take()?.downcast().ok()
    }
}

impl Deref for BodyFilter<'_> {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        self.exchange
    }
}

impl<'a> Log<'a> {
    /// The view of the room in `slot` on the finished exchange. For the engine and the harness.
    #[must_use]
    pub fn new(exchange: &'a Exchange, slot: usize) -> Self {
        Self { exchange, slot }
    }

    /// What this room remembered about the request in an earlier phase.
    #[must_use]
    pub fn state<T: 'static>(&self) -> Option<&T> {
        self.exchange.states.get(self.slot)?.as_ref()?.downcast_ref()
    }
}

impl Deref for Log<'_> {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        self.exchange
    }
}

fn remember<T: Any>(exchange: &mut Exchange, slot: usize, state: T) {
    if let Some(place) = exchange.states.get_mut(slot) {
        *place = Some(Box::new(state));
    }
}
