//! Runs rooms without sockets: configuration in, request in, outcome out.
//!
//! The configuration is a declarative document as users write it; the request is a raw HTTP/1.1 message. Instances
//! run by priority and then in the order of the document, all of them on every request, as if each were global.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use model::{Catalog, Config};
use tokio::runtime::{Builder, Runtime};
use wire::Headers;

use crate::build::{Build, Shared};
use crate::clock::Clock;
use crate::detour::Detours;
use crate::exchange::{Matched, Scheme, Tls};
use crate::room::{Definition, Phase, Phases};
use crate::services::{Services, Worker};

mod beside;
pub mod certificates;
mod dice;
mod outcome;
mod phases;
pub mod provider;
mod sessions;
mod upstream;
pub mod vouching;

pub use dice::Dice;
pub use outcome::Outcome;
pub use upstream::UpstreamResponse;

/// The time the harness's clock shows at first: 2026-01-01 00:00:00 UTC, in milliseconds.
pub const START_MS: u64 = 1_767_225_600_000;

/// What random numbers follow from.
const SEED: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834;

/// A request for nothing in particular.
pub const GET: &str = "GET / HTTP/1.1\n\n";

/// A room under test.
#[derive(Clone, Copy)]
pub struct Subject(pub &'static dyn Definition);

impl Subject {
    /// The room with one global instance, see [`Harness::global`].
    ///
    /// # Panics
    /// If the configuration is refused.
    #[must_use]
    pub fn with(self, config: &str) -> Harness {
        Harness::global(self.0, config).expect("the configuration is a good one")
    }

    /// Why the room refuses a configuration, one problem a line.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn refuses(self, config: &str) -> String {
        Harness::global(self.0, config).err().expect("the configuration is a bad one")
    }
}

/// Rooms built from a document, ready to take requests.
pub struct Harness {
    /// The clock the rooms see.
    pub clock: Clock,
    /// What outlives requests; kept by [`Harness::reload`].
    pub services: Arc<Services>,
    definitions: Vec<&'static dyn Definition>,
    worker: Rc<Worker>,
    instances: Vec<Instance>,
    routes: Vec<Arc<Matched>>,
    /// Where rooms wait. Its time passes at once when all of them do.
    runtime: Runtime,
    /// The address requests come from.
    pub peer: SocketAddr,
    /// What the handshake of the connection came to; none in cleartext.
    pub tls: Option<Rc<Tls>>,
    /// Whether requests come from one of `trusted_ips`.
    pub trusted: bool,
    /// What they come over.
    pub scheme: Scheme,
    /// Names of detours that lead to nobody, see [`Detour::name`](crate::Detour::name).
    pub unreachable: Arc<Mutex<Vec<String>>>,
    /// What follows the bodies of requests.
    trailers: Headers,
    /// The healthy targets of every service; the first that may be chosen is asked.
    pub targets: Vec<SocketAddr>,
    /// The response the upstream gives; a 200 with a small JSON body at first.
    pub upstream: UpstreamResponse,
}

/// A room with the phases it runs in.
struct Instance {
    runs: &'static [Phase],
    room: Arc<dyn Phases>,
}

impl Harness {
    /// Builds the plugin's instances in `document`, a declarative file.
    ///
    /// # Errors
    /// The problems of the document, one a line.
    pub fn new(definition: &'static dyn Definition, document: &str) -> Result<Self, String> {
        Self::chain(&[definition], document)
    }

    /// Builds the instances of several plugins in `document`; the plugins are given by descending priority.
    ///
    /// # Errors
    /// The problems of the document, one a line.
    pub fn chain(definitions: &[&'static dyn Definition], document: &str) -> Result<Self, String> {
        Self::chain_beside(Path::new(":memory:"), definitions, document)
    }

    /// The same with one global instance configured by `config`, which is YAML or JSON in flow style (`{...}`).
    ///
    /// # Errors
    /// The problems of the document, one a line.
    pub fn global(definition: &'static dyn Definition, config: &str) -> Result<Self, String> {
        let name = definition.name();
        Self::new(
            definition,
            &format!("_format_version: \"3.0\"\nplugins:\n- name: {name}\n  config: {config}\n"),
        )
    }

    /// Replaces the configuration as a reload does: services are kept.
    ///
    /// # Errors
    /// The problems of the document, one a line; the old instances stay.
    pub fn reload(&mut self, document: &str) -> Result<(), String> {
        let catalog = Catalog {
            plugins: self.definitions.iter().map(|definition| definition.schema()).collect(),
            entities: self.definitions.iter().flat_map(|definition| definition.entities()).collect(),
        };
        let config = model::declarative::load("kong.yml", document, &catalog).map_err(|problems| {
            problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n")
        })?;
        self.routes = matched_routes(&config);
        self.instances = self.build(&config)?;
        self.services.sweep();
        Ok(())
    }

    fn build(&self, config: &Config) -> Result<Vec<Instance>, String> {
        let shared = Shared::default();
        let mut instances = Vec::new();
        for definition in &self.definitions {
            for row in config.plugins.iter().filter(|row| row.name == definition.name()) {
                let cx =
                    Build { config, row, routes: &self.routes, services: &self.services, shared: &shared };
                let room = definition.build(row, &cx).map_err(|error| error.to_string())?;
                instances.push(Instance { runs: definition.runs(), room });
            }
        }
        for detour in shared.known::<Detours>().map_or_else(Vec::new, |detours| detours.list()) {
            let (unreachable, name) = (self.unreachable.clone(), detour.name().to_owned());
            detour.report_reachable(move || {
                !unreachable.lock().unwrap_or_else(PoisonError::into_inner).contains(&name)
            });
        }
        Ok(instances)
    }

    /// Has trailers with these names follow the bodies of requests.
    #[must_use]
    pub fn trailing(mut self, names: &[&str]) -> Self {
        for name in names {
            self.trailers.append(name, b"of the client");
        }
        self
    }

    /// Lets time pass as it does outside, for rooms that wait for real servers. The clock that rooms see stands still.
    ///
    /// # Panics
    /// If there is no runtime to be had.
    #[must_use]
    pub fn in_real_time(mut self) -> Self {
        self.runtime = Builder::new_current_thread().enable_all().build().expect("there is a runtime");
        self
    }
}

fn matched_routes(config: &Config) -> Vec<Arc<Matched>> {
    let matched = |(ordinal, route): (usize, &Arc<model::entity::Route>)| {
        let service = route.service.and_then(|reference| config.service(reference.0)).cloned();
        Arc::new(Matched {
            route: route.clone(),
            service_json: service.as_ref().map(|service| Arc::from(format!("{{\"id\":\"{}\"}}", service.id))),
            service,
            ordinal,
            route_json: Box::from(format!("{{\"id\":\"{}\"}}", route.id)),
        })
    };
    config.routes.iter().enumerate().map(matched).collect()
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().start_paused(true).build()
}
