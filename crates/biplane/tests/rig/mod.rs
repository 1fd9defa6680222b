//! A real gateway with its files in a folder of its own, and a backend that answers everything.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub const BINARY: &str = env!("CARGO_BIN_EXE_biplane");
/// Longest wait for anything that is to happen.
pub const LIMIT: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(10);

/// A folder that goes with its test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("biplane-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        // In one step, so that nobody reads the half of it.
        let beside = self.path("written");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A backend that answers each request of each connection with 200 and `ok`; after an upgrade it sends everything back.
pub fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    while let Some(head) = read_head(&mut stream) {
        if head.to_ascii_lowercase().contains("upgrade: websocket") {
            let accepted = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            let mut back = stream.try_clone().unwrap();
            if back.write_all(accepted.as_bytes()).is_ok() {
                let _ = std::io::copy(&mut stream, &mut back);
            }
            return;
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// The head of a message, up to the empty line; none at the end.
pub fn read_head(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A declarative file with one service, which is at `backend`, and a route to it under `path`.
pub fn configuration(backend: SocketAddr, path: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: one\n  url: http://{backend}\n  routes:\n  - name: all\n    \
         paths: ['{path}']\n    strip_path: false\n"
    )
}

/// A running gateway. What has been started is ended with it.
pub struct Gateway {
    first: Child,
    /// Where clients are served.
    pub proxy: Vec<String>,
    /// The Admin API.
    pub admin: SocketAddr,
    lines: Receiver<String>,
    seen: Mutex<Vec<String>>,
    pid_file: PathBuf,
}

impl Gateway {
    /// Starts one with the binary at `program`; `prepare` adds what it is to be started with.
    pub fn start(program: &Path, folder: &Folder, prepare: impl FnOnce(&mut Command)) -> Self {
        let pid_file = folder.path("biplane.pid");
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KONG_")) {
            command.env_remove(name);
        }
        command.args(["run", "--workers", "2"]);
        command.env("KONG_ADMIN_LISTEN", "127.0.0.1:0").env("KONG_STATUS_LISTEN", "off");
        command.env("KONG_NGINX_MAIN_WORKER_SHUTDOWN_TIMEOUT", "3s");
        command.arg("--pid-file").arg(&pid_file).stderr(Stdio::piped());
        prepare(&mut command);
        let mut first = command.spawn().unwrap();
        let lines = lines(first.stderr.take().unwrap());
        let admin = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut gateway = Self { first, proxy: Vec::new(), admin, lines, seen: Mutex::default(), pid_file };
        gateway.note_addresses();
        gateway
    }

    /// Waits until it is ready, and learns its addresses from what it says.
    fn note_addresses(&mut self) {
        self.proxy.clear();
        loop {
            let line = self.next_line();
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["listening", "proxy", _, address] => self.proxy.push(address.to_owned()),
                ["listening", "admin", _, address] => self.admin = address.parse().unwrap(),
                ["ready"] => return,
                _ => {}
            }
        }
    }

    fn next_line(&self) -> String {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => {
                self.seen.lock().unwrap().push(line.clone());
                line
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                panic!("nothing more was said:\n{}", self.seen.lock().unwrap().join("\n"))
            }
        }
    }

    /// Waits for a line with `words`.
    pub fn hear(&self, words: &str) -> String {
        loop {
            let line = self.next_line();
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Whether a line with `words` has been heard, at the start say.
    pub fn has_said(&self, words: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|line| line.contains(words))
    }

    /// The process that serves.
    pub fn id(&self) -> i32 {
        let text = fs::read_to_string(&self.pid_file).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id()), signal).unwrap();
    }

    /// Runs `biplane upgrade`.
    pub fn upgrade(&self) -> Output {
        Command::new(BINARY).arg("upgrade").arg("--pid-file").arg(&self.pid_file).output().unwrap()
    }

    /// Connects to the first address for clients.
    pub fn client(&self) -> TcpStream {
        connect(&self.proxy[0])
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(text) = fs::read_to_string(&self.pid_file)
            && let Some(id) = text.lines().next().and_then(|line| line.parse().ok())
        {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        // The first process is ended by a signal, or has handed over and ends in its time.
        let _ = kill(Pid::from_raw(self.first.id().cast_signed()), Signal::SIGTERM);
        let _ = self.first.wait();
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A connection on which nothing is waited for longer than [`LIMIT`].
pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends a GET and reads the answer: its head, the body being `ok` or a message of the gateway.
pub fn get(stream: &mut (impl Read + Write), path: &str) -> Option<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x.test\r\n\r\n").ok()?;
    let head = read_head(stream)?;
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(head)
}

/// The whole answer to a GET on a connection of its own; empty where there is none.
pub fn fetch(address: &str, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = stream.set_read_timeout(Some(LIMIT));
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

/// A process that does not outlive its test.
pub struct Other(pub Child);

impl Other {
    /// Ends it at once, without a word (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A name server for `test` on this port, with further settings.
pub fn dnsmasq(folder: &Folder, port: u16, records: &str) -> Other {
    let settings = format!(
        "no-resolv\nno-hosts\nbind-interfaces\nlisten-address=127.0.0.1\nport={port}\nuser=\ngroup=\nlocal=/test/\n{records}"
    );
    let mut command = Command::new("dnsmasq");
    command.arg("--keep-in-foreground").arg("--pid-file=").stderr(Stdio::null());
    command.arg(format!("--conf-file={}", folder.write("dnsmasq.conf", &settings).display()));
    Other(command.spawn().expect("dnsmasq is installed"))
}

/// The same on a port that is free. One at a time, until it listens: two must not find the same port free.
pub fn dnsmasq_somewhere(folder: &Folder, records: &str) -> (Other, u16) {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = dnsmasq(folder, port, records);
    let socket = format!(" 0100007F:{port:04X} ");
    eventually("dnsmasq listens", || fs::read_to_string("/proc/net/udp").unwrap().contains(&socket));
    (server, port)
}

/// Waits until `holds`, and fails when it never does.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::park_timeout(GLANCE);
    }
}

/// Whether a process is still there.
pub fn is_running(id: i32) -> bool {
    // One that has ended and was not waited for yet says Z.
    let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
