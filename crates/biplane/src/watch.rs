//! Notices changes of the declarative file and of other files and folders, however they are made: in place, by renaming another file over it, or by
//! switching a symbolic link somewhere in its path as Kubernetes does.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::run::Event;

/// Editors write in several steps: a file that stays the same for so long has been written.
const QUIET: Duration = Duration::from_millis(200);
/// How often the file is looked at where notifications do not arrive: on network file systems for instance, or when
/// a writer keeps the file open.
const POLL: Duration = Duration::from_secs(5);

/// Reports changes of `file`, or of what is directly in it if it is a folder, from now on to `events`, from a thread of its
/// own.
///
/// # Errors
/// When the folder cannot be watched.
pub fn watch(file: PathBuf, events: Sender<Event>) -> io::Result<()> {
    let mut known = stamp(&file);
    let folder = match file.parent() {
        _ if file.is_dir() => &file,
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let notices = Notices::of(folder)?;
    std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
        loop {
            if notices.wait(POLL) {
                pass_over(&notices);
            }
            let now = settled(&file, &notices, &known);
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

/// Tells that something in a folder has been written to the end, moved, made or removed. Writing alone is not told: a
/// log in the same folder is written without pause.
struct Notices(Inotify);

impl Notices {
    fn of(folder: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let told = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB;
        inotify.add_watch(folder, told)?;
        Ok(Self(inotify))
    }

    /// Whether something was told before `limit` was over.
    fn wait(&self, limit: Duration) -> bool {
        let mut descriptors = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let told = poll(&mut descriptors, limit).is_ok_and(|count| count > 0);
        // What exactly was told does not matter: the file itself is looked at.
        told && self.0.read_events().is_ok()
    }
}

/// Lets a while pass, and the notices of that time with it. They may be about anything in the folder and need never
/// cease.
fn pass_over(notices: &Notices) {
    let end = Instant::now() + QUIET;
    let left = || end.saturating_duration_since(Instant::now());
    while !left().is_zero() {
        notices.wait(left());
    }
}

/// The file's stamp, once it stays the same if it is no longer the one `known`.
fn settled(file: &Path, notices: &Notices, known: &Option<Stamp>) -> Option<Stamp> {
    let mut now = stamp(file);
    while now != *known {
        pass_over(notices);
        let later = stamp(file);
        if later == now {
            break;
        }
        now = later;
    }
    now
}

/// What changes when the file does: its real path, size and time of modification. Those of a folder's files count with it.
type Stamp = Vec<(PathBuf, u64, SystemTime)>;

fn stamp(file: &Path) -> Option<Stamp> {
    let of = |file: &Path| {
        let real = file.canonicalize().ok()?;
        let metadata = real.metadata().ok()?;
        Some((real, metadata.len(), metadata.modified().ok()?))
    };
    let mut stamp = vec![of(file)?];
    if file.is_dir() {
        let entries = file.read_dir().ok()?.filter_map(Result::ok);
        stamp.extend(entries.filter_map(|entry| of(&entry.path())));
        stamp.sort();
    }
    Some(stamp)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

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

    #[test]
    fn a_log_that_is_written_beside_the_file_wakes_nobody() {
        let folder = std::env::temp_dir().join(format!("biplane-notices-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut log = fs::File::create(folder.join("access.log")).unwrap();
        let notices = Notices::of(&folder).unwrap();
        io::Write::write_all(&mut log, b"a line").unwrap();
        let woken = notices.wait(QUIET / 10);
        drop(log);
        let told = notices.wait(QUIET * 40);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((woken, told), (false, true));
    }
}
