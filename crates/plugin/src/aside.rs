//! Work that takes a processor long, beside the traffic: some threads of their own and a bounded line before them.
//!
//! A worker serves all its connections on one thread, so whatever keeps it busy for milliseconds keeps all of them waiting.
//! Such work is done here, and the request waits for it as it waits for another server.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// Pieces of work that wait at most.
const MOST_WAITING: usize = 64;
/// Threads at most. There are half as many as cores, so that traffic goes on.
const MOST_THREADS: usize = 4;

type Work = Box<dyn FnOnce() + Send>;

/// The threads and the line before them. The threads begin with the first piece of work, and end when nobody holds this any
/// more. Rooms keep one over reloads, see [`Services::keep`](crate::Services::keep).
pub struct Aside {
    name: &'static str,
    line: OnceLock<SyncSender<Work>>,
}

/// As much work as may waits already, or there is no thread to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// What will come of a piece of work.
pub struct Pending<T>(oneshot::Receiver<T>);

impl<T> Pending<T> {
    /// What came of it; none if it panicked.
    pub async fn get(self) -> Option<T> {
        self.0.await.ok()
    }
}

impl Aside {
    /// For work of this name, which the threads have, too: 15 bytes at most.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, line: OnceLock::new() }
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads() -> usize {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (cores / 2).clamp(1, MOST_THREADS)
    }

    /// Has `work` done, unless whoever wants it is gone by the time its turn comes.
    ///
    /// # Errors
    /// Too much waits already.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>, Busy> {
        let (tell, told) = oneshot::channel();
        self.send(move || {
            if !tell.is_closed() {
                let _nobody_waits = tell.send(work());
            }
        })?;
        Ok(Pending(told))
    }

    /// Has `work` done, which tells by itself what came of it.
    ///
    /// # Errors
    /// Too much waits already.
    pub fn send(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        self.line.get_or_init(|| self.start()).try_send(Box::new(work)).map_err(|_| Busy)
    }

    fn start(&self) -> SyncSender<Work> {
        let (line, works) = sync_channel(MOST_WAITING);
        let works = Arc::new(Mutex::new(works));
        for _ in 0..Self::threads() {
            let works = works.clone();
            let thread = thread::Builder::new().name(self.name.to_owned());
            if let Err(error) = thread.spawn(move || work_off(&works)) {
                tracing::error!(%error, name = self.name, "work is left undone, for want of a thread");
            }
        }
        line
    }
}

fn work_off(works: &Mutex<Receiver<Work>>) {
    loop {
        let next = works.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        // A panic costs the request that waits for this, and nobody else.
        let _lost = catch_unwind(AssertUnwindSafe(work));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn outcome<T>(pending: Pending<T>) -> Option<T> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(pending.get())
    }

    #[test]
    fn work_is_done_on_other_threads_and_a_panic_costs_nobody_else() {
        let aside = Aside::new("test");
        let lost = aside.run(|| panic!("a bad day")).unwrap();
        let name = aside.run(|| thread::current().name().map(str::to_owned)).unwrap();
        assert_eq!(outcome::<()>(lost), None);
        assert_eq!(outcome(name), Some(Some("test".to_owned())));
    }

    #[test]
    fn the_line_is_bounded_and_who_leaves_it_costs_nothing() {
        let aside = Aside::new("test");
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let threads = (thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, MOST_THREADS);
        let (begun, beginnings) = mpsc::channel();
        let blocked: Vec<_> = (0..threads)
            .map(|_| {
                let (held, begun) = (held.clone(), begun.clone());
                aside.run(move || {
                    begun.send(()).unwrap();
                    held.lock().unwrap().recv().unwrap();
                })
            })
            .collect();
        for _ in 0..threads {
            beginnings.recv().unwrap();
        }
        let (done, deeds) = mpsc::channel();
        let deed = |number: usize| {
            let done = done.clone();
            aside.run(move || done.send(number).unwrap())
        };
        let mut waiting: Vec<_> = (0..MOST_WAITING).map(|number| deed(number).unwrap()).collect();
        assert!(deed(MOST_WAITING).is_err(), "one more than may wait");
        drop(waiting.remove(0));
        for _ in &blocked {
            release.send(()).unwrap();
        }
        for pending in waiting {
            assert_eq!(outcome(pending), Some(()));
        }
        drop(done);
        let mut deeds: Vec<usize> = deeds.try_iter().collect();
        deeds.sort_unstable();
        assert_eq!(deeds, (1..MOST_WAITING).collect::<Vec<_>>());
    }
}
