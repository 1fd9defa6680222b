//! Idle connections to upstreams, kept by one worker for its own use: no lock, no wake-up.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use crate::tls::Wanted;
use crate::transport::Stream;

/// Idle connections of one worker.
pub struct Pool {
    idle: RefCell<Idle>,
    capacity: usize,
    idle_timeout: Duration,
    max_requests: u64,
}

#[derive(Default)]
struct Idle {
    by_address: AHashMap<SocketAddr, Vec<Parked>>,
    count: usize,
}

struct Parked {
    stream: Stream,
    requests: u64,
    since: Instant,
}

/// A connection taken from the pool.
pub struct Reused {
    /// The connection, open and silent a moment ago.
    pub stream: Stream,
    /// Requests it has served.
    pub requests: u64,
}

impl Pool {
    /// An empty pool for `capacity` connections.
    pub fn new(capacity: usize, idle_timeout: Duration, max_requests: u64) -> Self {
        Self { idle: RefCell::default(), capacity, idle_timeout, max_requests }
    }

    /// Takes the most recently used connection to `address` that is still usable `now`, and just what is `wanted`.
    pub fn take(&self, address: SocketAddr, wanted: Option<&Wanted<'_>>, now: Instant) -> Option<Reused> {
        let idle = &mut *self.idle.borrow_mut();
        let parked = idle.by_address.get_mut(&address)?;
        while let Some(last) = parked.iter().rposition(|one| one.stream.is_for(wanted)) {
            let Parked { mut stream, requests, since } = parked.remove(last);
            idle.count -= 1;
            let idle_for = now.saturating_duration_since(since);
            if idle_for < self.idle_timeout && stream.is_idle_and_open() {
                return Some(Reused { stream, requests });
            }
        }
        None
    }

    /// Keeps a connection for later, unless it has served enough or the pool is full.
    pub fn put(&self, address: SocketAddr, stream: Stream, requests: u64, now: Instant) {
        let idle = &mut *self.idle.borrow_mut();
        if requests >= self.max_requests || idle.count >= self.capacity {
            return;
        }
        idle.count += 1;
        idle.by_address.entry(address).or_default().push(Parked { stream, requests, since: now });
    }

    /// Closes connections that have been idle for too long or were closed by the upstream. Called every second.
    pub fn sweep(&self) {
        let idle = &mut *self.idle.borrow_mut();
        let timeout = self.idle_timeout;
        idle.by_address.retain(|_, parked| {
            parked.retain_mut(|one| one.since.elapsed() < timeout && one.stream.is_idle_and_open());
            !parked.is_empty()
        });
        idle.count = idle.by_address.values().map(Vec::len).sum();
    }

    /// Number of idle connections.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.idle.borrow().count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> Stream {
        Stream::Memory(tokio::io::BufReader::new(tokio::io::duplex(16).0))
    }

    #[test]
    fn the_pool_is_bounded_and_last_in_first_out() {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let pool = Pool::new(2, Duration::from_secs(60), 100);
        for requests in 1..=3 {
            pool.put(address, pipe(), requests, Instant::now());
        }
        assert_eq!(pool.len(), 2);
        assert_eq!(pool.take(address, None, Instant::now()).unwrap().requests, 2);
        assert_eq!(pool.take(address, None, Instant::now()).unwrap().requests, 1);
        assert!(pool.take(address, None, Instant::now()).is_none());
    }

    #[test]
    fn worn_out_and_expired_connections_are_not_reused() {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let pool = Pool::new(8, Duration::ZERO, 10);
        pool.put(address, pipe(), 10, Instant::now());
        assert_eq!(pool.len(), 0);
        pool.put(address, pipe(), 1, Instant::now());
        assert!(pool.take(address, None, Instant::now()).is_none());
        pool.put(address, pipe(), 1, Instant::now());
        pool.sweep();
        assert_eq!(pool.len(), 0);
    }
}
