//! Connections of HTTP/2 on their way to services: who wants one of the same kind waits for it, rather than opening
//! another that its streams would not fill.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;

use ahash::AHashMap;
use tokio::sync::Notify;

use super::pool::Lane;
use crate::tls::{Identity, Wanted};
use crate::upstream::destination::Destination;

/// Streams that servers should allow at least (RFC 9113 6.5.2): so many requests rely on one opening.
const STREAMS: u64 = 100;

/// The connections that one worker is opening.
#[derive(Default)]
pub struct Openings(RefCell<AHashMap<Destination, Vec<Rc<Opening>>>>);

/// A connection on its way.
pub struct Opening {
    identity: Option<Identity>,
    /// Requests that rely on it, the one that opens it included.
    relying: Cell<u64>,
    /// It is not known yet whether there will be a connection at all.
    dialing: Cell<bool>,
    ending: OnceCell<Ending>,
    ended: Notify,
}

/// What became of an opening.
pub enum Ending {
    /// There is a connection to share.
    Opened(Rc<Lane>),
    /// The service chose HTTP/1.1, whose connections are shared by nobody.
    Http1,
    /// No connection could be opened.
    Failed(ErrorKind),
    /// Whoever opened it has left, or ran out of time: somebody else may try.
    Abandoned,
}

/// What a request without a connection does.
pub enum Turn {
    /// It opens one, for others too.
    Lead(Opener),
    /// It waits for what another one opens.
    Follow(Rc<Opening>),
}

/// The duty to say what becomes of an opening. Dropped without a word, it is abandoned.
pub struct Opener {
    openings: Rc<Openings>,
    destination: Destination,
    opening: Rc<Opening>,
}

impl Openings {
    /// Joins an opening of what is `wanted`, or begins one. One that is `fresh` joins none that may already have failed
    /// it. No more than `most` requests rely on one opening.
    pub fn turn(
        self: &Rc<Self>,
        destination: &Destination,
        wanted: Option<&Wanted<'_>>,
        fresh: bool,
        most: u64,
    ) -> Turn {
        let mut openings = self.0.borrow_mut();
        let same = openings.entry(destination.clone()).or_default();
        let joined = same.iter().find(|opening| {
            opening.relying.get() < most.min(STREAMS)
                && (opening.dialing.get() || !fresh)
                && Identity::serves(opening.identity.as_ref(), wanted)
        });
        if let Some(opening) = joined {
            opening.relying.set(opening.relying.get() + 1);
            return Turn::Follow(opening.clone());
        }
        let opening = Rc::new(Opening {
            identity: wanted.map(Wanted::identity),
            relying: Cell::new(1),
            dialing: Cell::new(true),
            ending: OnceCell::new(),
            ended: Notify::new(),
        });
        same.push(opening.clone());
        Turn::Lead(Opener { openings: self.clone(), destination: destination.clone(), opening })
    }
}

impl Opening {
    /// What becomes of it.
    pub async fn ending(&self) -> &Ending {
        loop {
            if let Some(ending) = self.ending.get() {
                return ending;
            }
            self.ended.notified().await;
        }
    }
}

impl Opener {
    /// There is a connection; what it bears is not known yet.
    pub fn connected(&self) {
        self.opening.dialing.set(false);
    }

    /// Tells all who wait.
    pub fn end(self, ending: Ending) {
        // The only one that sets it: it is empty.
        let _ = self.opening.ending.set(ending);
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let mut openings = self.openings.0.borrow_mut();
        if let Some(same) = openings.get_mut(&self.destination) {
            same.retain(|opening| !Rc::ptr_eq(opening, &self.opening));
            if same.is_empty() {
                openings.remove(&self.destination);
            }
        }
        self.opening.ending.get_or_init(|| Ending::Abandoned);
        self.opening.ended.notify_waiters();
    }
}
