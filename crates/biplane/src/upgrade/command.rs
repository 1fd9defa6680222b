//! `biplane upgrade`: asks a running gateway to replace itself by the binary that now stands in its place, and waits
//! for the outcome.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;
use crate::COULD_NOT_START;
use crate::cli::Upgrade;
use crate::pid_file::{PidFile, State};
use crate::run::say;

/// How often the file is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// How much longer than the gateway itself its outcome is waited for.
const MARGIN: Duration = Duration::from_secs(5);

/// Asks and waits.
pub fn run(arguments: &Upgrade) -> ExitCode {
    let Some(path) = &arguments.pid.path() else {
        say("error: where is the gateway? Name its file with --pid-file, or its folder with KONG_PREFIX");
        return ExitCode::from(2);
    };
    match upgrade(path) {
        Ok((before, now)) => {
            say(&format!("upgraded: process {now} serves, process {before} finishes what it had begun"));
            ExitCode::SUCCESS
        }
        Err(problem) => {
            say(&format!("error: not upgraded: {problem}"));
            ExitCode::from(COULD_NOT_START)
        }
    }
}

fn upgrade(path: &Path) -> Result<(u32, u32), String> {
    let file = PidFile::new(path.to_owned());
    let before = file.read()?;
    let id = i32::try_from(before.id).map_err(|_| format!("{}: no process id", path.display()))?;
    kill(Pid::from_raw(id), Signal::SIGUSR2).map_err(|error| format!("process {id}: {error}"))?;
    let deadline = Instant::now() + PATIENCE + MARGIN;
    while Instant::now() < deadline {
        match outcome(&before, &file.read()?) {
            Some(outcome) => return outcome,
            None => std::thread::park_timeout(GLANCE),
        }
    }
    Err(format!("process {} has not said how it went", before.id))
}

/// What became of it, once it is known.
fn outcome(before: &State, now: &State) -> Option<Result<(u32, u32), String>> {
    if now.id != before.id {
        return Some(Ok((before.id, now.id)));
    }
    let (attempt, reason) = now.failure.as_ref()?;
    let known = before.failure.as_ref().map_or(0, |(attempt, _)| *attempt);
    (*attempt > known).then(|| Err(reason.clone()))
}
