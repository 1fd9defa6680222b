//! Loads that are programs of others: h2load for HTTP/2, gRPC and TLS, and openssl for handshakes. They do not stay awake as
//! our own load does, and they judge answers by their status alone.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;

use crate::backend::calls;
use crate::cases::Sample;
use crate::load::Outcome;
use crate::measure::{Cpu, cpu};
use crate::peers::Proxy;
use crate::process::{LOAD_CORE, pinned};
use crate::site::{Site, find_program};

/// A load of one of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// h2load with so many streams on each connection.
    Http2 {
        /// Streams that are open at a time.
        streams: usize,
    },
    /// h2load with calls of gRPC, and so many of them on each connection.
    Calls {
        /// Calls that run at a time.
        streams: usize,
    },
    /// h2load over TLS, HTTP/1.1, keep-alive.
    Tls,
    /// openssl s_time: one connection with one request after the other.
    Handshakes {
        /// Whether each resumes the session of the one before.
        resumed: bool,
    },
}

const WARM_UP_MS: u32 = 300;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);
/// Resumed handshakes that may be full ones, such as the first.
const LEAST_RESUMED: f64 = 0.99;

impl Tool {
    /// The program, if it is installed.
    pub fn find(self) -> io::Result<PathBuf> {
        let name = if matches!(self, Tool::Handshakes { .. }) { "openssl" } else { "h2load" };
        let absent = || io::Error::new(ErrorKind::NotFound, format!("{name} is not installed"));
        find_program(name).ok_or_else(absent)
    }

    /// One run against one proxy.
    pub async fn sample(
        self,
        proxy: &Proxy,
        site: &Site,
        connections: usize,
        seconds: f64,
    ) -> io::Result<Sample> {
        let (outcome, spent) = match self {
            Tool::Handshakes { resumed } => self.handshakes(proxy, resumed, seconds).await?,
            _ => self.requests(proxy, site, connections, seconds).await?,
        };
        let cpu_us = spent.total_us / (outcome.requests + outcome.errors).max(1) as f64;
        Ok(Sample { cpu_us, user_us: cpu_us * spent.user_share(), outcome, logged: None })
    }

    async fn requests(
        self,
        proxy: &Proxy,
        site: &Site,
        connections: usize,
        seconds: f64,
    ) -> io::Result<(Outcome, Cpu)> {
        let mut command = Command::new(self.find()?);
        command.args(["-c", &connections.to_string(), "-D", &format!("{:.0}ms", seconds * 1_000.0)]);
        command.arg(format!("--warm-up-time={WARM_UP_MS}ms"));
        command.args(self.arguments(proxy, site)?);
        let mut child = spawn(command)?;
        let mut lines = output(&mut child)?;
        wait_for(&mut lines, "Main benchmark duration is started").await?;
        let before = cpu(proxy.process.id());
        wait_for(&mut lines, "Main benchmark duration is over").await?;
        let spent = cpu(proxy.process.id()) - before;
        let mut text = String::new();
        while let Some(line) = lines.next_line().await? {
            text.push_str(&line);
            text.push('\n');
        }
        child.wait().await?;
        let outcome = parse_h2load(&text).ok_or_else(|| io::Error::other(format!("h2load said: {text}")))?;
        Ok((Outcome { seconds, ..outcome }, spent))
    }

    fn arguments(self, proxy: &Proxy, site: &Site) -> io::Result<Vec<String>> {
        let address = proxy.address;
        let mut arguments: Vec<String> = ["-H", "user-agent: bench"].map(str::to_owned).into();
        match self {
            Tool::Calls { streams } => {
                let message = site.folder("calls")?.join("message");
                std::fs::write(&message, calls::MESSAGE)?;
                arguments.extend(["-m".to_owned(), streams.to_string(), "-d".to_owned()]);
                arguments.push(message.display().to_string());
                for field in ["content-type: application/grpc", "te: trailers"] {
                    arguments.extend(["-H".to_owned(), field.to_owned()]);
                }
                arguments.push(format!("http://{address}{}", calls::PATH));
            }
            Tool::Http2 { streams } => {
                arguments.extend(["-m".to_owned(), streams.to_string(), format!("http://{address}/orders")]);
            }
            Tool::Tls | Tool::Handshakes { .. } => {
                arguments.extend(["--h1".to_owned(), format!("https://{address}/orders")]);
            }
        }
        Ok(arguments)
    }

    async fn handshakes(self, proxy: &Proxy, resumed: bool, seconds: f64) -> io::Result<(Outcome, Cpu)> {
        let mut command = Command::new(self.find()?);
        command.args(["s_time", "-www", "/orders", "-connect", &proxy.address.to_string()]);
        // Whole seconds only.
        command.args(["-time", &format!("{:.0}", seconds.max(1.0))]);
        command.arg(if resumed { "-reuse" } else { "-new" });
        let child = spawn(command)?;
        let before = cpu(proxy.process.id());
        let output = child.wait_with_output().await?;
        let spent = cpu(proxy.process.id()) - before;
        let text = String::from_utf8_lossy(&output.stdout);
        let outcome = parse_s_time(&text, resumed);
        let outcome = outcome.ok_or_else(|| io::Error::other("openssl s_time made no connections"))?;
        Ok((outcome, spent))
    }
}

fn spawn(mut command: Command) -> io::Result<tokio::process::Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).process_group(0);
    pinned(LOAD_CORE, || command.spawn())
}

fn output(child: &mut tokio::process::Child) -> io::Result<Lines<BufReader<ChildStdout>>> {
    let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    Ok(BufReader::new(output).lines())
}

async fn wait_for(lines: &mut Lines<BufReader<ChildStdout>>, text: &str) -> io::Result<()> {
    while let Some(line) = lines.next_line().await? {
        if line.starts_with(text) {
            return Ok(());
        }
    }
    Err(io::Error::other(format!("h2load ended before: {text}")))
}

/// The requests that were answered, and those that were not as they should be.
fn parse_h2load(text: &str) -> Option<Outcome> {
    let numbers = |start: &str| -> Option<Vec<u64>> {
        let line = text.lines().find_map(|line| line.strip_prefix(start))?;
        line.split(',').map(|part| part.trim().split(' ').next()?.parse().ok()).collect()
    };
    // total, started, done, succeeded, failed, errored, timeout
    let [_, _, done, succeeded, _, errored, timeout] = numbers("requests: ")?[..] else { return None };
    let [_, redirected, ..] = numbers("status codes: ")?[..] else { return None };
    let requests = succeeded.saturating_sub(redirected);
    // Clients whose connections fail stop without a request.
    let errors = ((done - requests.min(done)) + errored + timeout).max(u64::from(requests == 0));
    let first_error = (errors > 0)
        .then(|| text.lines().find(|line| line.starts_with("status codes: ")).unwrap_or_default().to_owned());
    Some(Outcome { requests, errors, first_error, ..Outcome::default() })
}

/// The connections that were made; those that should have been resumed and were not are errors.
fn parse_s_time(text: &str, resumed: bool) -> Option<Outcome> {
    // N connections in M real seconds, ...
    let (count, rest) = text.lines().rev().find_map(|line| line.split_once(" connections in "))?;
    let connections = count.parse().ok().filter(|count: &u64| *count > 0)?;
    let seconds = rest.split(' ').next()?.parse().ok()?;
    let marks = text.lines().rfind(|line| line.len() > 1 && line.bytes().all(|byte| b"rt*".contains(&byte)));
    let marked = marks.map_or(0, |line| line.bytes().filter(|byte| *byte == b'r').count());
    let enough = marked as f64 >= connections as f64 * LEAST_RESUMED;
    let errors = if resumed && !enough { connections.saturating_sub(marked as u64) } else { 0 };
    let first_error = (errors > 0).then(|| "a session was not resumed".to_owned());
    Some(Outcome { requests: connections - errors, errors, first_error, seconds, ..Outcome::default() })
}

/// Whether somebody speaks TLS at an address.
pub async fn shakes_hands(address: SocketAddr) -> bool {
    let Ok(openssl) = (Tool::Handshakes { resumed: false }).find() else { return false };
    let mut command = tokio::process::Command::new(openssl);
    command.args(["s_client", "-connect", &address.to_string()]).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    matches!(tokio::time::timeout(HANDSHAKE_LIMIT, command.status()).await, Ok(Ok(status)) if status.success())
}

/// A key and a certificate for the proxies: `certificate.pem`, `key.pem`, and both in `both.pem`.
pub fn certificate(folder: &Path) -> io::Result<()> {
    let openssl = Tool::Handshakes { resumed: false }.find()?;
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let mut command = Command::new(openssl);
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    command.args(["-days", "30", "-subj", "/CN=bench.test", "-addext", "subjectAltName=DNS:bench.test"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("openssl made no certificate: {text}")));
    }
    let both = [std::fs::read(certificate)?, std::fs::read(key)?].concat();
    std::fs::write(folder.join("both.pem"), both)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H2LOAD: &str = "
finished in 2.00s, 50048.00 req/s, 3.39MB/s
requests: 50048 total, 50050 started, 50048 done, 50040 succeeded, 8 failed, 1 errored, 0 timeout
status codes: 50030 2xx, 10 3xx, 5 4xx, 3 5xx
";

    #[test]
    fn only_answers_of_success_count() {
        let outcome = parse_h2load(H2LOAD).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (50_030, 19));
        assert_eq!(outcome.first_error.as_deref(), Some("status codes: 50030 2xx, 10 3xx, 5 4xx, 3 5xx"));
        assert!(parse_h2load("finished in 2.00s").is_none());
        let nothing = "requests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout\n\
                       status codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        assert_eq!(parse_h2load(nothing).unwrap().errors, 1);
    }

    #[test]
    fn handshakes_are_counted_and_must_be_resumed_where_they_should() {
        let text = |marks: &str| {
            format!(
                "starting\n{marks}\n\n4 connections in 0.63s; 2 connections/user sec\n4 connections in 2 real seconds, 147 bytes\n"
            )
        };
        let counts = |marks, resumed| {
            let outcome = parse_s_time(&text(marks), resumed).unwrap();
            (outcome.requests, outcome.errors)
        };
        assert_eq!(counts("rrrr", true), (4, 0));
        assert_eq!(counts("****", false), (4, 0));
        assert_eq!(counts("rr**", true), (2, 2));
        assert!(parse_s_time("starting\n", false).is_none());
    }
}
