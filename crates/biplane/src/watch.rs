//! Notices changes of the declarative file, however they are made: in place, by renaming another file over it, or by
//! switching a symbolic link somewhere in its path as Kubernetes does.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime};

use notify::{RecursiveMode, Watcher};

use crate::run::Event;

/// Editors write in several steps: this much quiet ends a change.
const QUIET: Duration = Duration::from_millis(200);
/// How often the file is looked at where notifications do not arrive, on network file systems for instance.
const POLL: Duration = Duration::from_secs(5);

/// Reports changes of `file` to `events` from a thread of its own.
///
/// # Errors
/// When the folder cannot be watched.
pub fn watch(file: PathBuf, events: Sender<Event>) -> notify::Result<()> {
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
        let mut known = stamp(&file);
        loop {
            match changes.recv_timeout(POLL) {
                Ok(()) => while changes.recv_timeout(QUIET).is_ok() {},
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = stamp(&file);
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

/// What changes when the file does: its real path, size and time of modification.
fn stamp(file: &Path) -> Option<(PathBuf, u64, SystemTime)> {
    let real = file.canonicalize().ok()?;
    let metadata = real.metadata().ok()?;
    Some((real, metadata.len(), metadata.modified().ok()?))
}
