//! The place a bench runs in: a temporary folder, the backend process, free ports. Dropping it removes all of it.

use std::cell::OnceCell;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::frame;
use crate::process::{LOAD_CORE, Running};

/// Bytes written before anything is measured.
const TOUCHED_MIB: usize = 2048;

/// Where the backend's documents lie in the site's folder.
const FOLDER: &str = "documents";

/// A running backend and a folder for the proxies' files.
pub struct Site {
    folder: PathBuf,
    backend: SocketAddr,
    calls: SocketAddr,
    redis: OnceCell<(SocketAddr, Running)>,
    attacked: OnceCell<(SocketAddr, Running)>,
    sleeping: OnceCell<(SocketAddr, Running)>,
    // Ends with the site.
    _origin: Running,
}

impl Site {
    /// Starts the backend.
    pub fn open() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("biplane-bench-{}", std::process::id()));
        let documents = folder.join(FOLDER);
        fs::create_dir_all(&documents)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("backend").arg(&documents);
        let ([backend, calls], origin) = start(&mut command)?;
        touch_memory(&folder)?;
        let (redis, attacked, sleeping) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Ok(Self { folder, backend, calls, redis, attacked, sleeping, _origin: origin })
    }

    /// Where the backend listens.
    pub fn backend(&self) -> SocketAddr {
        self.backend
    }

    /// Where the backend takes calls of gRPC.
    pub fn calls(&self) -> SocketAddr {
        self.calls
    }

    /// Has the backend answer requests for a document with this content; gives its URL.
    pub fn publish(&self, name: &str, content: &Value) -> io::Result<String> {
        let path = self.folder.join(FOLDER).join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, content.to_string())?;
        Ok(format!("http://{}{}{name}", self.backend, frame::DOCUMENTS))
    }

    /// Where Redis listens, on the core of the load; started when it is first asked for.
    pub fn redis(&self) -> io::Result<SocketAddr> {
        if let Some((address, _)) = self.redis.get() {
            return Ok(*address);
        }
        let absent = || io::Error::new(io::ErrorKind::NotFound, "redis-server is not installed");
        let address = free_address()?;
        let mut command = Command::new(find_program("redis-server").ok_or_else(absent)?);
        command.args(["--bind", "127.0.0.1", "--port"]).arg(address.port().to_string());
        command.args(["--save", "", "--appendonly", "no"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let running = Running::start(&mut command, LOAD_CORE)?;
        Ok(self.redis.get_or_init(|| (address, running)).0)
    }

    /// Where the upstream listens that attacks count on; started when it is first asked for.
    pub fn attacked(&self) -> io::Result<SocketAddr> {
        once::<1>(&self.attacked, |command| command.arg("attacked"))
    }

    /// A backend that leaves its core to others while it waits; started when it is first asked for.
    pub fn sleeping_backend(&self) -> io::Result<SocketAddr> {
        once::<2>(&self.sleeping, |command| {
            command.args(["backend", "--sleeps"]).arg(self.folder.join(FOLDER))
        })
    }

    /// A folder of this name, made if missing.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Where a server listens that says `COUNT` addresses; started now if it has not been.
fn once<const COUNT: usize>(
    server: &OnceCell<(SocketAddr, Running)>,
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> io::Result<SocketAddr> {
    if let Some((address, _)) = server.get() {
        return Ok(*address);
    }
    let mut command = Command::new(std::env::current_exe()?);
    let (addresses, running) = start::<COUNT>(arguments(&mut command))?;
    Ok(server.get_or_init(|| (addresses[0], running)).0)
}

/// Starts a part of this program that serves until its standard input closes, and says where.
fn start<const COUNT: usize>(command: &mut Command) -> io::Result<([SocketAddr; COUNT], Running)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running::start(command, LOAD_CORE)?;
    let output = running.stdout().ok_or_else(|| io::Error::other("a server has no output"))?;
    let lines = BufReader::new(output).lines().take(COUNT);
    let addresses: Vec<SocketAddr> =
        lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).collect();
    let addresses = addresses.try_into().map_err(|_| io::Error::other("a server did not start"))?;
    Ok((addresses, running))
}

/// Has the kernel use the memory that access logs will lie in. A virtual machine gets each page from its host at the
/// first touch: that costs ten times the write, once, and says nothing about a proxy.
fn touch_memory(folder: &Path) -> io::Result<()> {
    let path = folder.join("touch");
    let mut file = fs::File::create(&path)?;
    let mebibyte = vec![0; 1 << 20];
    (0..TOUCHED_MIB).try_for_each(|_| file.write_all(&mebibyte))?;
    fs::remove_file(path)
}

impl Drop for Site {
    fn drop(&mut self) {
        // Leaving temporary files behind is no reason to fail.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An address on loopback nobody listens on at the moment.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Where a program stands: the path itself, or the first match on `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).is_file().then(|| PathBuf::from(name));
    }
    let path = std::env::var_os("PATH")?;
    // Debian keeps daemons in sbin, which the PATH of a plain user lacks.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_absent_ones_are_not() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-anywhere").is_none());
        assert!(find_program("./no/such/file").is_none());
    }
}
