//! Child processes: pinned to a core, in a group of their own, and ended with their owner whatever happens.
//! It never signals a process that it did not start.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// The core of the proxy under test.
pub const PROXY_CORE: usize = 0;
/// The core of everything else.
pub const LOAD_CORE: usize = 1;
/// Files that each process may open: enough for 10,000 idle connections through a proxy that sets some aside.
const FILES: u64 = 65_536;
/// What a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// A child process and its descendants; dropping it ends them.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts a command on one core.
    pub fn start(command: &mut Command, core: usize) -> io::Result<Self> {
        Ok(Self { child: pinned(core, || command.process_group(0).spawn())? })
    }

    /// The process id of the child itself.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the child has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The child's piped standard output, once.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Asks the child to read its configuration again.
    pub fn hang_up(&self) -> io::Result<()> {
        Ok(kill(self.pid(), Signal::SIGHUP)?)
    }

    /// Lets the child end in its own way: a binary that counts what it runs writes its profile then.
    fn ask_to_end(&mut self) {
        let patience = Instant::now() + PATIENCE;
        if kill(self.pid(), Signal::SIGTERM).is_ok() {
            while !self.has_ended() && Instant::now() < patience {
                thread::park_timeout(Duration::from_millis(5));
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ask_to_end();
        // The group takes the workers along, which a killed master would leave behind. Both calls fail only
        // when nothing is left to end.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
        // Its workers have become children of this process.
        while waitpid(Pid::from_raw(-self.pid().as_raw()), None).is_ok() {}
    }
}

/// Runs `start` with this thread on `core`, so that what it starts stays there, and returns to the load's core.
pub fn pinned<T>(core: usize, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    set_core(core)?;
    let started = start();
    set_core(LOAD_CORE)?;
    started
}

/// Puts this process on the load's core, lets it and its children open many files, and makes it the
/// one that inherits, and thus buries, the workers of a killed proxy.
pub fn prepare() -> io::Result<()> {
    set_child_subreaper(true)?;
    // More than the limit takes a privilege.
    if setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES).is_err() {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    }
    set_core(LOAD_CORE).map_err(|error| io::Error::other(format!("the bench needs two cores: {error}")))
}

fn set_core(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}
