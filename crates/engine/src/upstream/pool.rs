//! Idle connections to upstreams, kept by one worker for its own use: no lock, no wake-up.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use crate::tls::Wanted;
use crate::transport::Stream;
use crate::upstream::destination::Destination;
use crate::upstream::gate;

/// Connections to all destinations, for each that one of them may have: services come and go, file descriptors are few.
const DESTINATIONS: usize = 8;

/// Idle connections of one worker.
pub struct Pool {
    idle: RefCell<Idle>,
    /// Of one destination, at most.
    capacity: usize,
    idle_timeout: Duration,
    max_requests: u64,
    /// Whose it is.
    worker: usize,
}

#[derive(Default)]
struct Idle {
    by_destination: AHashMap<Destination, Vec<Parked>>,
    count: usize,
    /// Those among them that serve one client only.
    of_one_client: usize,
}

impl Idle {
    fn remove(&mut self, destination: &Destination, count: usize) {
        self.count -= count;
        if destination.announced.is_some() {
            self.of_one_client -= count;
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Parked) -> bool) {
        (self.count, self.of_one_client) = (0, 0);
        let (count, of_one_client) = (&mut self.count, &mut self.of_one_client);
        self.by_destination.retain(|destination, parked| {
            parked.retain_mut(&mut keep);
            *count += parked.len();
            if destination.announced.is_some() {
                *of_one_client += parked.len();
            }
            !parked.is_empty()
        });
    }

    /// When the connection became idle that is this far from the one idle for longest. `place` is less than `count`.
    fn nth_oldest(&self, place: usize) -> Instant {
        let parked = self.by_destination.values().flatten();
        let mut since: Vec<Instant> = parked.map(|one| one.since).collect();
        *since.select_nth_unstable(place).1
    }
}

struct Parked {
    stream: Stream,
    requests: u64,
    since: Instant,
    /// Somebody has been called to take it.
    promised: bool,
}

/// A connection taken from the pool.
pub struct Reused {
    /// The connection, open and silent a moment ago.
    pub stream: Stream,
    /// Requests it has served.
    pub requests: u64,
}

impl Pool {
    /// An empty pool of `worker` for `capacity` connections to each destination and eight times as many in all.
    pub fn new(worker: usize, capacity: usize, idle_timeout: Duration, max_requests: u64) -> Self {
        Self { idle: RefCell::default(), capacity, idle_timeout, max_requests, worker }
    }

    /// Whether a connection that is idle since then may be used for another request, as far as time goes.
    fn is_timely(&self, stream: &Stream, since: Instant, now: Instant) -> bool {
        let idle_for = now.saturating_duration_since(since);
        match stream.seat() {
            None => idle_for < self.idle_timeout,
            Some(seat) => {
                let limit = seat.gate().limits().idle.unwrap_or(self.idle_timeout);
                idle_for < limit && !seat.is_worn_out(now)
            }
        }
    }

    /// Takes the most recently used connection to `destination` that is still usable `now`, and just what is `wanted`.
    pub fn take(
        &self,
        destination: &Destination,
        wanted: Option<&Wanted<'_>>,
        now: Instant,
    ) -> Option<Reused> {
        let idle = &mut *self.idle.borrow_mut();
        while let Some(parked) = idle.by_destination.get_mut(destination)
            && let Some(last) = parked.iter().rposition(|one| one.stream.is_for(wanted))
        {
            let Parked { mut stream, requests, since, .. } = parked.remove(last);
            idle.remove(destination, 1);
            if self.is_timely(&stream, since, now) && stream.is_idle_and_open() {
                return Some(Reused { stream, requests });
            }
        }
        None
    }

    /// Keeps a connection for later, unless it has served enough or the pool is full. Those that serve one client only,
    /// which may never come back, are half as many as those to one destination. Whether it is kept.
    pub fn put(&self, destination: Destination, stream: Stream, requests: u64, now: Instant) -> bool {
        let idle = &mut *self.idle.borrow_mut();
        if requests >= self.max_requests || !self.has_room_for(idle, &destination) {
            return false;
        }
        let of_one_client = usize::from(destination.announced.is_some());
        let parked = idle.by_destination.entry(destination).or_default();
        if parked.len() >= self.capacity {
            return false;
        }
        let mut promised = false;
        if let Some(seat) = stream.seat() {
            if seat.is_worn_out(now) {
                return false;
            }
            match seat.gate().offer(self.worker) {
                gate::Idle::Kept => {}
                gate::Idle::Promised => promised = true,
                gate::Idle::Wanted => return false,
            }
        }
        parked.push(Parked { stream, requests, since: now, promised });
        idle.count += 1;
        idle.of_one_client += of_one_client;
        true
    }

    /// Whether there is a place for one more connection to `destination`.
    pub fn has_room(&self, destination: &Destination) -> bool {
        let idle = self.idle.borrow();
        let parked = idle.by_destination.get(destination).map_or(0, Vec::len);
        self.has_room_for(&idle, destination) && parked < self.capacity
    }

    /// The same as far as those to all destinations go.
    fn has_room_for(&self, idle: &Idle, destination: &Destination) -> bool {
        let of_one_client = destination.announced.is_some();
        idle.count < self.in_all() && !(of_one_client && idle.of_one_client >= self.capacity / 2)
    }

    fn in_all(&self) -> usize {
        self.capacity.saturating_mul(DESTINATIONS)
    }

    /// Closes connections that have been idle for too long or were closed by the upstream, and while the pool is nearly
    /// full those that have been idle for longest, to have places for destinations in use. Called every second.
    pub fn sweep(&self) {
        let idle = &mut *self.idle.borrow_mut();
        let now = tokio::time::Instant::now().into_std();
        idle.retain(|one| self.is_timely(&one.stream, one.since, now) && one.stream.is_idle_and_open());
        let most = self.in_all() / 4 * 3;
        if let Some(surplus) = idle.count.checked_sub(most + 1) {
            let latest = idle.nth_oldest(surplus);
            idle.retain(|one| one.since > latest);
        }
    }

    /// Closes connections whose places others wait for, one for each of these, those that were used last at last. One
    /// that somebody has been called to take stays until the next time.
    pub fn yield_idle(&self) {
        let wanted = |one: &Parked| one.stream.seat().is_some_and(|seat| seat.gate().is_crowded());
        self.idle.borrow_mut().retain(|one| !wanted(one) || std::mem::take(&mut one.promised));
    }

    /// Closes connections for their files, those that have been idle for longest: `most` of them, and others only where they
    /// became idle in the same moment. How many.
    pub fn give_way(&self, most: usize) -> usize {
        let idle = &mut *self.idle.borrow_mut();
        let before = idle.count;
        if let Some(last) = most.min(before).checked_sub(1) {
            let latest = idle.nth_oldest(last);
            idle.retain(|one| one.since > latest);
        }
        before - idle.count
    }

    /// Number of idle connections to `destination` that are just what is `wanted`.
    pub fn ready(&self, destination: &Destination, wanted: Option<&Wanted<'_>>) -> usize {
        let idle = self.idle.borrow();
        let parked = idle.by_destination.get(destination);
        parked.map_or(0, |parked| parked.iter().filter(|one| one.stream.is_for(wanted)).count())
    }

    /// Number of idle connections.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.idle.borrow().count
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use plugin::exchange::Client;

    use super::*;
    use crate::upstream::destination::Announcing;

    fn pipe() -> Stream {
        Stream::Memory(tokio::io::BufReader::new(tokio::io::duplex(16).0))
    }

    fn at(port: u16) -> Destination {
        Destination::from(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn address() -> Destination {
        at(1)
    }

    #[test]
    fn a_destination_that_is_full_takes_no_places_of_others() {
        let pool = Pool::new(0, 2, Duration::from_secs(60), 100);
        for port in [1, 1, 1, 2, 2, 2, 3] {
            pool.put(at(port), pipe(), 1, Instant::now());
        }
        let ready = |port| pool.ready(&at(port), None);
        assert_eq!((ready(1), ready(2), ready(3)), (2, 2, 1));
    }

    #[test]
    fn a_pool_that_fills_up_gives_up_what_has_been_idle_for_longest() {
        let pool = Pool::new(0, 2, Duration::from_secs(600), 100);
        let now = Instant::now();
        for port in 1..=9 {
            pool.put(at(port), pipe(), 1, now - Duration::from_secs(60 - u64::from(port)));
            pool.put(at(port), pipe(), 1, now);
        }
        assert_eq!((pool.len(), pool.ready(&at(9), None)), (16, 0), "eight times two in all");
        pool.sweep();
        assert_eq!(pool.len(), 12);
        let left: Vec<usize> = (1..=8).map(|port| pool.ready(&at(port), None)).collect();
        assert_eq!(left, [1, 1, 1, 1, 2, 2, 2, 2]);
        pool.put(at(9), pipe(), 1, now);
        pool.sweep();
        assert_eq!((pool.len(), pool.ready(&at(4), None), pool.ready(&at(5), None)), (12, 1, 1));
    }

    #[test]
    fn connections_of_one_client_leave_room_for_those_of_all() {
        let pool = Pool::new(0, 4, Duration::from_secs(60), 100);
        let of_client = |port: u16| {
            let peer = SocketAddr::from(([192, 0, 2, 1], port));
            let client = Client { peer, ip: peer.ip(), ..Client::default() };
            Destination::new(address().address, Some(Announcing::Version1), &client)
        };
        for port in 1..=4 {
            pool.put(of_client(port), pipe(), 1, Instant::now());
        }
        assert_eq!(pool.len(), 2);
        assert!(pool.take(&address(), None, Instant::now()).is_none(), "they serve nobody else");
        assert!(pool.take(&of_client(3), None, Instant::now()).is_none());
        assert!(pool.take(&of_client(2), None, Instant::now()).is_some());
        pool.put(of_client(5), pipe(), 1, Instant::now());
        for _ in 0..3 {
            pool.put(address(), pipe(), 1, Instant::now());
        }
        assert_eq!(pool.len(), 5);
        pool.sweep();
        assert_eq!(pool.len(), 5);
        pool.put(of_client(6), pipe(), 1, Instant::now());
        assert!(pool.take(&of_client(6), None, Instant::now()).is_none());
    }

    #[test]
    fn the_pool_is_bounded_and_last_in_first_out() {
        let address = address();
        let pool = Pool::new(0, 2, Duration::from_secs(60), 100);
        for requests in 1..=3 {
            pool.put(address.clone(), pipe(), requests, Instant::now());
        }
        assert_eq!(pool.len(), 2);
        assert_eq!(pool.take(&address, None, Instant::now()).unwrap().requests, 2);
        assert_eq!(pool.take(&address, None, Instant::now()).unwrap().requests, 1);
        assert!(pool.take(&address, None, Instant::now()).is_none());
    }

    #[test]
    fn whoever_brings_a_connection_learns_whether_it_is_kept() {
        let now = Instant::now();
        let pool = Pool::new(0, 1, Duration::from_secs(60), 10);
        assert!(pool.has_room(&at(1)) && pool.put(at(1), pipe(), 1, now));
        assert!(!pool.has_room(&at(1)) && !pool.put(at(1), pipe(), 1, now), "as many as to one destination");
        assert!(!pool.put(at(2), pipe(), 10, now), "it has served enough");
        assert!((2..=8).all(|port| pool.put(at(port), pipe(), 1, now)));
        assert!(!pool.has_room(&at(9)) && !pool.put(at(9), pipe(), 1, now), "as many as in all");
        let none = Pool::new(0, 0, Duration::from_secs(60), 10);
        assert!(!none.has_room(&at(1)) && !none.put(at(1), pipe(), 0, now));
    }

    #[test]
    fn those_that_have_been_idle_for_longest_give_way() {
        let pool = Pool::new(0, 4, Duration::from_secs(600), 100);
        let now = Instant::now();
        for (port, seconds) in [(1, 3), (2, 50), (1, 40), (2, 1), (3, 30)] {
            pool.put(at(port), pipe(), 1, now - Duration::from_secs(seconds));
        }
        assert_eq!(pool.give_way(3), 3);
        let ready = |port| pool.ready(&at(port), None);
        assert_eq!((ready(1), ready(2), ready(3), pool.len()), (1, 1, 0, 2));
        assert_eq!((pool.give_way(0), pool.give_way(100), pool.give_way(100)), (0, 2, 0));
    }

    #[test]
    fn worn_out_and_expired_connections_are_not_reused() {
        let address = address();
        let pool = Pool::new(0, 8, Duration::ZERO, 10);
        pool.put(address.clone(), pipe(), 10, Instant::now());
        assert_eq!(pool.len(), 0);
        pool.put(address.clone(), pipe(), 1, Instant::now());
        assert!(pool.take(&address, None, Instant::now()).is_none());
        pool.put(address.clone(), pipe(), 1, Instant::now());
        pool.sweep();
        assert_eq!(pool.len(), 0);
    }
}
