//! What a room may do between routing and the upstream.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use wire::{Headers, Known, Method};

use super::{Access, remember};
use crate::claims::Claims;
use crate::detour::Detour;
use crate::exchange::{BodyLimit, Exchange, Timeouts};
use crate::groups::ConsumerGroups;
use crate::guard::Guard;
use crate::identity::{self, Caller, OwnFields};
use crate::repeat::Policy;
use crate::reply::Answering;

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

    /// Removes `own` fields, and those that a service may take for them: `X_User` for `X-User`. Nor can the client send them
    /// in trailers. For what only the gateway may tell.
    pub fn forget(&mut self, own: &OwnFields) {
        identity::forget(self.exchange, own);
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
