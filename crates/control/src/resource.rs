//! The map of all paths: what each listener offers, which methods, and who answers.

use model::{Config, EntitySchema};
use plugin::admin::{self, Endpoint};

use crate::call::{Call, Door};
use crate::reply::Reply;
use crate::{Control, entities, health, load, node, schemas, tags};

/// A path that is offered.
struct Resource<'c> {
    /// The methods offered besides `HEAD` and `OPTIONS`.
    methods: Vec<&'static str>,
    answer: Box<dyn FnOnce() -> Reply + 'c>,
}

/// Answers a call.
pub fn answer(call: &Call) -> Reply {
    let config = call.control.source.config();
    let Some(resource) = resource(call, &config) else { return Reply::not_found() };
    if call.method == "OPTIONS" {
        return options(&resource.methods);
    }
    if !resource.methods.contains(&call.method.as_str()) {
        return Reply::message(405, "Method not allowed").with("Allow", allow(&resource.methods));
    }
    (resource.answer)()
}

fn resource<'c>(call: &'c Call, config: &'c Config) -> Option<Resource<'c>> {
    let path = call.path();
    let of_status = match path.as_slice() {
        ["status"] => Some(get(|| node::status(call, config))),
        ["status", "ready"] => Some(get(|| node::ready(&call.control))),
        ["upstreams", upstream, "health"] => {
            let upstream = (*upstream).to_owned();
            Some(get(move || health::of_upstream(call, config, &upstream)))
        }
        _ => None,
    };
    of_status
        .or_else(|| of_room(call))
        .or_else(|| if call.door == Door::Admin { of_admin(call, config) } else { None })
}

fn of_admin<'c>(call: &'c Call, config: &'c Config) -> Option<Resource<'c>> {
    let segments = &call.segments;
    Some(match call.path().as_slice() {
        [] => get(|| node::root(&call.control, config)),
        ["endpoints"] => get(|| Reply::ok(&serde_json::json!({ "data": endpoints(&call.control, config) }))),
        ["config"] if call.method == "POST" => {
            Resource { methods: vec!["GET", "POST"], answer: Box::new(|| load::load(call, config)) }
        }
        ["config"] => {
            Resource { methods: vec!["GET", "POST"], answer: Box::new(|| load::show(call, config)) }
        }
        ["plugins", "enabled"] => get(|| node::enabled_plugins(&call.control)),
        ["tags"] => get(|| tags::list(call, config, None)),
        ["tags", _] => get(|| tags::list(call, config, Some(&segments[1]))),
        ["schemas", "plugins", "validate"] => post(|| schemas::validate_plugin(call, config)),
        ["schemas", "plugins", _] => get(|| schemas::plugin(&call.control, &segments[2])),
        ["schemas", _, "validate"] => post(|| schemas::validate(call, config, &segments[1])),
        ["schemas", _] => get(|| schemas::entity(config, &segments[1])),
        ["upstreams", upstream, "targets", target, rest @ ..] if !rest.is_empty() => {
            let (address, healthy) = match rest {
                [state] => (None, health::named(state)?),
                [address, state] => (Some((*address).to_owned()), health::named(state)?),
                _ => return None,
            };
            let (upstream, target) = ((*upstream).to_owned(), (*target).to_owned());
            let set = move || health::set(call, config, (&upstream, &target, address.as_deref()), healthy);
            Resource { methods: vec!["POST", "PUT"], answer: Box::new(set) }
        }
        _ => of_entities(call, config)?,
    })
}

fn of_entities<'c>(call: &'c Call, config: &'c Config) -> Option<Resource<'c>> {
    let found = entities::resolve(config, &call.path())?;
    let methods = found.methods();
    Some(Resource { methods, answer: Box::new(move || entities::answer(call, config, &found)) })
}

fn of_room(call: &Call) -> Option<Resource<'_>> {
    let offered = call
        .control
        .definitions
        .iter()
        .flat_map(|definition| definition.endpoints())
        .filter(|endpoint| call.door == Door::Admin || endpoint.on_status_listener);
    let path = call.path();
    let matching: Vec<(&Endpoint, Vec<&str>)> =
        offered.filter_map(|endpoint| Some((endpoint, parameters(endpoint.path, &path)?))).collect();
    if matching.is_empty() {
        return None;
    }
    let methods = matching.iter().map(|(endpoint, _)| endpoint.method).collect();
    let answer = move || {
        let chosen = matching.into_iter().find(|(endpoint, _)| endpoint.method == call.method);
        let Some((endpoint, parameters)) = chosen else { return Reply::not_found() };
        let services = &call.control.services;
        let room_call = admin::Call { parameters: &parameters, query: call.query.as_deref(), services };
        Reply::from((endpoint.handle)(&room_call))
    };
    Some(Resource { methods, answer: Box::new(answer) })
}

/// The values of a pattern's parameters, if the path has its form.
fn parameters<'p>(pattern: &str, path: &[&'p str]) -> Option<Vec<&'p str>> {
    let mut found = Vec::new();
    let mut given = path.iter();
    for expected in pattern.trim_start_matches('/').split('/') {
        let given = given.next()?;
        if expected.starts_with('{') {
            found.push(*given);
        } else if expected != *given {
            return None;
        }
    }
    given.next().is_none().then_some(found)
}

fn get<'c>(answer: impl FnOnce() -> Reply + 'c) -> Resource<'c> {
    Resource { methods: vec!["GET"], answer: Box::new(answer) }
}

fn post<'c>(answer: impl FnOnce() -> Reply + 'c) -> Resource<'c> {
    Resource { methods: vec!["POST"], answer: Box::new(answer) }
}

fn allow(methods: &[&'static str]) -> String {
    let mut all: Vec<&str> = methods.iter().copied().chain(["OPTIONS"]).collect();
    if methods.contains(&"GET") {
        all.push("HEAD");
    }
    all.sort_unstable();
    all.dedup();
    all.join(", ")
}

fn options(methods: &[&'static str]) -> Reply {
    let allow = allow(methods);
    Reply::empty(204)
        .with("Allow", allow.clone())
        .with("Access-Control-Allow-Methods", allow)
        .with("Access-Control-Allow-Headers", "Content-Type".to_owned())
}

const FIXED: [&str; 18] = [
    "/",
    "/config",
    "/endpoints",
    "/plugins/enabled",
    "/schemas/plugins/validate",
    "/schemas/plugins/{name}",
    "/schemas/{name}",
    "/schemas/{name}/validate",
    "/status",
    "/status/ready",
    "/tags",
    "/tags/{tags}",
    "/upstreams/{upstreams}/health",
    "/upstreams/{upstreams}/targets/all",
    "/upstreams/{upstreams}/targets/{targets}/healthy",
    "/upstreams/{upstreams}/targets/{targets}/unhealthy",
    "/upstreams/{upstreams}/targets/{targets}/{address}/healthy",
    "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy",
];

/// Every path of the Admin API, a folder before what is in it.
fn endpoints(control: &Control, config: &Config) -> Vec<String> {
    let mut paths: Vec<String> = FIXED.iter().map(|path| (*path).to_owned()).collect();
    let rooms = control.definitions.iter().flat_map(|definition| definition.endpoints());
    paths.extend(rooms.map(|endpoint| endpoint.path.to_owned()));
    let schemas: Vec<&EntitySchema> = config.schemas().collect();
    for schema in &schemas {
        paths.extend(entities::paths(schema, &schemas));
    }
    paths.sort_by_key(|path| path.replace('/', "\0"));
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_segments() {
        assert_eq!(parameters("/proxy-cache/{key}", &["proxy-cache", "k"]), Some(vec!["k"]));
        assert_eq!(parameters("/metrics", &["metrics"]), Some(vec![]));
        assert_eq!(parameters("/proxy-cache/{key}", &["proxy-cache"]), None);
        assert_eq!(parameters("/proxy-cache", &["proxy-cache", "k"]), None);
    }
}
