//! What a worker does before the process has no file left to open. The system gives each file the lowest number that is free
//! (POSIX), so a number says how many are open at least: nobody has to count.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// The errors EMFILE and ENFILE of Linux.
const NONE_FOR_PROCESS: i32 = 24;
const NONE_FOR_SYSTEM: i32 = 23;
/// What the system always has to open.
const NOTHING: &str = "/dev/null";

/// Numbers of files, as far as connections may have them.
pub struct Descriptors {
    /// The first one that is for others: the Admin API, the status listener, logs, name servers.
    most: RawFd,
    short: Cell<bool>,
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::below(RawFd::MAX)
    }
}

impl Descriptors {
    /// Connections may have numbers below `most`.
    pub fn below(most: RawFd) -> Self {
        Self { most, short: Cell::new(false) }
    }

    /// Whether a connection may keep this number.
    fn holds(&self, number: RawFd) -> bool {
        number < self.most
    }

    /// How many connections there are too many if one gets this number.
    pub fn excess(&self, number: RawFd) -> usize {
        usize::try_from(i64::from(number) - i64::from(self.most) + 1).unwrap_or(0)
    }

    /// Takes note of what came of a wish to connect to a service. It keeps its connection, and the next request waits for
    /// better times.
    pub fn note<T: AsRawFd>(&self, opened: io::Result<T>) -> io::Result<T> {
        let is_short = match &opened {
            Ok(socket) => !self.holds(socket.as_raw_fd()),
            Err(error) => is_shortage(error),
        };
        if is_short {
            self.short.set(true);
        }
        opened
    }

    /// Whether a connection to a service got none, or one of the last.
    #[inline]
    pub fn are_short(&self) -> bool {
        self.short.get()
    }

    /// Looks whether they still are. Called about every second.
    pub fn look(&self) {
        if self.are_short() {
            self.short.set(File::open(NOTHING).map_or(true, |file| !self.holds(file.as_raw_fd())));
        }
    }
}

/// Whether there was no file left, for the process or for the system.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(NONE_FOR_PROCESS | NONE_FOR_SYSTEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> io::Result<File> {
        File::open(NOTHING)
    }

    #[test]
    fn one_of_the_last_files_is_a_shortage_until_one_of_the_first_is_free_again() {
        let free = Descriptors::below(1 << 20);
        assert!(free.note(opened()).is_ok() && !free.are_short());
        let short = Descriptors::below(0);
        assert!(short.note(opened()).is_ok() && short.are_short(), "whoever has it keeps it");
        short.look();
        assert!(short.are_short());
    }

    #[test]
    fn only_a_lack_of_files_is_a_shortage() {
        for (error, is_shortage) in [(23, true), (24, true), (111, false)] {
            let files = Descriptors::default();
            assert!(files.note::<File>(Err(io::Error::from_raw_os_error(error))).is_err());
            assert_eq!(files.are_short(), is_shortage, "{error}");
            files.look();
            assert!(!files.are_short());
        }
    }
}
