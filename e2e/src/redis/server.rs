//! A real `redis-server` on a free port of the loopback interface, in a folder of its own, ended with the story.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Starts before it is given up: between finding a free port and taking it, somebody else may take it.
const STARTS: usize = 5;

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub port: u16,
    _folder: Folder,
}

/// A folder of this run, removed when dropped.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    pub fn make(within: &Path) -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = within.join(format!("redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

impl Server {
    /// Starts a server with more lines of configuration, in which `PORT` is its port.
    pub fn start(within: &Path, configuration: &str) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..STARTS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
            let port = listener.local_addr().map_err(|error| error.to_string())?.port();
            drop(listener);
            match Self::start_at(within, port, configuration) {
                Ok(server) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The same on this port.
    pub fn start_at(within: &Path, port: u16, configuration: &str) -> Result<Self, String> {
        let folder = Folder::make(within)?;
        let file = folder.0.join("redis.conf");
        let port_line =
            if configuration.contains("tls-port") { String::new() } else { format!("port {port}\n") };
        let text = format!(
            "bind 127.0.0.1\n{port_line}dir {}\nsave \"\"\nappendonly no\n{}\n",
            folder.0.display(),
            configuration.replace("PORT", &port.to_string())
        );
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let mut command = Command::new("redis-server");
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        if configuration.contains("sentinel monitor") {
            command.arg("--sentinel");
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("redis-server (Debian package of that name): {error}"))?;
        let output = child.stdout.take().ok_or("redis-server has no output")?;
        let mut server = Self { child, port, _folder: folder };
        match wait_until_ready(BufReader::new(output)) {
            Ok(()) => Ok(server),
            Err(output) => {
                server.kill();
                Err(format!("redis-server did not start:\n{output}"))
            }
        }
    }

    /// Sends a signal by name, such as STOP.
    pub fn signal(&self, name: &str) -> Result<(), String> {
        let id = self.child.id().to_string();
        match Command::new("kill").args(["-s", name, &id]).status() {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("cannot send {name}: {other:?}")),
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Sends a command and returns the answer as lines, those of arrays one after the other.
    pub fn ask(&self, command: &[&str]) -> Result<Vec<String>, String> {
        self.try_ask(&[command]).map_err(|error| format!("redis: {command:?}: {error}"))
    }

    fn try_ask(&self, commands: &[&[&str]]) -> io::Result<Vec<String>> {
        let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?);
        stream.get_ref().set_read_timeout(Some(crate::PATIENCE))?;
        let mut lines = Vec::new();
        for command in commands {
            let mut text = format!("*{}\r\n", command.len());
            command.iter().for_each(|part| text += &format!("${}\r\n{part}\r\n", part.len()));
            stream.get_mut().write_all(text.as_bytes())?;
            lines.clear();
            read(&mut stream, &mut lines)?;
        }
        Ok(lines)
    }

    /// The same as a user with a password.
    pub fn ask_as(&self, (user, password): (&str, &str), command: &[&str]) -> Result<Vec<String>, String> {
        let outcome = self.try_ask(&[&["AUTH", user, password], command]);
        outcome.map_err(|error| format!("redis: {command:?}: {error}"))
    }

    /// Asks again until the answer fits.
    pub fn await_answer(&self, command: &[&str], fits: impl Fn(&[String]) -> bool) -> Result<(), String> {
        super::eventually(|| {
            let answer = self.ask(command)?;
            if fits(&answer) { Ok(()) } else { Err(format!("{command:?} answers {answer:?}")) }
        })
    }

    /// How often a command has been called.
    pub fn calls(&self, command: &str) -> Result<u64, String> {
        let lines = self.ask(&["INFO", "commandstats"])?.join("\n");
        let prefix = format!("cmdstat_{command}:calls=");
        let found =
            lines.lines().find_map(|line| line.trim().strip_prefix(&prefix)?.split(',').next()?.parse().ok());
        Ok(found.unwrap_or(0))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads what it writes until it serves, and has the rest read so that it never waits.
fn wait_until_ready(mut output: BufReader<impl Read + Send + 'static>) -> Result<(), String> {
    let mut text = String::new();
    loop {
        let before = text.len();
        match output.read_line(&mut text) {
            Ok(0) | Err(_) => return Err(text),
            Ok(_) => {}
        }
        let line = &text[before..];
        if line.contains("Ready to accept connections") || line.contains("Sentinel ID is") {
            std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
            return Ok(());
        }
    }
}

fn read(reader: &mut impl BufRead, lines: &mut Vec<String>) -> io::Result<()> {
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let head = head.trim_end();
    let Some((kind, rest)) = head.split_at_checked(1) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let length = || rest.parse::<i64>().unwrap_or(-1);
    match kind {
        "$" if length() >= 0 => {
            let mut bytes = vec![0; usize::try_from(length()).unwrap_or(0) + 2];
            reader.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            lines.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        "*" => {
            for _ in 0..length() {
                read(reader, lines)?;
            }
        }
        "-" => return Err(io::Error::other(rest.to_owned())),
        _ => lines.push(rest.to_owned()),
    }
    Ok(())
}
