//! Responses on their way into a store: what they depend on, which of their fields may be repeated, and their bodies, each
//! within a bound and all of them together within another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use wire::{Headers, Known, media};

use crate::exchange::Exchange;
use crate::identity;

/// Calls `part` with what a response depends on beyond what the client has sent: where rooms send the request, and what they
/// tell the service of the caller. All of it belongs into the key that a response is kept under.
pub fn dependencies(exchange: &Exchange, mut part: impl FnMut(&[u8])) {
    let detour = exchange.detour.as_ref();
    let service = detour.and_then(|detour| detour.service());
    let place = detour.filter(|_| service.is_none());
    part(service.map_or(&[], |service| service.id.as_bytes()));
    part(place.map_or(&[], |detour| detour.name().as_bytes()));
    part(&exchange.upstream.host);
    identity::each_told(exchange, |name, value| {
        part(name);
        part(value);
    });
    // No field is called so: whatever comes next is none.
    part(&[]);
}

/// Memory for bodies on their way in, shared by all that collect for one store.
pub struct Budget {
    most: usize,
    taken: AtomicUsize,
}

impl Budget {
    /// Room for `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }

    fn reserve(&self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|total| *total <= self.most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// The pieces of a body seen so far. It is given out only when all of them are there.
pub struct Body {
    bytes: Vec<u8>,
    expected: Option<usize>,
    largest: usize,
    budget: Arc<Budget>,
}

impl Body {
    /// Begins with no piece; `None` if the body is larger than `largest` by its `Content-Length`.
    #[must_use]
    pub fn new(content_length: Option<&[u8]>, largest: usize, budget: Arc<Budget>) -> Option<Self> {
        let expected = match content_length {
            Some(text) => Some(std::str::from_utf8(text).ok()?.parse().ok()?),
            None => None,
        };
        let fits = expected.is_none_or(|expected| expected <= largest);
        fits.then(|| Self { bytes: Vec::new(), expected, largest, budget })
    }

    /// Takes a piece; false if the body has become too large or there are too many at once.
    #[must_use]
    pub fn push(&mut self, piece: &[u8]) -> bool {
        if self.bytes.len() + piece.len() > self.largest || !self.budget.reserve(piece.len()) {
            return false;
        }
        self.bytes.extend_from_slice(piece);
        true
    }

    /// The whole body; `None` if it is shorter than announced.
    #[must_use]
    pub fn finish(self) -> Option<Bytes> {
        let whole = self.expected.is_none_or(|expected| expected == self.bytes.len());
        whole.then(|| Bytes::copy_from_slice(&self.bytes))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// The fields of a response that may be repeated to other clients. The length of a body that is not there is kept.
#[must_use]
pub fn repeatable(headers: &Headers, head_only: bool) -> Headers {
    let nominated: Vec<&[u8]> = headers.known_all(Known::Connection).flat_map(media::list).collect();
    let mut kept = Headers::new();
    for (name, value) in headers.iter() {
        let own = match Known::classify(name.as_bytes()) {
            Known::ContentLength => !head_only,
            Known::SetCookie
            | Known::Age
            | Known::ProxyAuthenticate
            | Known::ProxyAuthorization
            | Known::XCacheKey
            | Known::XCacheStatus => true,
            known => known.is_hop_by_hop(),
        };
        let nominated = nominated.iter().any(|nominee| nominee.eq_ignore_ascii_case(name.as_bytes()));
        if !own && !nominated && !is_of_the_moment(name.as_bytes()) {
            kept.append(name, value);
        }
    }
    kept
}

/// Whether a field tells how much of a rate limit is left, or how a breaker stands.
fn is_of_the_moment(name: &[u8]) -> bool {
    if name.eq_ignore_ascii_case(b"x-circuit-breaker") {
        return true;
    }
    let remaining = b"ratelimit-remaining";
    name.windows(remaining.len()).any(|part| part.eq_ignore_ascii_case(remaining))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_at_once_is_bounded_and_given_back() {
        let budget = Arc::new(Budget::new(10));
        let body = || Body::new(None, 8, budget.clone()).unwrap();
        let (mut one, mut two) = (body(), body());
        assert!(one.push(b"12345678") && !one.push(b"9"), "as large as one may be");
        assert!(two.push(b"12") && !two.push(b"3"), "as much as all may be");
        assert_eq!(one.finish().as_deref(), Some(&b"12345678"[..]));
        assert!(two.push(b"345"));
    }

    #[test]
    fn a_body_is_as_long_as_it_said() {
        let budget = Arc::new(Budget::new(10));
        let mut short = Body::new(Some(b"3"), 8, budget.clone()).unwrap();
        assert!(short.push(b"12") && short.finish().is_none());
        assert!(Body::new(Some(b"9"), 8, budget.clone()).is_none());
        assert!(Body::new(Some(b"x"), 8, budget).is_none());
    }
}
