//! What each phase may do. A view reads the whole [`Exchange`] and changes only what is legal in its phase.

use std::any::Any;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use wire::{Field, Headers, Known, Method};

use crate::claims::Claims;
use crate::copies::CopiedRequest;
use crate::detour::Detour;
use crate::exchange::{BodyLimit, Exchange, Timeouts};
use crate::groups::ConsumerGroups;
use crate::guard::Guard;
use crate::identity::{self, Caller, OwnFields};
use crate::repeat::Policy;
use crate::reply::Answering;

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

impl Access<'_> {
    /// Remembers `state` until the response has ended: it is dropped before the response's last bytes go out.
    pub fn remember_until_end<T: Any>(&mut self, state: T) {
        self.remember(state);
        self.exchange.passing.push(self.slot);
    }
}

impl<'a> Access<'a> {
    /// The view of whoever has no slot, a guard for instance: it remembers nothing. For the engine and the harness.
    pub fn apart(exchange: &'a mut Exchange) -> Self {
        Self::new(exchange, usize::MAX)
    }
}

impl Access<'_> {
    /// The request's fields as they will go upstream.
    pub fn headers(&mut self) -> &mut Headers {
        &mut self.exchange.request.headers
    }

    /// Fields to set on the response, whoever makes it.
    pub fn decorate(&mut self) -> &mut Headers {
        &mut self.exchange.decorations
    }

    /// Begins an answer, replacing any begun before.
    pub fn answer(&mut self, status: u16) -> Answering<'_> {
        Answering::new(&mut self.exchange.reply, status)
    }

    /// The request is `caller`'s. Sets the identity headers of kong.md 3.4. For rooms that say so, see
    /// [`Plugin::AUTHENTICATES`](crate::Plugin::AUTHENTICATES).
    pub fn authenticate(&mut self, caller: Arc<Caller>) {
        identity::assume(self.exchange, caller);
    }

    /// Removes what the client claims about who it is, once for each request.
    pub(crate) fn disbelieve(&mut self, own: Option<&OwnFields>) {
        identity::disbelieve(self.exchange, own);
    }

    /// Removes the field `name`, and those that a service may take for it: `X_User` for `X-User`. For what only the gateway
    /// may tell.
    pub fn forget(&mut self, name: &str) {
        identity::forget(&mut self.exchange.request.headers, name);
    }

    /// Tells the upstream more about the caller: in `field`, or the one that the operator wants in its place. None takes back
    /// what was told.
    pub fn tell_identity(&mut self, field: Known, value: Option<&[u8]>) {
        identity::tell(self.exchange, field, value);
    }

    /// The caller is in these groups, by the word of whoever authenticated it.
    pub fn vouch_for_groups(&mut self, groups: Arc<[Box<str>]>) {
        self.exchange.identity.groups = Some(groups);
    }

    /// The caller is in these consumer groups, by the word of whoever authenticated it.
    pub fn vouch_for_consumer_groups(&mut self, groups: Arc<ConsumerGroups>) {
        self.exchange.identity.consumer_groups = Some(groups);
    }

    /// The caller's token says so, by the word of whoever verified it.
    pub fn vouch_for_claims(&mut self, claims: Arc<Claims>) {
        self.exchange.identity.claims = Some(claims);
    }

    /// The path sent upstream. Bytes that would end it, or the request line, are percent-encoded.
    pub fn set_upstream_path(&mut self, path: &[u8]) {
        self.exchange.upstream.path.clear();
        push_target(&mut self.exchange.upstream.path, path, b"?#");
    }

    /// The query sent upstream, without `?`; none removes the question mark too. Bytes that would end it are
    /// percent-encoded.
    pub fn set_upstream_query(&mut self, query: Option<&[u8]>) {
        let upstream = &mut self.exchange.upstream;
        upstream.has_query = query.is_some();
        upstream.query.clear();
        push_target(&mut upstream.query, query.unwrap_or_default(), b"#");
    }

    /// The method sent upstream.
    pub fn set_upstream_method(&mut self, method: Method) {
        self.exchange.upstream.method = Some(method);
    }

    /// The `Host` sent upstream. False, and nothing changes, if it is no authority (RFC 9110 7.2).
    pub fn set_upstream_host(&mut self, host: &[u8]) -> bool {
        let valid = wire::target::is_authority(host);
        if valid {
            self.exchange.upstream.host.clear();
            self.exchange.upstream.host.extend_from_slice(host);
        }
        valid
    }

    /// Gives the upstream other times than its service's. Those that are none stay as they are.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        let set = &mut self.exchange.timeouts;
        set.connect = timeouts.connect.or(set.connect);
        set.write = timeouts.write.or(set.write);
        set.read = timeouts.read.or(set.read);
    }

    /// Accepts no more of the request body than `limit`, from here on: whoever reads it, or passes it on, fails with 413 as
    /// soon as more has come. The least of several limits holds.
    pub fn limit_body(&mut self, limit: BodyLimit) {
        let held = &mut self.exchange.body_limit;
        if held.is_none_or(|held| limit.bytes < held.bytes) {
            *held = Some(limit);
        }
    }

    /// Sends the request on `detour` instead of to the service of its route. The last word of a chain counts.
    pub fn send_to(&mut self, detour: &Detour) {
        self.exchange.detour = Some(detour.clone());
    }

    /// Gives `guard` a say in which targets the request may go to. There is one guard: the last word of a chain counts.
    pub fn guard_by(&mut self, guard: Rc<dyn Guard>) {
        self.exchange.guard = Some(guard);
    }

    /// The request is sent again as `policy` says, instead of as the service does.
    pub fn repeat_by(&mut self, policy: Arc<Policy>) {
        self.exchange.repeat = Some(policy);
    }

    /// The request body, once it has been read (see [`Flow::ReadBody`](crate::Flow::ReadBody)).
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        self.exchange.body.as_deref()
    }

    /// Replaces the request body; `Content-Length` follows.
    pub fn set_body(&mut self, body: Vec<u8>) {
        self.exchange.body = Some(body);
    }

    /// Adds a member to the log line; its name is a token (RFC 9110 5.6.2), its value text without line ends.
    pub fn add_log_field(&mut self, name: &str, value: &[u8]) {
        self.exchange.log_fields.append(name, value);
    }

    /// Adds the request field `header` to the log line as `name`.
    pub fn log_request_field(&mut self, name: &str, header: &str) {
        let Exchange { request, log_fields, .. } = &mut *self.exchange;
        log_fields.append_from(&request.headers, header, name);
    }

    /// Sets the response field `header` to the value it has in the request.
    pub fn echo_request_field(&mut self, header: &str) {
        let Exchange { request, decorations, .. } = &mut *self.exchange;
        decorations.set_from(&request.headers, header);
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

/// Appends `text`, with controls, spaces, bytes beyond ASCII and those in `ends` percent-encoded.
fn push_target(out: &mut Vec<u8>, text: &[u8], ends: &[u8]) {
    for &byte in text {
        if byte.is_ascii_graphic() && !ends.contains(&byte) {
            out.push(byte);
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::push_target;

    #[test]
    fn a_target_cannot_be_split() {
        let mut out = Vec::new();
        push_target(&mut out, b"/a b\r\nHost: evil?x#y\xff", b"?#");
        assert_eq!(out, b"/a%20b%0D%0AHost:%20evil%3Fx%23y%FF");
    }
}
