#![doc = include_str!("doc.md")]

use std::sync::Arc;

use plugin::cohort::{self, Key};
use plugin::{Access, Build, BuildError, Detour, Exchange, Flow, Phase, Phases, Plugin, Scopes, record};

use groups::Groups;
use schedule::Schedule;

mod groups;
mod schedule;
#[cfg(test)]
mod tests;

record! {
    /// Sends part of the traffic of a service to another release of it.
    pub struct Config {
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
    /// Members of the groups, or everybody else.
    Groups { groups: Arc<Groups>, listed: Vec<Box<str>>, inside: bool },
}

impl Plugin for Canary {
    const NAME: &'static str = "canary";
    const PRIORITY: i64 = 20;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");

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
    let key = match config.hash.as_str() {
        "allow" | "deny" => {
            let listed =
                config.groups.iter().flatten().map(|group| group.as_str().into()).collect::<Vec<_>>();
            if listed.is_empty() {
                let message = format!("hash: {} needs groups; name at least one", config.hash);
                return Err(BuildError::new("config.groups", message));
            }
            let groups = cx.shared(Groups::new)?;
            return Ok(Members::Groups { groups, listed, inside: config.hash == "allow" });
        }
        "header" => match &config.hash_header {
            Some(name) => Key::Header(name.as_str().into()),
            None => {
                return Err(BuildError::new("config.hash_header", "hash: header needs the name of a header"));
            }
        },
        "ip" => Key::Ip,
        "none" => Key::Nothing,
        _ => Key::Consumer,
    };
    let (schedule, begun) = schedule(config, cx);
    Ok(Members::Share { key, steps: config.steps as u64, schedule, _begun: begun })
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
        if !self.is_member(cx) {
            return Flow::Next;
        }
        if let Some(detour) = &self.detour {
            if self.fallback && !detour.is_reachable() {
                return Flow::Next;
            }
            cx.send_to(detour);
        }
        if let Some(path) = &self.path {
            cx.set_upstream_path(path.as_bytes());
        }
        Flow::Next
    }
}

impl Canary {
    fn is_member(&self, exchange: &Exchange) -> bool {
        let wish = self.chosen_by.as_ref().and_then(|name| exchange.request.headers.get(name));
        match wish {
            Some(b"always") => return true,
            Some(b"never") => return false,
            _ => {}
        }
        match &self.members {
            Members::Share { key, steps, schedule, .. } => {
                let parts = schedule.parts(exchange.worker.services.clock.now_ms());
                (cohort::part(key.place(exchange, ""), *steps) as f64) < parts
            }
            Members::Groups { groups, listed, inside } => groups.has_any(exchange, listed) == *inside,
        }
    }
}
