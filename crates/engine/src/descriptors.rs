//! What a worker does before the process has no file left to open. The system gives each file the lowest number that is free
//! (POSIX), so a number says how many are open at least: nobody has to count.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The errors EMFILE and ENFILE of Linux.
const NONE_FOR_PROCESS: i32 = 24;
const NONE_FOR_SYSTEM: i32 = 23;

/// What the workers of a process know of its files in common.
pub struct Files {
    /// The first one that is for others: the Admin API, the status listener, logs, name servers.
    most: AtomicI32,
    /// How often a worker got none, or one of the last, and had no idle connection to a service to close.
    shortages: AtomicU64,
}

impl Files {
    /// Connections may have numbers below `most`.
    pub fn new(most: RawFd) -> Arc<Self> {
        Arc::new(Self { most: AtomicI32::new(most), shortages: AtomicU64::new(0) })
    }

    /// From now on they may have those below `most`.
    pub fn allow(&self, most: RawFd) {
        self.most.store(most, Ordering::Relaxed);
    }
}

/// Numbers of files, as far as the connections of a worker may have them.
pub struct Descriptors {
    files: Arc<Files>,
    /// Those below are taken for good, by listeners say.
    first: RawFd,
    short: Cell<bool>,
    /// Shortages that have been answered here, of any worker.
    answered: Cell<u64>,
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::of(Files::new(RawFd::MAX))
    }
}

impl Descriptors {
    /// Those of a worker that begins now.
    pub fn of(files: Arc<Files>) -> Self {
        Self::from(probe().map_or(0, |free| free.as_raw_fd()), files)
    }

    fn from(first: RawFd, files: Arc<Files>) -> Self {
        Self { files, first, short: Cell::new(false), answered: Cell::new(0) }
    }

    fn most(&self) -> RawFd {
        self.files.most.load(Ordering::Relaxed)
    }

    /// The first one that is not for datagrams: their sessions leave a quarter to others.
    fn most_for_datagrams(&self) -> RawFd {
        let most = self.most();
        most - (most - self.first).max(0) / 4
    }

    /// Has other workers close idle connections to services, at their next look.
    pub fn ask_others(&self) {
        let before = self.files.shortages.fetch_add(1, Ordering::Relaxed);
        if self.answered.get() == before {
            self.answered.set(before + 1);
        }
    }

    /// Whether another worker has asked for that since the last look.
    pub fn are_asked_for(&self) -> bool {
        let shortages = self.files.shortages.load(Ordering::Relaxed);
        self.answered.replace(shortages) != shortages
    }

    /// Whether a connection may keep this number.
    fn holds(&self, number: RawFd) -> bool {
        number < self.most()
    }

    /// How many connections there are too many if one gets this number.
    pub fn excess(&self, number: RawFd) -> usize {
        usize::try_from(i64::from(number) - i64::from(self.most()) + 1).unwrap_or(0)
    }

    /// Takes note of what came of a wish to connect to a service. It keeps its connection, and the next request waits for
    /// better times.
    pub fn note<T: AsRawFd>(&self, opened: io::Result<T>) -> io::Result<T> {
        if self.shows_shortage(&opened) {
            self.short.set(true);
        }
        opened
    }

    fn shows_shortage<T: AsRawFd>(&self, opened: &io::Result<T>) -> bool {
        match opened {
            Ok(socket) => !self.holds(socket.as_raw_fd()),
            Err(error) => is_shortage(error),
        }
    }

    /// The socket of a session of datagrams, unless it has one of the last files. Their senders may be forged: they take
    /// nothing from others, and turn nobody away.
    ///
    /// # Errors
    /// That there is no file left for it, as the system says it.
    pub fn spare<T: AsRawFd>(&self, opened: io::Result<T>) -> io::Result<T> {
        let socket = opened?;
        if socket.as_raw_fd() < self.most_for_datagrams() {
            Ok(socket)
        } else {
            Err(io::Error::from_raw_os_error(NONE_FOR_PROCESS))
        }
    }

    /// Whether a connection to a service got none, or one of the last.
    #[inline]
    pub fn are_short(&self) -> bool {
        self.short.get()
    }

    /// Looks whether they still are. Called about every second.
    pub fn look(&self) {
        if self.are_short() {
            self.short.set(self.shows_shortage(&probe()));
        }
    }
}

/// The lowest number that is free, by something that needs no folder: the process may have been locked into one.
fn probe() -> io::Result<UnixDatagram> {
    UnixDatagram::unbound()
}

/// Whether the process has as many files open as it may. The system may have room for others then, and has none for
/// anybody otherwise.
pub fn is_shortage_of_process(error: &io::Error) -> bool {
    error.raw_os_error() == Some(NONE_FOR_PROCESS)
}

/// Whether there was no file left, for the process or for the system.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(NONE_FOR_PROCESS | NONE_FOR_SYSTEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_last_files_is_a_shortage_until_one_of_the_first_is_free_again() {
        let free = Descriptors::of(Files::new(1 << 20));
        assert!(free.note(probe()).is_ok() && !free.are_short());
        let short = Descriptors::of(Files::new(0));
        assert!(short.note(probe()).is_ok() && short.are_short(), "whoever has it keeps it");
        short.look();
        assert!(short.are_short());
    }

    #[test]
    fn only_a_lack_of_files_is_a_shortage() {
        // Connections are refused, and there are systems without a file that others have.
        for (error, is_shortage) in [(23, true), (24, true), (111, false), (2, false), (13, false)] {
            let files = Descriptors::default();
            assert!(files.note::<UnixDatagram>(Err(io::Error::from_raw_os_error(error))).is_err());
            assert_eq!(files.are_short(), is_shortage, "{error}");
            files.look();
            assert!(!files.are_short());
        }
    }

    #[test]
    fn sessions_of_datagrams_leave_a_quarter_to_others_and_turn_nobody_away() {
        let files = Descriptors::from(900, Files::new(1000));
        for (number, is_kept) in [(900, true), (974, true), (975, false), (999, false), (1000, false)] {
            let spared = files.spare(Ok(number));
            assert_eq!(spared.is_ok(), is_kept, "{number}");
            assert!(spared.err().is_none_or(|error| is_shortage_of_process(&error)));
            assert!(!files.are_short());
        }
        assert!(files.note(Ok(999)).is_ok() && !files.are_short(), "a connection may have it");
    }

    #[test]
    fn a_connection_may_have_what_listeners_leave_of_late() {
        let all = Files::new(100);
        let files = Descriptors::from(40, all.clone());
        assert_eq!((files.excess(99), files.excess(100), files.spare(Ok(85)).is_ok()), (0, 1, false));
        all.allow(120);
        assert_eq!((files.excess(119), files.excess(120), files.spare(Ok(85)).is_ok()), (0, 1, true));
        assert!(files.note(Ok(119)).is_ok() && !files.are_short());
    }
}
