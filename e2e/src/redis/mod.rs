//! What gateways share by Redis, with real servers and the real binary: that several gateways admit exactly the limit, that
//! a token of one is a token of all and none is given out twice, that guesses at one are guesses at all, what happens while Redis stalls or is dead, and that TLS,
//! users, sentinels and clusters are understood.

mod exactness;
mod guessing;
mod outages;
mod responses;
mod samples;
pub(crate) mod server;
mod tokens;
mod topologies;

use crate::client::Connection;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::{Settings, Target};
use server::Folder;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A story; the error is a report for people.
type Story = (&'static str, fn(&Lab) -> Result<(), String>);

const STORIES: &[Story] = &[
    ("three-gateways-and-fifty-clients", exactness::three_gateways_and_fifty_clients),
    ("counts-told-in-intervals", exactness::counts_told_in_intervals),
    ("counts-told-of-an-ended-window", exactness::counts_told_of_an_ended_window),
    ("a-clock-set-back", exactness::a_clock_set_back),
    ("what-is-left", exactness::what_is_left),
    ("counts-told-over-a-reload", exactness::counts_told_over_a_reload),
    ("what-responses-cost", responses::what_responses_cost),
    ("stalled", outages::stalled),
    ("killed-and-started-anew", outages::killed_and_started_anew),
    ("tls-and-users", topologies::tls_and_users),
    ("sentinels", topologies::sentinels),
    ("cluster", topologies::cluster),
    ("samples", samples::tiers_and_paths),
    ("guesses-of-two-gateways", guessing::of_two_gateways),
    ("tokens-of-two-gateways", tokens::of_two_gateways),
    ("tokens-asked-for-at-once", tokens::asked_for_at_once),
    ("tokens-without-redis", tokens::without_redis),
    ("tokens-in-a-cluster", tokens::in_a_cluster),
    ("tokens-by-a-unix-socket", tokens::by_a_unix_socket),
];

/// The names of all stories.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    STORIES.iter().map(|(name, _)| *name)
}

/// Runs the story that `path` names.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let (_, story) = STORIES.iter().find(|(name, _)| path.ends_with(name)).ok_or("no such story")?;
    story(&Lab { settings, folder: Folder::make(&settings.scratch)? })
}

/// What stories are made in.
struct Lab<'a> {
    settings: &'a Settings,
    folder: Folder,
}

impl Lab<'_> {
    fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// A gateway with a route `/NAME` for each of `limits`, which is the plugin that limits it. What is admitted is
    /// answered 200 by the gateway itself.
    fn gateway(&self, limits: &[(&str, &str)], env: &[(&str, &str)]) -> Result<Gateway, String> {
        let mut text = "_format_version: \"3.0\"\nplugins:\n- name: prometheus\nroutes:\n".to_owned();
        for (name, plugin) in limits {
            text += &format!(
                "- name: {name}\n  paths: [/{name}]\n  plugins:\n  - {{name: request-termination, config: {{status_code: 200}}}}\n  - {plugin}\n"
            );
        }
        self.start("kong.yml", &text, env)
    }

    /// A gateway with the configuration `text`, in a file called `name`.
    fn start(&self, name: &str, text: &str, env: &[(&str, &str)]) -> Result<Gateway, String> {
        let Target::Binary(binary) = &self.settings.target else { return Err("needs a binary".to_owned()) };
        let file = self.folder().join(name);
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let env: BTreeMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Gateway::start(binary, &file, &[], &env)
            .map_err(|failed| format!("the gateway did not start:\n{}", failed.output))
    }
}

/// A client with a connection of its own.
struct Client(Connection);

impl Client {
    fn of(gateway: &Gateway) -> Result<Self, String> {
        Self::at(gateway.addresses.proxy)
    }

    fn at(address: SocketAddr) -> Result<Self, String> {
        Ok(Self(Connection::open(address, None).map_err(|error| format!("connecting: {error}"))?))
    }

    fn get(&mut self, path: &str) -> Result<u16, String> {
        self.get_as(path, "-")
    }

    /// Asks as a tenant: the value of a request field.
    fn get_as(&mut self, path: &str, tenant: &str) -> Result<u16, String> {
        Ok(self.ask(path, &format!("X-Tenant: {tenant}"))?.status())
    }

    /// Asks with a further line in the head.
    fn ask(&mut self, path: &str, line: &str) -> Result<Message, String> {
        self.exchange("GET", path, &format!("{line}\r\n\r\n"))
    }

    /// Sends a method without a body.
    fn send(&mut self, method: &str, path: &str) -> Result<Message, String> {
        self.exchange(method, path, "X-Tenant: -\r\n\r\n")
    }

    /// Sends a form over what counts as TLS.
    fn post(&mut self, path: &str, form: &str) -> Result<Message, String> {
        let lines = "X-Forwarded-Proto: https\r\nContent-Type: application/x-www-form-urlencoded";
        self.exchange("POST", path, &format!("{lines}\r\nContent-Length: {}\r\n\r\n{form}", form.len()))
    }

    /// Sends a request with what follows its `Host`.
    fn exchange(&mut self, method: &str, path: &str, rest: &str) -> Result<Message, String> {
        self.0.send(format!("{method} /{path} HTTP/1.1\r\nHost: limits\r\n{rest}").as_bytes());
        match self.0.answer(method) {
            Ok(Some(reply)) => Ok(reply.message),
            Ok(None) => Err(format!("/{path} was not answered: the connection is closed")),
            Err(error) => Err(format!("/{path} was not answered: {error}")),
        }
    }

    fn statuses(&mut self, path: &str, count: usize) -> Result<Vec<u16>, String> {
        (0..count).map(|_| self.get(path)).collect()
    }
}

/// Tries again until it succeeds.
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = Instant::now() + crate::PATIENCE;
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => thread::park_timeout(BETWEEN_TRIES),
            outcome => return outcome,
        }
    }
}

pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    let both = (found, wanted);
    if both.0 == both.1 { Ok(()) } else { Err(format!("{what}: {:?}, expected {:?}", both.0, both.1)) }
}

/// Tells what the gateway wrote if a story fails.
pub(crate) fn told(gateway: &Gateway, outcome: Result<(), String>) -> Result<(), String> {
    outcome.map_err(|problem| format!("{problem}\nthe gateway wrote:\n{}", gateway.output()))
}
