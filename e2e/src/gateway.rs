//! The gateway under test: the real binary as a child process, or one that already runs elsewhere.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The addresses a case talks to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub proxy: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub status: Option<SocketAddr>,
    /// The proxy listener for TLS.
    pub secure: Option<SocketAddr>,
    /// The listeners for streams: two without TLS, one for TLS, one for datagrams.
    pub streams: [Option<SocketAddr>; 2],
    pub stream_tls: Option<SocketAddr>,
    pub datagrams: Option<SocketAddr>,
}

impl Addresses {
    /// Those of a gateway that runs elsewhere.
    pub fn remote(proxy: SocketAddr, admin: SocketAddr) -> Addresses {
        Addresses {
            proxy,
            admin: Some(admin),
            status: None,
            secure: None,
            streams: [None; 2],
            stream_tls: None,
            datagrams: None,
        }
    }
}

/// A running gateway process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    output: Output,
    pub addresses: Addresses,
    pub config: PathBuf,
}

/// A gateway that ended, or hung, before it was ready.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// The exit code, unless it still ran.
    pub code: Option<i32>,
    pub output: String,
}

/// The lines a process wrote, as they come.
#[derive(Debug, Default)]
struct Output {
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Output {
    fn collect(&mut self, source: impl Read + Send + 'static) {
        let lines = Arc::clone(&self.lines);
        self.readers.push(thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                lines.1.notify_all();
            }
        }));
    }

    /// Reads what a process that ended left behind.
    fn wait_for_end(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().ok();
        }
    }

    fn text(&self) -> String {
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The first answer `find` has for the lines so far, at most `limit` from now.
    fn wait<T>(&self, limit: Duration, mut find: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&lines) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            lines = self.lines.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Gateway {
    /// Starts `binary` on a configuration file and waits until it is ready.
    pub fn start(
        binary: &Path,
        config: &Path,
        args: &[String],
        env: &BTreeMap<String, String>,
    ) -> Result<Gateway, NotStarted> {
        let mut command = command(binary, env);
        command.arg("run").arg(config);
        let defaults = [
            ("--workers", "2"),
            ("--proxy-listen", "127.0.0.1:0"),
            ("--admin-listen", "127.0.0.1:0"),
            ("--status-listen", "127.0.0.1:0"),
        ];
        // A flag wins over the environment, and would take a variable's word away.
        let is_said = |flag: &str| {
            args.iter().any(|arg| arg == flag)
                || (flag == "--workers" && env.contains_key("KONG_NGINX_WORKER_PROCESSES"))
        };
        for (flag, value) in defaults.into_iter().filter(|(flag, _)| !is_said(flag)) {
            command.args([flag, value]);
        }
        let mut child = command
            .args(args)
            .spawn()
            .map_err(|error| NotStarted { code: None, output: format!("{}: {error}", binary.display()) })?;
        let mut output = Output::default();
        if let Some(stderr) = child.stderr.take() {
            output.collect(stderr);
        }
        if let Some(stdout) = child.stdout.take() {
            output.collect(stdout);
        }
        match addresses(&output, &mut child) {
            Some(addresses) => Ok(Gateway { child, output, addresses, config: config.to_owned() }),
            None => {
                let code = child.try_wait().ok().flatten().and_then(|status| status.code());
                child.kill().ok();
                child.wait().ok();
                output.wait_for_end();
                Err(NotStarted { code, output: output.text() })
            }
        }
    }

    /// Its resident memory in KiB, where the system tells.
    pub fn resident_kib(&self) -> Option<u64> {
        self.memory("VmRSS")
    }

    /// The largest resident memory since [`Gateway::forget_peak`], in KiB.
    pub fn peak_kib(&self) -> Option<u64> {
        self.memory("VmHWM")
    }

    /// Has the largest resident memory be counted from now on.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").ok();
    }

    fn memory(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Everything it wrote so far.
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// Waits for a line that fits.
    pub fn wait_for_line(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.output.wait(crate::PATIENCE, |lines| lines.iter().any(|line| fits(line)).then_some(())).is_some()
    }

    /// Sends a signal by name, such as HUP.
    pub fn signal(&self, name: &str) -> Result<(), String> {
        let id = self.child.id().to_string();
        match Command::new("kill").args(["-s", name, &id]).status() {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("cannot send {name}: {other:?}")),
        }
    }

    /// Waits for the end of the process.
    pub fn exit_code(&mut self) -> Result<Option<i32>, String> {
        let deadline = Instant::now() + crate::PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status.code()),
                Ok(None) if Instant::now() < deadline => thread::park_timeout(Duration::from_millis(10)),
                Ok(None) => return Err("the gateway still runs".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs `biplane check` on a file: how it ended and all it wrote.
pub(crate) fn check(binary: &Path, config: &Path) -> Result<(ExitStatus, String), String> {
    check_with(binary, config, &BTreeMap::new())
}

/// The same with this environment.
pub(crate) fn check_with(
    binary: &Path,
    config: &Path,
    env: &BTreeMap<String, String>,
) -> Result<(ExitStatus, String), String> {
    let output = command(binary, env).arg("check").arg(config).output();
    let output = output.map_err(|error| format!("{}: {error}", binary.display()))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status, text))
}

fn command(binary: &Path, env: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KONG_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").env("KONG_ALLOW_DEBUG_HEADER", "on").envs(env);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The addresses once `ready` was written; `None` when the process ends first or takes too long.
fn addresses(output: &Output, child: &mut Child) -> Option<Addresses> {
    let deadline = Instant::now() + crate::PATIENCE;
    while Instant::now() < deadline {
        let found = output.wait(Duration::from_millis(100), |lines| {
            lines.iter().any(|line| line == "ready").then(|| lines.to_vec())
        });
        if let Some(lines) = found {
            let nth = |listener: &str, number: usize| {
                let prefix = format!("listening {listener} ");
                lines.iter().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).nth(number)
            };
            let of = |listener: &str| nth(listener, 0);
            return Some(Addresses {
                proxy: of("proxy http").or_else(|| of("proxy https"))?,
                admin: of("admin http").or_else(|| of("admin https")),
                status: of("status http").or_else(|| of("status https")),
                secure: of("proxy https"),
                streams: [of("stream tcp"), nth("stream tcp", 1)],
                stream_tls: of("stream tls"),
                datagrams: of("stream udp"),
            });
        }
        if !matches!(child.try_wait(), Ok(None)) {
            return None;
        }
    }
    None
}
