//! The file that says which process serves. Its first line is the process id; a second one, if there is any, says how
//! the last upgrade failed.

use std::fs;
use std::io;
use std::path::PathBuf;

/// The file of the process id.
pub struct PidFile {
    path: PathBuf,
}

/// What stands in it.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    /// The process that serves.
    pub id: u32,
    /// Number and reason of the last upgrade of this process that failed.
    pub failure: Option<(u32, String)>,
}

/// What the second line begins with.
const FAILURE: &str = "upgrade failed, attempt ";

impl PidFile {
    /// The file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn write(&self, state: &State) -> io::Result<()> {
        let mut text = format!("{}\n", state.id);
        if let Some((attempt, reason)) = &state.failure {
            text.push_str(&format!("{FAILURE}{attempt}: {}\n", reason.replace('\n', " ")));
        }
        // Beside it and then over it: whoever reads sees the old state or the new one.
        let beside = self.path.with_extension(format!("pid.{}", state.id));
        fs::write(&beside, text)?;
        fs::rename(&beside, &self.path)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Why it cannot be read, or that it holds something else.
    pub fn read(&self) -> Result<State, String> {
        let name = self.path.display();
        let text = fs::read_to_string(&self.path).map_err(|error| format!("{name}: {error}"))?;
        let mut lines = text.lines();
        // Zero would stand for all processes of the group of whoever sends a signal.
        let id = lines.next().and_then(|line| line.trim().parse().ok()).filter(|id| *id > 0);
        let id = id.ok_or_else(|| format!("{name}: not the file of a process id"))?;
        let failure = lines.next().and_then(|line| line.strip_prefix(FAILURE)?.split_once(": "));
        let failure = failure.and_then(|(attempt, why)| Some((attempt.parse().ok()?, why.to_owned())));
        Ok(State { id, failure })
    }

    /// Removes it, unless another process has taken over.
    pub fn remove(&self) {
        if self.read().is_ok_and(|state| state.id == std::process::id()) {
            // It may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PidFile {
        PidFile::new(std::env::temp_dir().join(format!("biplane-{}-{name}.pid", std::process::id())))
    }

    #[test]
    fn what_was_written_is_read_and_only_the_process_that_serves_removes_it() {
        let file = file("own");
        let failure = Some((2, "the new process ended: exit status: 3".to_owned()));
        for state in [State { id: 1, failure: None }, State { id: 1, failure }] {
            file.write(&state).unwrap();
            assert_eq!(file.read(), Ok(state));
            file.remove();
        }
        assert!(file.path.exists(), "it is another's");
        file.write(&State { id: std::process::id(), failure: None }).unwrap();
        file.remove();
        assert!(!file.path.exists());
    }

    #[test]
    fn another_file_is_not_mistaken_for_it() {
        let file = file("other");
        for text in ["services: []\n", "0\n", "-1\n", ""] {
            fs::write(&file.path, text).unwrap();
            assert!(file.read().unwrap_err().contains("not the file of a process id"), "{text:?}");
        }
        fs::remove_file(&file.path).unwrap();
    }
}
