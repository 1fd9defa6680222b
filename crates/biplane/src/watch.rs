//! Notices changes of the declarative file, however they are made: in place, by renaming another file over it, or by
//! switching a symbolic link somewhere in its path as Kubernetes does.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use notify::{RecursiveMode, Watcher};

use crate::run::Event;

/// Editors write in several steps: a file that stays the same for so long has been written.
const QUIET: Duration = Duration::from_millis(200);
/// How often the file is looked at where notifications do not arrive, on network file systems for instance.
const POLL: Duration = Duration::from_secs(5);

/// Reports changes of `file` from now on to `events`, from a thread of its own.
///
/// # Errors
/// When the folder cannot be watched.
pub fn watch(file: PathBuf, events: Sender<Event>) -> notify::Result<()> {
    let mut known = stamp(&file);
    let (notices, changes) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |_| {
        // The receiver ends with the gateway.
        let _ = notices.send(());
    })?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
        let _watcher = watcher;
        loop {
            match changes.recv_timeout(POLL) {
                Ok(()) => pass_over(&changes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = settled(&file, &changes, &known);
            if now.is_some() && now != known {
                known = now;
                if events.send(Event::Reload).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(())
}

/// Lets a while pass, and the notices of that time with it. They may be about anything in the folder, a log for
/// instance, and need never cease.
fn pass_over(changes: &Receiver<()>) {
    let end = Instant::now() + QUIET;
    let left = || end.saturating_duration_since(Instant::now());
    while !left().is_zero() && changes.recv_timeout(left()).is_ok() {}
}

/// The file's stamp, once it stays the same if it is no longer the one `known`.
fn settled(file: &Path, changes: &Receiver<()>, known: &Option<Stamp>) -> Option<Stamp> {
    let mut now = stamp(file);
    while now != *known {
        pass_over(changes);
        let later = stamp(file);
        if later == now {
            break;
        }
        now = later;
    }
    now
}

/// What changes when the file does: its real path, size and time of modification.
type Stamp = (PathBuf, u64, SystemTime);

fn stamp(file: &Path) -> Option<Stamp> {
    let real = file.canonicalize().ok()?;
    let metadata = real.metadata().ok()?;
    Some((real, metadata.len(), metadata.modified().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_busy_neighbour_in_the_folder_hides_no_change() {
        let folder = std::env::temp_dir().join(format!("biplane-watch-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("kong.yml");
        fs::write(&file, "one").unwrap();
        let (sender, events) = mpsc::channel();
        watch(file.clone(), sender).unwrap();
        let over = AtomicBool::new(false);
        let noticed = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Nothing is ever sent here: waiting for it is the pace of the log.
                let (_silent, pace) = mpsc::channel::<()>();
                while !over.load(Ordering::Relaxed) {
                    fs::write(folder.join("access.log"), "a line").unwrap();
                    let _ = pace.recv_timeout(QUIET / 10);
                }
            });
            fs::write(&file, "the second").unwrap();
            let noticed = events.recv_timeout(QUIET * 40).is_ok();
            over.store(true, Ordering::Relaxed);
            noticed
        });
        fs::remove_dir_all(&folder).unwrap();
        assert!(noticed);
    }
}
