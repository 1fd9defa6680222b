//! One watched name and the addresses last published for it.

use std::fmt;
use std::net::IpAddr;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};

/// A hostname whose addresses are kept fresh.
pub struct Name {
    text: Arc<str>,
    current: ArcSwap<Addresses>,
    followers: Mutex<Vec<Weak<dyn Follower>>>,
}

/// What is known about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The IPv4 addresses, or the IPv6 addresses of a name that has no IPv4 ones (Kong's default order), sorted.
    /// After a failure that does not deny the name, the last good list.
    pub list: Vec<Record>,
    /// How the last lookup went.
    pub state: State,
    /// Grows with every change.
    pub generation: u64,
    /// Found in a hosts file.
    pub(super) from_hosts: bool,
}

/// An address of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The address.
    pub address: IpAddr,
    /// What an SRV record says of it, where the name has such records.
    pub service: Option<Service>,
}

/// What an SRV record says (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// Replaces the configured port.
    pub port: u16,
    /// Replaces the configured weight; a 0 in the record is a 1 here (kong.md 5.1).
    pub weight: u16,
    /// The host it names, without the dot at the end; none where that can be no host.
    pub host: Option<Arc<str>>,
}

/// How the last lookup of a name went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not looked up yet.
    Pending,
    /// It has addresses.
    Resolved,
    /// It failed.
    Failed(Failure),
}

/// Why a name has no fresh addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The name does not exist or has no address.
    NotFound,
    /// A name server failed or refused, or none could be reached.
    Server,
    /// No name server answered in time.
    Timeout,
    /// It cannot be a hostname.
    Malformed,
    /// Too many names are watched already.
    TooMany,
}

/// Who wants to know, on the resolver's thread, that a name's addresses changed.
pub(crate) trait Follower: Send + Sync {
    /// Called after the change can be read.
    fn addresses_changed(self: Arc<Self>);
}

impl Service {
    /// Whether it is the same host and port, whatever it weighs.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (self.port, &self.host) == (other.port, &other.host)
    }
}

impl From<IpAddr> for Record {
    fn from(address: IpAddr) -> Self {
        Self { address, service: None }
    }
}

impl Name {
    pub(super) fn new(text: Arc<str>) -> Self {
        let nothing = Addresses { list: Vec::new(), state: State::Pending, generation: 0, from_hosts: false };
        Self { text, current: ArcSwap::from_pointee(nothing), followers: Mutex::default() }
    }

    /// The name in lower case.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// What is known now. Takes no lock.
    #[must_use]
    pub fn addresses(&self) -> Guard<Arc<Addresses>> {
        self.current.load()
    }

    /// Calls `follower` after each change, for as long as it lives.
    pub(crate) fn follow(&self, follower: Weak<dyn Follower>) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        // Who follows already is told once.
        let same = |old: &Weak<dyn Follower>| ptr::addr_eq(old.as_ptr(), follower.as_ptr());
        followers.retain(|old| old.strong_count() > 0 && !same(old));
        followers.push(follower);
    }

    /// Publishes the outcome of a lookup. Whether it changes anything: its followers are to be told then.
    pub(super) fn publish(&self, list: Vec<Record>, state: State, from_hosts: bool) -> bool {
        let before = self.current.load_full();
        if before.list == list && before.state == state && before.from_hosts == from_hosts {
            return false;
        }
        let generation = before.generation + 1;
        self.current.store(Arc::new(Addresses { list, state, generation, from_hosts }));
        true
    }

    /// Adds those who follow it to `all`.
    pub(super) fn add_followers(&self, all: &mut Vec<Arc<dyn Follower>>) {
        let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(followers.iter().filter_map(Weak::upgrade));
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotFound => "the name does not exist or has no address",
            Self::Server => "no name server gave a usable answer",
            Self::Timeout => "no name server answered in time",
            Self::Malformed => "it is not a hostname",
            Self::TooMany => "too many names are in use",
        })
    }
}
