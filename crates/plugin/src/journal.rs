//! Log lines on their way out: appended by workers without waiting, written by a thread.
//!
//! Each worker appends to its own buffer, so the lock it takes is contended only in the moment the writer swaps
//! the buffer for an empty one. A full buffer drops the line and counts it; a request never waits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Most bytes a worker may have waiting.
const CAPACITY: usize = 4 << 20;
/// The writer is woken early when a worker has this much waiting.
const WAKE_AT: usize = 256 << 10;
/// How long a line waits at most before it is written.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long a closing journal waits for its sink: one that is stuck, such as a pipe whose reader has stopped, must
/// not hold up a stop or a reload.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks whether the sink is done.
const GLANCE: Duration = Duration::from_millis(5);

/// Where a journal's lines end up. Called from the writer thread only, so it may block.
pub trait Sink: Send + 'static {
    /// Writes a batch of whole lines. Returns how many lines were lost, for the count of dropped lines.
    fn write(&mut self, batch: &[u8]) -> u64;
}

#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Vec<u8>>);

struct Inner {
    shards: Box<[Shard]>,
    dropped: AtomicU64,
    closing: AtomicBool,
}

/// A bounded way to a [`Sink`].
pub struct Journal {
    inner: Arc<Inner>,
    writer: Mutex<Option<JoinHandle<()>>>,
    wake: thread::Thread,
}

impl Journal {
    /// Starts the writer thread.
    pub fn start(workers: usize, sink: impl Sink) -> Self {
        let shards = (0..workers.max(1)).map(|_| Shard::default()).collect();
        let inner = Arc::new(Inner { shards, dropped: AtomicU64::new(0), closing: AtomicBool::new(false) });
        let theirs = inner.clone();
        let writer = thread::spawn(move || write_until_closed(&theirs, sink));
        let wake = writer.thread().clone();
        Self { inner, writer: Mutex::new(Some(writer)), wake }
    }

    /// Appends what `line` writes, one or more whole lines, unless `worker` has too much waiting.
    pub fn append(&self, worker: usize, line: impl FnOnce(&mut Vec<u8>)) {
        let shard = &self.inner.shards[worker % self.inner.shards.len()];
        let mut waiting = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= CAPACITY {
            self.inner.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = waiting.len();
        line(&mut waiting);
        let is_time = before < WAKE_AT && waiting.len() >= WAKE_AT;
        // The writer takes the lock first of all.
        drop(waiting);
        if is_time {
            self.wake.unpark();
        }
    }

    /// Lines lost so far: dropped here or reported lost by the sink.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed)
    }

    /// Writes what is waiting and ends the writer thread. Lines appended afterwards are lost, and so are those that
    /// a stuck sink does not take within some seconds.
    pub fn close(&self) {
        self.close_within(PATIENCE);
    }

    fn close_within(&self, patience: Duration) {
        self.inner.closing.store(true, Ordering::Release);
        self.wake.unpark();
        let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let deadline = Instant::now() + patience;
        while !writer.is_finished() {
            if Instant::now() >= deadline {
                return;
            }
            thread::park_timeout(GLANCE);
        }
        // A sink that panicked has already been reported by the panic hook.
        let _ = writer.join();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

fn write_until_closed(inner: &Inner, mut sink: impl Sink) {
    let mut batch = Vec::new();
    loop {
        let closing = inner.closing.load(Ordering::Acquire);
        for shard in &inner.shards {
            std::mem::swap(&mut *shard.0.lock().unwrap_or_else(PoisonError::into_inner), &mut batch);
            if !batch.is_empty() {
                inner.dropped.fetch_add(sink.write(&batch), Ordering::Relaxed);
                batch.clear();
            }
        }
        if closing {
            return;
        }
        thread::park_timeout(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Collect(Arc<Mutex<Vec<u8>>>);

    impl Sink for Collect {
        fn write(&mut self, batch: &[u8]) -> u64 {
            self.0.lock().unwrap().extend_from_slice(batch);
            0
        }
    }

    #[test]
    fn close_writes_every_line_that_was_appended() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let journal = Journal::start(2, Collect(written.clone()));
        journal.append(0, |out| out.extend_from_slice(b"first\n"));
        journal.append(1, |out| out.extend_from_slice(b"second\n"));
        journal.close();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["first", "second"]);
    }

    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Sink for Stuck {
        fn write(&mut self, _: &[u8]) -> u64 {
            let _ = self.0.recv();
            0
        }
    }

    #[test]
    fn a_stuck_sink_does_not_hold_up_the_end() {
        let (release, held) = std::sync::mpsc::channel();
        let (closed, hears) = std::sync::mpsc::channel();
        let journal = Journal::start(1, Stuck(held));
        journal.append(0, |out| out.extend_from_slice(b"line\n"));
        thread::spawn(move || {
            journal.close_within(GLANCE);
            closed.send(())
        });
        assert!(hears.recv_timeout(PATIENCE).is_ok());
        drop(release);
    }

    #[test]
    fn a_full_buffer_drops_and_counts() {
        let (release, held) = std::sync::mpsc::channel();
        let journal = Journal::start(1, Stuck(held));
        let block = vec![b'x'; CAPACITY];
        for _ in 0..3 {
            journal.append(0, |out| out.extend_from_slice(&block));
        }
        assert!(journal.dropped() >= 1, "three full buffers cannot all wait");
        drop(release);
    }
}
