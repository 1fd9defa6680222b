//! The runner of Biplane's end-to-end cases: each file under `cases/` is a declarative configuration, the requests
//! to send and what must come of them. It judges any gateway from outside and shares no code with ours.
//! `README.md` beside it describes the format.

mod case;
mod certificates;
mod chaos;
mod client;
mod datagrams;
mod directory;
mod downgrade;
mod echo;
mod expect;
pub mod floods;
mod frames;
mod gateway;
mod grpc;
mod hostile;
mod identity;
mod judge;
mod log_file;
mod machine;
mod memcached;
mod message;
mod modern;
mod openid;
mod placeholders;
mod program;
mod reached;
mod recorder;
mod redis;
mod reload;
mod remote;
mod report;
mod revocation;
mod rig;
mod run;
mod smuggling;
mod socket;
mod tokens;
mod vault;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long anything may take that has to come in the end, on a machine that has much else to do: whoever waits so long
/// waits in vain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Which gateway to judge, and where files lie.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that holds `cases/` and `seeds/`.
    pub root: PathBuf,
    /// Where the temporary folders of cases go.
    pub scratch: PathBuf,
    /// The gateway.
    pub target: Target,
}

/// The gateway to judge.
#[derive(Clone, Debug)]
pub enum Target {
    /// A binary to start, once per case.
    Binary(PathBuf),
    /// A gateway that runs already; its configuration is replaced through its Admin API.
    Remote {
        /// Its proxy listener.
        proxy: SocketAddr,
        /// Its admin listener.
        admin: SocketAddr,
        /// The address under which it reaches the upstreams of the cases.
        echo_host: IpAddr,
    },
}

impl Settings {
    fn echo_host(&self) -> IpAddr {
        match self.target {
            Target::Binary(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Target::Remote { echo_host, .. } => echo_host,
        }
    }

    /// Whether the case in `path` can only run on a gateway started here, and this is not one.
    pub fn skips(&self, path: &Path) -> bool {
        let parsed = std::fs::read_to_string(path).map(|text| case::Case::parse(&text));
        matches!((&self.target, parsed), (Target::Remote { .. }, Ok(Ok(case))) if case.needs_own_process())
    }

    /// Runs the case in `path`; the error is a report for people.
    pub fn run(&self, path: &Path) -> Result<(), String> {
        run::run(path, self)
    }

    /// Sends the requests in the file at `path`, which could be read in two ways.
    pub fn run_smuggling(&self, path: &Path) -> Result<(), String> {
        smuggling::run(path, self)
    }

    /// Sends the requests in the file at `path` over HTTP/2, which HTTP/1.1 could read in two ways.
    pub fn run_downgrade(&self, path: &Path) -> Result<(), String> {
        downgrade::run(path, self)
    }

    /// Runs the attack that `path` names, one of [`floods::all`].
    pub fn run_flood(&self, path: &Path) -> Result<(), String> {
        floods::run(path, self)
    }

    /// Reloads as `path` names it, one of [`reloads`].
    pub fn run_reload(&self, path: &Path) -> Result<(), String> {
        reload::run(path, self)
    }

    /// Tells the story that `path` names, one of [`redis_stories`].
    pub fn run_redis(&self, path: &Path) -> Result<(), String> {
        redis::run(path, self)
    }

    /// Tells the story that `path` names, one of [`directory_stories`].
    pub fn run_directory(&self, path: &Path) -> Result<(), String> {
        directory::run(path, self)
    }

    /// Tells the story that `path` names, one of [`vault_stories`].
    pub fn run_vault(&self, path: &Path) -> Result<(), String> {
        vault::run(path, self)
    }

    /// Tells the story of certificates that have been revoked.
    pub fn run_revocation(&self, path: &Path) -> Result<(), String> {
        revocation::run(path, self)
    }

    /// Plays the story that `path` names, one of [`chaos_stories`].
    pub fn run_chaos(&self, path: &Path) -> Result<(), String> {
        chaos::run(path, self)
    }

    /// Has the upstream send the responses in the file at `path`, which no upstream should.
    pub fn run_hostile(&self, path: &Path) -> Result<(), String> {
        hostile::run(path, self)
    }

    /// Runs the Python program at `path`, which calls a server of its own by gRPC through the gateway.
    pub fn run_grpc(&self, path: &Path) -> Result<(), String> {
        grpc::run(path, self)
    }

    /// Runs the program for Node at `path`, a service that checks who the gateway says calls.
    pub fn run_identity(&self, path: &Path) -> Result<(), String> {
        identity::run(path, self)
    }

    /// Runs the program for Node at `path`, an OpenID Connect provider whose tokens it brings to the gateway.
    pub fn run_openid(&self, path: &Path) -> Result<(), String> {
        openid::run(path, self)
    }
}

/// The names of the ways to reload under traffic.
pub fn reloads() -> impl Iterator<Item = &'static str> {
    reload::names()
}

/// The names of the stories of callers whom a directory knows.
pub fn directory_stories() -> impl Iterator<Item = &'static str> {
    directory::names()
}

/// The names of the stories of secrets that a server keeps.
pub fn vault_stories() -> impl Iterator<Item = &'static str> {
    vault::names()
}

/// The names of the stories of limits shared by Redis.
pub fn redis_stories() -> impl Iterator<Item = &'static str> {
    redis::names()
}

/// The names of the stories in which servers are killed.
pub fn chaos_stories() -> impl Iterator<Item = &'static str> {
    chaos::names()
}

/// Every case file under `folder`, in order.
pub fn find_cases(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yml") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
