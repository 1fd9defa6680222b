//! Sticky sessions: a cookie names the target that a client goes back to.
//!
//! The name of a target is a digest, the same in every gateway with the same configuration, and tells nothing of the
//! address. A target of weight 0 gets no new sessions and keeps those it has.

use std::net::SocketAddr;

use aws_lc_rs::digest::{Context, SHA256};

use super::affinity::{Asker, Cookie};
use super::roster::{Candidate, Choice};

/// Digits of the name of a target.
const DIGITS: usize = 32;

type Digits = [u8; DIGITS];

/// The names of all targets, with the indices of their addresses.
pub(super) struct Sessions {
    /// In order.
    by_name: Box<[(Digits, usize)]>,
    /// By index.
    names: Box<[Digits]>,
}

impl Sessions {
    /// The names of `candidates` of `owner`.
    pub(super) fn new<'a>(owner: &str, candidates: impl Iterator<Item = &'a Candidate>) -> Self {
        let names: Box<[Digits]> = candidates.map(|candidate| name(owner, candidate.peer.address)).collect();
        let mut by_name: Box<[_]> = names.iter().enumerate().map(|(index, name)| (*name, index)).collect();
        by_name.sort_unstable();
        Self { by_name, names }
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let found = self.by_name.binary_search_by(|(known, _)| known.as_slice().cmp(name)).ok()?;
        Some(self.by_name[found].1)
    }
}

fn name(owner: &str, address: SocketAddr) -> Digits {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut context = Context::new(&SHA256);
    context.update(owner.as_bytes());
    context.update(address.to_string().as_bytes());
    let mut name = [0; DIGITS];
    for (digits, byte) in name.chunks_exact_mut(2).zip(context.finish().as_ref()) {
        digits[0] = HEX[usize::from(byte >> 4)];
        digits[1] = HEX[usize::from(byte & 15)];
    }
    name
}

impl Choice<'_> {
    /// The address of the client's session or, if that cannot be had, of a new session, whose cookie is left in
    /// `set_cookie`.
    pub(super) fn by_session(
        &self,
        sessions: &Sessions,
        cookie: &Cookie,
        asker: &Asker<'_>,
        set_cookie: &mut Vec<u8>,
    ) -> Option<usize> {
        let named = asker.exchange.and_then(|exchange| cookie.value(exchange));
        let known = named.and_then(|name| sessions.find(name)).filter(|index| self.open(*index));
        if known.is_some() {
            set_cookie.clear();
            return known;
        }
        let index = self.in_turn()?;
        cookie.set(&sessions.names[index], set_cookie);
        Some(index)
    }
}
