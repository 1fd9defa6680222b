//! Servers as processes of their own, so that they can be killed like real ones: backends, dnsmasq, and a stand-in for Consul.

use crate::redis::eventually;
use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Starts before it is given up: somebody else may have taken the port meanwhile.
const STARTS: usize = 5;

/// A process that does not outlive the run.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An HTTP server that writes down what it gets, `chaos/backend.py`.
pub(super) struct Backend {
    pub name: &'static str,
    pub address: Ipv4Addr,
    pub port: u16,
    program: PathBuf,
    journal: PathBuf,
    process: Option<Process>,
}

impl Backend {
    /// Starts one on an address of its own, on `port` or on a free one if that is 0.
    pub fn start(
        (name, address, port): (&'static str, Ipv4Addr, u16),
        root: &Path,
        folder: &Path,
    ) -> Result<Self, String> {
        let (program, journal) = (root.join("chaos/backend.py"), folder.join(format!("{name}.journal")));
        let mut backend = Self { name, address, port, program, journal, process: None };
        backend.come_back()?;
        Ok(backend)
    }

    /// Ends it at once, with all that it is about.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it while it is about a request that must not be repeated.
    pub fn kill_at_work(&mut self) -> Result<(), String> {
        let mark = self.journal.with_extension("journal.slow");
        std::fs::write(&mark, "").map_err(|error| error.to_string())?;
        let marked = eventually(|| match self.text()?.lines().any(|line| line.ends_with(" slow")) {
            true => Ok(()),
            false => Err(format!("{}: no such request", self.name)),
        });
        self.kill();
        std::fs::remove_file(&mark).map_err(|error| error.to_string())?;
        marked
    }

    /// Starts it again, where it was.
    pub fn come_back(&mut self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..STARTS {
            let mut command = Command::new("python3");
            command.arg(&self.program).arg(self.address.to_string()).arg(self.port.to_string());
            command.arg(&self.journal).stdin(Stdio::piped()).stdout(Stdio::piped());
            let child = command.spawn().map_err(|error| format!("python3: {error}"))?;
            let mut process = Process(child);
            let output = process.0.stdout.take().ok_or("no output")?;
            match line_of(BufReader::new(output), "listening ") {
                Ok(port) => {
                    self.port = port.trim().parse().map_err(|_| format!("no port: {port}"))?;
                    self.process = Some(process);
                    return Ok(());
                }
                Err(output) => last = output,
            }
        }
        Err(format!("{} did not start: {last}", self.name))
    }

    /// The requests that reached it: methods and numbers.
    pub fn journal(&self) -> Result<Vec<(String, u64)>, String> {
        let entry = |line: &str| {
            let mut parts = line.split(' ');
            Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?))
        };
        Ok(self.text()?.lines().filter_map(entry).collect())
    }

    fn text(&self) -> Result<String, String> {
        std::fs::read_to_string(&self.journal).map_err(|error| format!("{}: {error}", self.name))
    }
}

/// `dnsmasq` for one name.
pub(super) struct NameServer {
    pub port: u16,
    file: PathBuf,
    process: Option<Process>,
}

impl NameServer {
    /// Starts one on a free port that gives `name` this address, for a second at a time.
    pub fn start(folder: &Path, name: &str, address: Ipv4Addr) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..STARTS {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
            let port = socket.local_addr().map_err(|error| error.to_string())?.port();
            drop(socket);
            let mut server = Self { port, file: folder.join("dnsmasq.conf"), process: None };
            match server.come_back(name, address) {
                Ok(()) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on its port, with this address for the name.
    pub fn come_back(&mut self, name: &str, address: Ipv4Addr) -> Result<(), String> {
        let settings = format!(
            "no-resolv\nno-hosts\nbind-interfaces\nlisten-address=127.0.0.1\nport={}\nuser=\ngroup=\nlog-facility=-\n\
             local=/test/\nhost-record={name},{address},1\n",
            self.port
        );
        std::fs::write(&self.file, settings).map_err(|error| error.to_string())?;
        let mut command = Command::new("dnsmasq");
        command.arg("--keep-in-foreground").arg("--pid-file=").stdin(Stdio::null()).stderr(Stdio::piped());
        command.arg(format!("--conf-file={}", self.file.display()));
        let child = command.spawn();
        let mut process =
            Process(child.map_err(|error| format!("dnsmasq (Debian package dnsmasq-base): {error}"))?);
        let output = process.0.stderr.take().ok_or("no output")?;
        line_of(BufReader::new(output), "started").map_err(|output| format!("dnsmasq: {output}"))?;
        self.process = Some(process);
        Ok(())
    }
}

/// The stand-in for Consul that the tests of the binary have, too; it was written from Consul's documentation.
pub(super) struct Registry {
    pub port: u16,
    program: PathBuf,
    instances: PathBuf,
    process: Option<Process>,
}

impl Registry {
    /// Starts one on a free port that lists `backend`.
    pub fn start(root: &Path, folder: &Path, backend: &Backend) -> Result<Self, String> {
        let program = root.join("../crates/biplane/tests/rig/consul.py");
        let mut registry = Self { port: 0, program, instances: folder.join("instances.json"), process: None };
        registry.come_back(backend)?;
        Ok(registry)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on its port, with this instance in place of others.
    pub fn come_back(&mut self, backend: &Backend) -> Result<(), String> {
        let service = json!({ "Address": backend.address.to_string(), "Port": backend.port });
        let instances = json!([{ "Node": { "Address": "" }, "Service": service }]).to_string();
        std::fs::write(&self.instances, instances).map_err(|error| error.to_string())?;
        let mut command = Command::new("python3");
        command.arg(&self.program).arg(self.port.to_string()).arg(&self.instances);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process(command.spawn().map_err(|error| format!("python3: {error}"))?);
        let mut line = String::new();
        let output = process.0.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        self.port = line.trim().parse().map_err(|_| "the stand-in for Consul did not start".to_owned())?;
        self.process = Some(process);
        Ok(())
    }
}

/// What comes behind `text` in the first line that holds it; has the rest read, so that nobody waits to write it.
fn line_of(mut output: BufReader<impl Read + Send + 'static>, text: &str) -> Result<String, String> {
    let mut all = String::new();
    loop {
        let before = all.len();
        match output.read_line(&mut all) {
            Ok(0) | Err(_) => return Err(all),
            Ok(_) => {}
        }
        if let Some((_, rest)) = all[before..].split_once(text) {
            let rest = rest.to_owned();
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
            return Ok(rest);
        }
    }
}
