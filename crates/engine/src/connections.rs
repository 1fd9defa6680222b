//! The books of a worker's connections: how many there are, whose, which are idle, and which give way when there are
//! too many.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ahash::AHashMap;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Connections found at one look to have been idle for longest. A look is at all connections, and few give way at
/// a time.
const CANDIDATES: usize = 64;
/// How long nobody looks again when none was idle: where all are busy, connections are refused by the thousand.
const NO_LOOK: Duration = Duration::from_millis(10);

/// Whether a connection is idle; shared with the books.
#[derive(Default)]
pub struct Idle {
    since: Cell<Option<Instant>>,
    /// It ends by itself when the gateway stops, and says goodbye.
    takes_leave: Cell<bool>,
}

impl Idle {
    /// Idle from `now` on.
    pub fn since(now: Instant) -> Self {
        let idle = Self::default();
        idle.rest(now);
        idle
    }

    /// No request is running, since `since`.
    #[inline]
    pub fn rest(&self, since: Instant) {
        self.since.set(Some(since));
    }

    /// A request is running.
    #[inline]
    pub fn work(&self) {
        self.since.set(None);
    }

    /// Since when no request has been running; none while one is.
    pub fn resting_since(&self) -> Option<Instant> {
        self.since.get()
    }

    /// From now on the connection ends by itself when the gateway stops.
    pub fn take_leave(&self) {
        self.takes_leave.set(true);
    }
}

struct Connection {
    task: AbortHandle,
    idle: Rc<Idle>,
    address: IpAddr,
}

/// The connections of one worker.
#[derive(Default)]
pub struct Connections {
    by_number: RefCell<AHashMap<u64, Connection>>,
    by_address: RefCell<AHashMap<IpAddr, usize>>,
    /// Those found idle for longest at the last look, with their times then; who has been idle for longest is last.
    candidates: RefCell<Vec<(Instant, u64)>>,
    /// None was idle at the last look, and the next one is not before this.
    no_look_until: Cell<Option<Instant>>,
    next: Cell<u64>,
}

impl Connections {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_number.borrow().len()
    }

    /// How many have a request running, from its first byte on.
    pub fn busy(&self) -> usize {
        let connections = self.by_number.borrow();
        connections.values().filter(|connection| connection.idle.resting_since().is_none()).count()
    }

    /// How many come from `address`.
    pub fn from(&self, address: IpAddr) -> usize {
        self.by_address.borrow().get(&address).copied().unwrap_or(0)
    }

    /// Number for a new connection.
    pub fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    /// Enters the task of a connection, so that it can be ended while it is idle.
    pub fn enter(&self, number: u64, task: AbortHandle, idle: Rc<Idle>, address: IpAddr) {
        *self.by_address.borrow_mut().entry(address).or_default() += 1;
        self.by_number.borrow_mut().insert(number, Connection { task, idle, address });
    }

    /// Strikes out a connection that has ended.
    pub fn strike(&self, number: u64) {
        let struck = self.by_number.borrow_mut().remove(&number);
        if let Some(connection) = struck {
            self.forget(connection.address);
        }
    }

    fn forget(&self, address: IpAddr) {
        let mut by_address = self.by_address.borrow_mut();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }

    /// Ends connections that have no request running and do not end by themselves; all of them with `even_busy`.
    pub fn end(&self, even_busy: bool) {
        let ended: Vec<u64> = {
            let connections = self.by_number.borrow();
            let ends = |connection: &Connection| {
                let idle = &connection.idle;
                even_busy || (idle.resting_since().is_some() && !idle.takes_leave.get())
            };
            connections.iter().filter(|(_, one)| ends(one)).map(|(number, _)| *number).collect()
        };
        ended.into_iter().for_each(|number| self.cut(number));
    }

    fn cut(&self, number: u64) {
        let task = self.by_number.borrow().get(&number).map(|connection| connection.task.clone());
        if let Some(task) = task {
            task.abort();
            self.strike(number);
        }
    }

    /// Ends the connection that has been idle for longest. False when none is idle, or was at a look just now.
    pub fn shed(&self) -> bool {
        if self.shed_candidate() {
            return true;
        }
        let now = Instant::now();
        if self.no_look_until.get().is_some_and(|until| now < until) {
            return false;
        }
        self.look();
        let shed = self.shed_candidate();
        self.no_look_until.set((!shed).then(|| now + NO_LOOK));
        shed
    }

    fn shed_candidate(&self) -> bool {
        loop {
            let Some((since, number)) = self.candidates.borrow_mut().pop() else { return false };
            let still = self.by_number.borrow().get(&number).and_then(|one| one.idle.resting_since());
            if still == Some(since) {
                self.cut(number);
                return true;
            }
        }
    }

    fn look(&self) {
        let connections = self.by_number.borrow();
        let resting =
            connections.iter().filter_map(|(number, one)| Some((one.idle.resting_since()?, *number)));
        let mut candidates: Vec<_> = resting.collect();
        candidates.sort_unstable();
        candidates.truncate(CANDIDATES);
        candidates.reverse();
        *self.candidates.borrow_mut() = candidates;
    }
}
