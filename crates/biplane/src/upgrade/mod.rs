//! Upgrade of the binary: a new process gets the listening sockets and the configuration, and takes over once it is
//! ready. Until then, and if it never is, this one keeps serving.
//!
//! Sockets are passed as service managers do (`LISTEN_FDS`), behind one on which the new process says how it went.

mod command;
mod inheritance;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use engine::Address;
use nix::sys::memfd::{MFdFlags, memfd_create};

pub use command::run as ask;
pub use inheritance::Inheritance;

/// Tells a process that it takes over from another one, and where that one's configuration is.
const VARIABLE: &str = "BIPLANE_UPGRADE";
/// [`VARIABLE`]: the file is to be read.
const READ_THE_FILE: &str = "file";
/// [`VARIABLE`]: the configuration comes on standard input, because it came by the Admin API.
const READ_STANDARD_INPUT: &str = "input";
/// Tells that process what each socket is for and what address it was asked for by, as it was at the start: separated
/// by commas, a role, a space and the address.
const SOCKETS: &str = "BIPLANE_UPGRADE_SOCKETS";
/// What the new process says once it serves.
const READY: &str = "ready";
/// How long a new process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process that has nothing more to say may take to end.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(5);
/// The longest reason that is taken from a new process, in bytes.
const LONGEST_REASON: u64 = 4096;
/// The descriptor that passed sockets begin at.
const FIRST_DESCRIPTOR: i32 = 3;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Clients.
    Proxy,
    /// The Admin API and the status listener.
    Control,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Control => "control",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Proxy, Self::Control].into_iter().find(|role| role.name() == name)
    }
}

/// A socket to be given away.
pub struct Given {
    /// What it is for.
    pub role: Role,
    /// What it was asked for by.
    pub address: Address,
    /// The socket.
    pub socket: OwnedFd,
}

impl Given {
    /// Another descriptor of `socket`.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(role: Role, address: Address, socket: &impl AsFd) -> io::Result<Self> {
        Ok(Self { role, address, socket: socket.as_fd().try_clone_to_owned()? })
    }
}

/// How this process was started, to start another one like it.
pub struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Invocation {
    /// Of this process. To be asked for at its start: folders change, and links are switched.
    pub fn of_process() -> Self {
        let mut words = std::env::args_os();
        let program = PathBuf::from(words.next().unwrap_or_default());
        // A name alone is looked up anew each time, as the shell does.
        let has_folder = program.components().count() > 1;
        let program = if has_folder { std::path::absolute(&program).unwrap_or(program) } else { program };
        Self { program, arguments: words.collect() }
    }
}

/// The program's name.
impl fmt::Display for Invocation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.display().fmt(out)
    }
}

/// A new process that is starting.
pub struct Successor {
    child: Child,
    notice: UnixStream,
}

impl Successor {
    /// Starts the new process with `sockets`, and with `text` unless it is to read the file.
    ///
    /// # Errors
    /// Those of the operating system; nothing has been started then.
    pub fn start(invocation: &Invocation, sockets: Vec<Given>, text: Option<&str>) -> io::Result<Self> {
        let (notice, theirs) = UnixStream::pair()?;
        let names: Vec<String> =
            sockets.iter().map(|given| format!("{} {}", given.role.name(), given.address)).collect();
        let sockets = sockets.into_iter().map(|given| given.socket);
        let given: Vec<OwnedFd> = std::iter::once(OwnedFd::from(theirs)).chain(sockets).collect();
        let mut command = Command::new(&invocation.program);
        command
            .args(&invocation.arguments)
            .env(VARIABLE, if text.is_some() { READ_STANDARD_INPUT } else { READ_THE_FILE })
            .env(SOCKETS, names.join(","))
            .env("LISTEN_FDS", given.len().to_string())
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .stdin(text.map_or_else(|| Ok(Stdio::null()), |text| memory(text).map(Stdio::from))?);
        let mappings = (FIRST_DESCRIPTOR..).zip(given);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        let child = command.spawn()?;
        Ok(Self { child, notice })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What waits for its word, on another thread.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn listener(&self) -> io::Result<Listener> {
        self.notice.try_clone().map(Listener)
    }

    /// Ends it. Why it has not taken over.
    pub fn give_up(mut self, word: Word) -> String {
        if word != Word::Late {
            self.let_end();
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let ended = self.child.wait();
        match (word, ended) {
            (Word::Reason(reason), _) => reason,
            (Word::Late, _) => format!("the new process was not ready within {}s", PATIENCE.as_secs()),
            (_, Ok(status)) => format!("the new process ended before it was ready: {status}"),
            (_, Err(error)) => format!("the new process cannot be waited for: {error}"),
        }
    }

    /// Gives a process that has closed the line the time to end, so that it is known how it did.
    fn let_end(&mut self) {
        let deadline = Instant::now() + LAST_MOMENT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::park_timeout(GLANCE);
        }
    }
}

/// What a new process has said.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// It serves.
    Ready,
    /// Why it does not.
    Reason(String),
    /// Nothing, and it will not any more.
    Nothing,
    /// Nothing for too long.
    Late,
}

/// Hears what a new process has to say.
pub struct Listener(UnixStream);

impl Listener {
    /// Waits for its word.
    pub fn hear(self) -> Word {
        let mut word = String::new();
        // Where the limit cannot be set there is none, which harms nobody: this process serves meanwhile.
        let _ = self.0.set_read_timeout(Some(PATIENCE));
        match (self.0.take(LONGEST_REASON).read_to_string(&mut word), word.as_str()) {
            (_, READY) => Word::Ready,
            (Err(error), "") if error.kind() == io::ErrorKind::WouldBlock => Word::Late,
            (_, "") => Word::Nothing,
            _ => Word::Reason(word),
        }
    }
}

/// A file that only the new process can read.
fn memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("configuration", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}
