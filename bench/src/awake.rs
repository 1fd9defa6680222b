//! Waiting for events without falling asleep, so that no proxy pays for waking its load or its backend: on one
//! machine a wake-up is an interrupt between cores, charged to whoever sends, and dearer the slower the sender is.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

/// How long load and backend stay awake after their last event; then they sleep until the next.
const AWAKE: Duration = Duration::from_millis(20);
/// Pauses of the processor between two looks, together about a microsecond.
const PAUSES: usize = 64;

/// Waits until there are events or `limit` is over. While events were seen of late it asks again and again, and lets
/// others on the core run in between.
pub fn wait(poll: &mut Poll, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
    let start = Instant::now();
    let awake = limit.map_or(AWAKE, |limit| limit.min(AWAKE));
    while start.elapsed() < awake {
        doze(poll, events, Some(Duration::ZERO))?;
        if !events.is_empty() {
            return Ok(());
        }
        // Pauses leave the core's resources to its sibling, should the proxy run there.
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
        thread::yield_now();
    }
    doze(poll, events, limit.map(|limit| limit.saturating_sub(start.elapsed())))
}

/// The same in the usual way: it sleeps until there is something.
pub fn doze(poll: &mut Poll, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, limit) {
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_without_events_ends_with_its_limit() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(1);
        let start = Instant::now();
        wait(&mut poll, &mut events, Some(AWAKE * 2)).unwrap();
        assert!(events.is_empty() && start.elapsed() >= AWAKE * 2);
    }

    #[test]
    fn events_end_a_wait_that_has_no_limit() {
        let mut poll = Poll::new().unwrap();
        let (mut near, mut far) = mio::unix::pipe::new().unwrap();
        poll.registry().register(&mut far, mio::Token(1), mio::Interest::READABLE).unwrap();
        io::Write::write_all(&mut near, b"x").unwrap();
        let mut events = Events::with_capacity(1);
        wait(&mut poll, &mut events, None).unwrap();
        assert_eq!(events.iter().count(), 1);
    }
}
