//! The file that log lines are written to, on the journal's writer thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugin::journal::Sink;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A file opened for appending, opened again after failures.
pub struct FileSink {
    path: PathBuf,
    reopen: bool,
    file: Option<File>,
    /// The last write ended within a line.
    torn: bool,
    trouble: Option<Trouble>,
}

/// The file cannot be opened or written.
struct Trouble {
    retry_at: Instant,
    pause: Duration,
}

impl FileSink {
    /// A sink for the file at `path`, which is opened at once so that a wrong path is known at start. With `reopen`
    /// the file is opened again for each batch of lines.
    pub fn open(path: &str, reopen: bool) -> Self {
        let path = PathBuf::from(path);
        let mut sink = Self { path, reopen, file: None, torn: false, trouble: None };
        sink.ensure_open(Instant::now());
        sink
    }

    fn ensure_open(&mut self, now: Instant) {
        if self.trouble.as_ref().is_some_and(|trouble| now < trouble.retry_at) {
            return;
        }
        if self.reopen {
            self.file = None;
        }
        if self.file.is_none() {
            match open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) => self.fail("file-log cannot open its file and will keep trying", &error, now),
            }
        }
    }

    /// Says what is wrong, once until it is over, and puts the next try off.
    fn fail(&mut self, what: &'static str, error: &io::Error, now: Instant) {
        self.file = None;
        let pause = match &self.trouble {
            Some(trouble) => (trouble.pause * 2).min(LONGEST_PAUSE),
            None => {
                tracing::error!(path = %self.path.display(), %error, "{what}");
                FIRST_PAUSE
            }
        };
        self.trouble = Some(Trouble { retry_at: now + pause, pause });
    }

    fn write_at(&mut self, batch: &[u8], now: Instant) -> u64 {
        self.ensure_open(now);
        let Some(file) = &mut self.file else { return lines(batch) };
        let mend: &[u8] = if self.torn { b"\n" } else { b"" };
        let (written, outcome) = match append(file, mend) {
            (_, Ok(())) => append(file, batch),
            (_, failed) => (0, failed),
        };
        let Err(error) = outcome else {
            self.torn = false;
            if self.trouble.take().is_some() {
                tracing::info!(path = %self.path.display(), "file-log can write its file again");
            }
            return 0;
        };
        if written > 0 {
            self.torn = batch[written - 1] != b'\n';
        }
        self.fail("file-log cannot write its file and will keep trying", &error, now);
        lines(batch) - lines(&batch[..written])
    }
}

impl Sink for FileSink {
    fn write(&mut self, batch: &[u8]) -> u64 {
        self.write_at(batch, Instant::now())
    }
}

/// Opens a file for appending and makes it, and its folder, where they are missing.
fn open(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).create(true).mode(0o644).open(path);
    // A pipe without a reader would hold up whoever opens it; tried this way, it is an error.
    let _reader_is_there = match fs::metadata(path) {
        Ok(kind) if kind.file_type().is_fifo() => {
            Some(OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(path)?)
        }
        _ => None,
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            open()
        }
        outcome => outcome,
    }
}

/// Writes all of `bytes`, or says how many were written before it failed.
fn append(file: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn lines(batch: &[u8]) -> u64 {
    batch.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_log::tests::Folder;

    #[test]
    fn missing_folders_are_made_and_the_file_is_appended_to() {
        let folder = Folder::new();
        let path = folder.path("a/b/access.log");
        for line in ["one\n", "two\n"] {
            assert_eq!(FileSink::open(&path, false).write(line.as_bytes()), 0);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn lines_are_lost_and_counted_while_the_file_cannot_be_opened() {
        let folder = Folder::new();
        fs::write(folder.path("file"), "").unwrap();
        let path = folder.path("file/access.log");
        let mut sink = FileSink::open(&path, false);
        let start = Instant::now();
        assert_eq!(sink.write_at(b"one\ntwo\n", start), 2);
        fs::remove_file(folder.path("file")).unwrap();
        assert_eq!(sink.write_at(b"three\n", start), 1, "the next try comes after a pause");
        assert_eq!(sink.write_at(b"four\n", start + LONGEST_PAUSE), 0);
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let folder = Folder::new();
        fs::write(folder.path("file"), "").unwrap();
        let mut sink = FileSink::open(&folder.path("file/x"), false);
        let mut now = Instant::now();
        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                now += LONGEST_PAUSE * 2;
                sink.ensure_open(now);
                sink.trouble.as_ref().unwrap().pause.as_secs()
            })
            .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn only_reopen_follows_a_file_that_was_moved_away() {
        let folder = Folder::new();
        for (reopen, expected) in [(false, "one\ntwo\n"), (true, "one\n")] {
            let path = folder.path(if reopen { "reopened" } else { "kept" });
            let mut sink = FileSink::open(&path, reopen);
            sink.write(b"one\n");
            let moved = format!("{path}.1");
            fs::rename(&path, &moved).unwrap();
            sink.write(b"two\n");
            assert_eq!(fs::read_to_string(&moved).unwrap(), expected);
            assert_eq!(fs::exists(&path).unwrap(), reopen);
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_an_error_and_not_a_wait() {
        let folder = Folder::new();
        let path = folder.path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let mut sink = FileSink::open(&path, false);
        assert_eq!(sink.write(b"one\n"), 1);
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert_eq!(sink.write_at(b"two\n", Instant::now() + LONGEST_PAUSE), 0);
        let mut line = [0; 4];
        io::Read::read_exact(&mut &reader, &mut line).unwrap();
        assert_eq!(&line, b"two\n");
    }

    #[test]
    fn a_full_disk_loses_only_what_did_not_fit() {
        struct Short(Vec<u8>, usize);
        impl Write for Short {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let room = (self.1 - self.0.len()).min(bytes.len());
                self.0.extend_from_slice(&bytes[..room]);
                if room == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room) }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (written, outcome) = append(&mut Short(Vec::new(), 6), b"one\ntwo\n");
        assert_eq!((written, outcome.unwrap_err().kind()), (6, io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next_one() {
        let folder = Folder::new();
        let path = folder.path("log");
        fs::write(&path, "one\ntw").unwrap();
        let mut sink = FileSink::open(&path, false);
        sink.torn = true;
        assert_eq!(sink.write(b"three\n"), 0);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
    }
}
