#![doc = include_str!("doc.md")]

use std::sync::Arc;

use plugin::admin::Endpoint;
use plugin::cohort::{self, Key};
use plugin::{Access, Build, BuildError, Detour, Exchange, Flow, Log, Phase, Phases, Plugin, Scopes, record};

use automatic::{Automatic, PARTS, Release, Rules, Side};
use groups::Groups;
use schedule::Schedule;

mod automatic;
mod groups;
mod schedule;
#[cfg(test)]
mod tests;

record! {
    /// Sends part of the traffic of a service to another release of it.
    pub struct Config {
        /// Has the canary find its share itself, step by step, by comparing it with the service. Takes the place of
        /// `percentage` and the schedule. Kong has no such thing.
        automatic: Option<Automatic>, [extension()];
        /// Name of a request header by which clients choose for themselves: `always` takes the canary, `never` does not,
        /// anything else leaves it to the other fields.
        canary_by_header_name: Option<String>, [header_name()];
        /// Seconds in which the share grows from nothing to everything. For a schedule, that is without `percentage`.
        duration: f64 = 3600;
        /// Groups that `hash: allow` lets in and `hash: deny` keeps out: names in `acls` or of consumer groups, or what an
        /// authentication plugin vouches for.
        groups: Option<Vec<String>>;
        /// What decides who is in: the `consumer` (the client's address where there is none), the address (`ip`), a
        /// `header` (the address where it is absent), chance for each request (`none`), or the caller's groups: those of
        /// `groups` only (`allow`), or all but them (`deny`).
        hash: String = "consumer", [one_of(&["consumer", "ip", "none", "allow", "deny", "header"])];
        /// Name of the request header that `hash: header` goes by.
        hash_header: Option<String>, [header_name()];
        /// The share of the traffic in percent, for as long as it stands here. Takes the place of the schedule.
        percentage: Option<f64>, [between(0, 100)];
        /// When the schedule begins, seconds since 1970. Without it, it begins when this gateway first loads the plugin,
        /// and once more after each restart.
        start: Option<f64>;
        /// In how many steps the share grows. A percentage, too, is rounded down to one of them.
        steps: f64 = 1000, [between(1, 1_000_000_000)];
        /// Whether requests stay with the service while the canary has no target that could be asked.
        upstream_fallback: bool = false;
        /// Host or upstream of the canary. The service's own if it is not given.
        upstream_host: Option<String>, [host()];
        /// Port of the canary. The service's own if it is not given; targets of an upstream have their own.
        upstream_port: Option<u16>, [between(0, 65535)];
        /// Path to ask the canary for, in place of the whole path of the request. The query stays.
        upstream_uri: Option<String>, [len_min(1)];
    }
    checks: [at_least_one_of(&["upstream_host", "upstream_port", "upstream_uri"])]
}

/// The room, ready to run.
pub struct Canary {
    chosen_by: Option<String>,
    members: Members,
    detour: Option<Detour>,
    fallback: bool,
    path: Option<String>,
}

/// Remembered of a request that an automatic canary has sent to the service: nothing but that.
struct WithService;
/// And of one that went to the canary.
struct WithCanary;

/// Who goes to the canary.
enum Members {
    /// Whoever is in the first parts of the traffic, as many as the schedule says.
    Share {
        key: Key,
        steps: u64,
        schedule: Schedule,
        /// Held for the next configuration, which goes on with it.
        _begun: Option<Arc<Begun>>,
    },
    /// Whoever is in the first parts, as many as the release has come to.
    Automatic { key: Key, release: Arc<Release>, rules: Arc<Rules> },
    /// Members of the groups, or everybody else.
    Groups { groups: Arc<Groups>, listed: Vec<Box<str>>, inside: bool },
}

impl Plugin for Canary {
    const NAME: &'static str = "canary";
    const PRIORITY: i64 = 20;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::Log];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] = automatic::admin::ENDPOINTS;

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        check_place(&config)?;
        let members = members(&config, cx)?;
        let elsewhere = config.upstream_host.is_some() || config.upstream_port.is_some();
        let detour = elsewhere
            .then(|| {
                let host = config.upstream_host.as_deref();
                cx.detour_to_host("config.upstream_host", host, config.upstream_port)
            })
            .transpose()?;
        Ok(Self {
            chosen_by: config.canary_by_header_name,
            members,
            detour,
            fallback: config.upstream_fallback,
            path: config.upstream_uri,
        })
    }
}

fn check_place(config: &Config) -> Result<(), BuildError> {
    if config.upstream_port == Some(0) {
        return Err(BuildError::new("config.upstream_port", "nobody listens at port 0; give another one"));
    }
    if config.upstream_uri.as_deref().is_some_and(|path| !path.starts_with('/')) {
        return Err(BuildError::new("config.upstream_uri", "a path begins with '/'"));
    }
    if config.upstream_fallback && config.upstream_host.is_none() {
        let message = "needs upstream_host: without it, the canary is at the service's own targets";
        return Err(BuildError::new("config.upstream_fallback", message));
    }
    Ok(())
}

fn members(config: &Config, cx: &Build<'_>) -> Result<Members, BuildError> {
    if let "allow" | "deny" = config.hash.as_str() {
        return by_group(config, cx);
    }
    let key = key(config)?;
    if let Some(automatic) = &config.automatic {
        check_only_automatic(config)?;
        let (release, rules) = Release::of(automatic, &place(config), cx)?;
        return Ok(Members::Automatic { key, release, rules });
    }
    let (schedule, begun) = schedule(config, cx);
    Ok(Members::Share { key, steps: config.steps as u64, schedule, _begun: begun })
}

fn by_group(config: &Config, cx: &Build<'_>) -> Result<Members, BuildError> {
    let listed: Vec<Box<str>> = config.groups.iter().flatten().map(|group| group.as_str().into()).collect();
    if listed.is_empty() {
        let message = format!("hash: {} needs groups; name at least one", config.hash);
        return Err(BuildError::new("config.groups", message));
    }
    if config.automatic.is_some() {
        let message = format!("hash: {} knows no share that could grow; give another hash", config.hash);
        return Err(BuildError::new("config.automatic", message));
    }
    let groups = cx.shared(Groups::new)?;
    Ok(Members::Groups { groups, listed, inside: config.hash == "allow" })
}

fn key(config: &Config) -> Result<Key, BuildError> {
    Ok(match config.hash.as_str() {
        "header" => match &config.hash_header {
            Some(name) => Key::Header(name.as_str().into()),
            None => {
                return Err(BuildError::new("config.hash_header", "hash: header needs the name of a header"));
            }
        },
        "ip" => Key::Ip,
        "none" => Key::Nothing,
        _ => Key::Consumer,
    })
}

fn check_only_automatic(config: &Config) -> Result<(), BuildError> {
    for (field, given) in [("percentage", config.percentage), ("start", config.start)] {
        if given.is_some() {
            let message = "automatic finds the share by itself; give one of the two";
            return Err(BuildError::new(format!("config.{field}"), message));
        }
    }
    Ok(())
}

/// Where the canary is, as a text that is another one for another place.
fn place(config: &Config) -> String {
    let port = config.upstream_port.map(|port| port.to_string()).unwrap_or_default();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    format!("{}:{port}{}", text(&config.upstream_host), text(&config.upstream_uri))
}

/// When the schedule of a plugin began that names no `start`.
struct Begun(u64);

fn schedule(config: &Config, cx: &Build<'_>) -> (Schedule, Option<Arc<Begun>>) {
    let steps = config.steps.floor();
    if let Some(percentage) = config.percentage {
        return (Schedule::Fixed { parts: (percentage * steps / 100.0).floor() }, None);
    }
    let begun = config.start.is_none().then(|| {
        let key = format!("{}:{}", Canary::NAME, cx.row.id);
        cx.services.keep(&key, || Begun(cx.services.clock.now_ms()))
    });
    let start_ms = config.start.map(|start| start * 1000.0);
    let start_ms = start_ms.or_else(|| begun.as_ref().map(|begun| begun.0 as f64)).unwrap_or_default();
    (Schedule::Growing { start_ms, duration_ms: config.duration * 1000.0, steps }, begun)
}

impl Phases for Canary {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        // It is a release of the route's own service. Another one is not asked there, a breaker's fallback say.
        if cx.detour.as_ref().is_some_and(|detour| detour.service().is_some()) {
            return Flow::Next;
        }
        let wish = self.wish(cx);
        let chosen = wish.unwrap_or_else(|| self.is_member(cx));
        let sent = chosen && self.send(cx);
        // Those who chose for themselves, and those who could not be sent, say nothing about their side.
        if matches!(self.members, Members::Automatic { .. }) && wish.is_none() && sent == chosen {
            if sent {
                cx.remember(WithCanary);
            } else {
                cx.remember(WithService);
            }
        }
        Flow::Next
    }

    fn log(&self, cx: &Log<'_>) {
        let Members::Automatic { release, rules, .. } = &self.members else { return };
        if cx.state::<WithCanary>().is_some() {
            release.count(Side::Canary, cx, rules);
        } else if cx.state::<WithService>().is_some() {
            release.count(Side::Service, cx, rules);
        }
    }
}

impl Canary {
    /// What the client has chosen.
    fn wish(&self, exchange: &Exchange) -> Option<bool> {
        match exchange.request.headers.get(self.chosen_by.as_ref()?)? {
            b"always" => Some(true),
            b"never" => Some(false),
            _ => None,
        }
    }

    fn is_member(&self, exchange: &Exchange) -> bool {
        match &self.members {
            Members::Share { key, steps, schedule, .. } => {
                let parts = schedule.parts(exchange.worker.services.clock.now_ms());
                (cohort::part(key.place(exchange, ""), *steps) as f64) < parts
            }
            Members::Automatic { key, release, rules } => {
                cohort::part(key.place(exchange, ""), PARTS) < release.share(rules)
            }
            Members::Groups { groups, listed, inside } => groups.has_any(exchange, listed) == *inside,
        }
    }

    /// Sends the request to the canary. False, and nothing happens, if nobody there could be asked.
    fn send(&self, cx: &mut Access<'_>) -> bool {
        if let Some(detour) = &self.detour {
            if self.fallback && !detour.is_reachable() {
                return false;
            }
            cx.send_to(detour);
        }
        if let Some(path) = &self.path {
            cx.set_upstream_path(path.as_bytes());
        }
        true
    }
}
