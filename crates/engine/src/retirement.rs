//! Letting go of snapshots that have been replaced, apart from those who serve: to free one with ten thousand routes
//! takes milliseconds, which a request would have to wait.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use model::courtesy::{courteously, free};

use crate::snapshot::Snapshot;

/// How often to look whether the last request of a snapshot has ended. Nothing waits for it but memory.
const GLANCE: Duration = Duration::from_millis(100);

/// Where snapshots go that have been replaced.
pub struct Retirement(Sender<Arc<Snapshot>>);

impl Retirement {
    /// Starts the thread that frees them. It ends with the returned value.
    ///
    /// # Errors
    /// When there cannot be another thread.
    pub fn start() -> io::Result<Self> {
        let (sender, replaced) = channel();
        thread::Builder::new().name("retirement".to_owned()).spawn(move || free_all(&replaced))?;
        Ok(Self(sender))
    }

    /// Frees `snapshot` as soon as nobody else has it.
    pub fn take(&self, snapshot: Arc<Snapshot>) {
        // The thread lives for as long as this does; were it gone, the snapshot would be freed right here.
        let _ = self.0.send(snapshot);
    }
}

fn free_all(replaced: &Receiver<Arc<Snapshot>>) {
    // Being among them, a snapshot is never freed by a worker that lets go of it.
    let mut waiting: Vec<Arc<Snapshot>> = Vec::new();
    loop {
        let next = if waiting.is_empty() {
            replaced.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            replaced.recv_timeout(GLANCE)
        };
        match next {
            Ok(snapshot) => waiting.push(snapshot),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let free = waiting.extract_if(.., |snapshot| Arc::strong_count(snapshot) == 1);
        courteously(|| free.filter_map(Arc::into_inner).for_each(dismantle));
    }
}

/// Frees what there may be thousands of piece by piece, and the rest as it is.
fn dismantle(snapshot: Snapshot) {
    let Snapshot { config, router, routes, instances, balancers, .. } = snapshot;
    free(routes);
    free(instances);
    router.free();
    drop(balancers);
    if let Some(config) = Arc::into_inner(config) {
        config.free();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::snapshot::Publisher;
    use crate::tests::lab::{eventually, snapshot};

    const NOTHING: &str = "_format_version: '3.0'";

    fn is_freed<T>(object: &Weak<T>) -> bool {
        eventually(|| object.strong_count() == 0)
    }

    #[test]
    fn whoever_still_serves_with_a_replaced_snapshot_is_not_the_one_to_free_it() {
        let publisher = Publisher::new(snapshot(NOTHING)).unwrap();
        let old = publisher.current();
        let config = Arc::downgrade(&old.config);
        publisher.publish(snapshot(NOTHING));
        assert_eq!(Arc::strong_count(&old), 2, "nobody else will free it");
        drop(old);
        assert!(is_freed(&config), "it is kept for ever");
    }

    #[test]
    fn a_snapshot_lives_on_for_those_who_serve_with_it() {
        let publisher = Publisher::new(snapshot(NOTHING)).unwrap();
        let (first, old) = (Arc::downgrade(&publisher.current()), publisher.current());
        publisher.publish(snapshot(NOTHING));
        let second = Arc::downgrade(&publisher.current());
        publisher.publish(snapshot(NOTHING));
        assert!(is_freed(&second), "one that waits keeps the next one from being freed");
        assert_eq!(first.strong_count(), 2);
        drop(old);
        assert!(is_freed(&first));
    }
}
