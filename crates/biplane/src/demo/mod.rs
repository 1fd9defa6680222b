//! `biplane demo`: a gateway, three small services behind it and a tour, in one process that stays on loopback.

mod services;
mod token;
mod tour;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::{Carries, Listener};
use model::Source;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::services::Services;
use crate::COULD_NOT_START;
use crate::cli::{Demo, Listen};
use crate::run::{self, say};
use crate::settings;
use crate::start::{Failure, Options, Places, Started, start};
use crate::upgrade::Inheritance;

/// What is served. It names the ports and the log file that a run of its own would have.
const CONFIGURATION: &str = include_str!("../../../../examples/demo/kong.yml");
/// The addresses of the services in there, in the order users, orders, products.
const WRITTEN_SERVICES: [&str; 3] = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"];
/// The log file in there.
const WRITTEN_LOG: &str = "/tmp/biplane-demo/requests.log";
/// Nobody waits long for the end of a demonstration.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// What the process ends with when its arguments are wrong.
const USAGE: u8 = 2;

/// Runs until told to stop.
pub fn run(arguments: &Demo) -> ExitCode {
    run::start_log(false, std::env::var("KONG_LOG_LEVEL").ok().as_deref());
    let places = match places(&arguments.listen) {
        Ok(places) => places,
        Err(problem) => {
            say(&format!("error: {problem}"));
            return ExitCode::from(USAGE);
        }
    };
    match demonstrate(&places) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("error: {}", told(&failure)));
            ExitCode::from(COULD_NOT_START)
        }
    }
}

/// As for `run`; but without an address for clients or for the Admin API there is nothing to show.
fn places(listen: &Listen) -> Result<Places, String> {
    let places = Places::from(listen)?;
    let takes_requests = |listener: &Listener| listener.carries == Carries::Requests;
    match (places.proxy.iter().any(takes_requests), places.admin.is_empty()) {
        (false, _) => Err("--proxy-listen: the demo needs an address".to_owned()),
        (_, true) => Err("--admin-listen: the demo needs an address".to_owned()),
        _ => Ok(places),
    }
}

fn demonstrate(places: &Places) -> Result<(), Failure> {
    // Before anything is promised, so that a signal at any time ends it in good order.
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Failure::System)?;
    let folder = Folder::create().map_err(Failure::System)?;
    let services = Services::start().map_err(Failure::System)?;
    let log = folder.0.join("requests.log");
    let text = configuration(&services.addresses, &log);
    let mut environment = settings::from_environment(std::iter::empty())
        .map_err(|problem| Failure::System(io::Error::other(problem)))?;
    environment.settings.drain_timeout = DRAIN_TIMEOUT;
    let file = "examples/demo/kong.yml".to_owned();
    let text = Some(Arc::new(text));
    let options = Options { file, text, is_posted: false, places, environment: &mut environment };
    let started = start(options, &mut Inheritance::default())?;
    show_tour(&started, &log).map_err(Failure::System)?;
    signals.forever().next();
    say("stopping");
    started.stop();
    drop(services);
    Ok(())
}

/// The example with the addresses and the log file of this run.
fn configuration(services: &[SocketAddr; 3], log: &Path) -> String {
    let mut text = CONFIGURATION.to_owned();
    for (written, address) in WRITTEN_SERVICES.iter().zip(services) {
        text = text.replace(written, &address.to_string());
    }
    // Quoted, so that no character of a folder's name means anything in YAML. JSON's strings are YAML's.
    text.replace(WRITTEN_LOG, &serde_json::Value::from(log.display().to_string()).to_string())
}

fn show_tour(started: &Started, log: &Path) -> io::Result<()> {
    let no_address = || io::Error::other("no address to show");
    // The tour is given in cleartext, whatever else is listened on.
    let listening = started.gateway.listeners();
    let is_clear = |listener: &&Listener| !listener.tls && listener.carries == Carries::Requests;
    let clear = listening.iter().find(is_clear).or_else(|| listening.first());
    let proxy = clear.and_then(|listener| listener.address.inet()).ok_or_else(no_address)?;
    let clear = started.control_schemes[0].iter().position(|scheme| *scheme == "http").unwrap_or_default();
    let admin = started.admin.get(clear).copied().ok_or_else(no_address)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let tour =
        tour::Tour { proxy: reachable(proxy), admin: reachable(admin), token: token::of_alice(now), log };
    let mut out = io::stdout().lock();
    out.write_all(tour.text().as_bytes())?;
    out.flush()
}

/// The address by which a listener on all addresses is reached from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn told(failure: &Failure) -> String {
    match failure {
        Failure::Configuration(problems) => {
            let source = Source::new("examples/demo/kong.yml", CONFIGURATION);
            problems.iter().map(|problem| source.render(problem)).collect()
        }
        Failure::Listen { .. } => format!(
            "{failure}\nhelp: any free ports will do: biplane demo --proxy-listen 127.0.0.1:18000 --admin-listen 127.0.0.1:18001"
        ),
        Failure::Certificate(_) | Failure::System(_) => failure.to_string(),
    }
}

/// A folder of this run alone, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn create() -> io::Result<Self> {
        let name = format!("biplane-demo-{}-{}", std::process::id(), model::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It holds a log of a demonstration; a folder that stays behind does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_and_the_log_of_the_example_are_replaced() {
        let addresses = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let text = configuration(&addresses, Path::new("/a folder: #1/requests.log"));
        for written in WRITTEN_SERVICES.iter().chain(&[WRITTEN_LOG]) {
            assert_eq!(CONFIGURATION.matches(written).count(), 1, "{written}");
            assert!(!text.contains(written), "{written}");
        }
        let config = model::declarative::load("kong.yml", &text, &plugins::catalog()).unwrap();
        let log = config.plugins.iter().find(|row| row.name == "file-log").unwrap();
        assert_eq!(log.config["path"], "/a folder: #1/requests.log");
        assert_eq!(config.services.iter().map(|service| service.port).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
