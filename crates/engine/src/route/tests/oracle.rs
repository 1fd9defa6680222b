//! The rules of kong.md 3.1 read literally: all sub-routes in one list, tried one after the other.

use model::Uuid;
use model::entity::Route;
use plugin::exchange::Captures;
use regex::bytes::Regex;

use super::{Found, Request};

pub(super) struct Oracle<'a> {
    subroutes: Vec<Subroute<'a>>,
}

struct Subroute<'a> {
    priority: u64,
    id: Uuid,
    ordinal: usize,
    route: &'a Route,
    plain: Vec<&'a str>,
    regexes: Vec<Regex>,
    headers: Vec<(String, Vec<HeaderValue>)>,
}

/// What a header value must be, lower-case.
enum HeaderValue {
    Plain(String),
    Regex(Regex),
}

impl<'a> Oracle<'a> {
    pub fn new(routes: &'a [Route]) -> Oracle<'a> {
        let mut subroutes: Vec<_> =
            routes.iter().enumerate().flat_map(|(ordinal, route)| split(ordinal, route)).collect();
        subroutes.sort_by_key(|subroute| std::cmp::Reverse((subroute.priority, subroute.id)));
        Oracle { subroutes }
    }

    pub fn find(&self, request: &Request, captures: &mut Captures) -> Option<Found> {
        captures.clear();
        self.subroutes.iter().find_map(|subroute| subroute.find(request, captures))
    }
}

fn split(ordinal: usize, route: &Route) -> Vec<Subroute<'_>> {
    let paths = route.paths.clone().unwrap_or_default();
    let mut groups: Vec<String> = paths.iter().map(|path| group(path)).collect();
    groups.sort();
    groups.dedup();
    if paths.is_empty() {
        groups.push(String::new());
    }
    let members = |wanted: &str| {
        let all = route.paths.iter().flatten().map(String::as_str);
        all.filter(|path| group(path) == wanted).collect::<Vec<_>>()
    };
    let namespace = Uuid::parse_str("7f145bf9-0dce-4f91-98eb-debbce4b9f6b").unwrap();
    let subroute = |group: String| {
        let (regexes, plain): (Vec<_>, Vec<_>) =
            members(&group).into_iter().partition(|path| path.starts_with('~'));
        let name = format!("{}#{group}", route.id);
        Subroute {
            priority: priority(route, plain.first().copied(), !regexes.is_empty()),
            id: if paths.len() > 1 { Uuid::new_v5(&namespace, name.as_bytes()) } else { route.id },
            ordinal,
            route,
            plain,
            headers: headers(route),
            regexes: regexes
                .iter()
                .map(|path| Regex::new(&format!("^(?:{})", &path[1..])).unwrap())
                .collect(),
        }
    };
    groups.into_iter().map(subroute).collect()
}

fn headers(route: &Route) -> Vec<(String, Vec<HeaderValue>)> {
    let value = |value: &String| match value.strip_prefix("~*") {
        Some(pattern) => HeaderValue::Regex(Regex::new(pattern).unwrap()),
        None => HeaderValue::Plain(value.to_lowercase()),
    };
    let all = route.headers.iter().flat_map(|headers| headers.iter());
    all.map(|(name, values)| (fold(name), values.iter().map(value).collect())).collect()
}

fn fold(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

fn group(path: &str) -> String {
    if path.starts_with('~') { "true".to_owned() } else { path.len().to_string() }
}

fn priority(route: &Route, plain: Option<&str>, regex: bool) -> u64 {
    let count = |present: bool| u64::from(present) << 61;
    let headers = route.headers.as_ref().map_or(0, |headers| headers.len() as u64);
    let mut priority = count(route.methods.as_ref().is_some_and(|methods| !methods.is_empty()))
        + count(route.snis.as_ref().is_some_and(|snis| !snis.is_empty()))
        + count(headers > 0)
        + count(plain.is_some() || regex);
    if let Some(hosts) = route.hosts.as_ref().filter(|hosts| !hosts.is_empty()) {
        priority += count(true);
        priority |= u64::from(!hosts.iter().any(|host| host.contains('*'))) << 60;
    }
    priority |= headers.min(255) << 52;
    if regex {
        priority |= 1 << 51 | u64::try_from(route.regex_priority).unwrap() << 19;
    }
    priority | plain.map_or(0, str::len) as u64
}

impl Subroute<'_> {
    fn find(&self, request: &Request, captures: &mut Captures) -> Option<Found> {
        let fits = self.methods_fit(request)
            && self.hosts_fit(request)
            && self.headers_fit(request)
            && self.snis_fit(request);
        if !fits {
            return None;
        }
        let found = |matched_len, by_path| Some(Found { ordinal: self.ordinal, matched_len, by_path });
        if self.plain.is_empty() && self.regexes.is_empty() {
            return found(0, false);
        }
        if let Some(prefix) = self.plain.iter().find(|prefix| request.path.starts_with(**prefix)) {
            return found(prefix.len(), true);
        }
        let matching = self.regexes.iter().find_map(|regex| regex.captures(request.path.as_bytes()))?;
        captures.text.extend_from_slice(request.path.as_bytes());
        captures.groups.extend(matching.iter().map(|group| group.map(|group| group.range())));
        found(matching.get(0)?.end(), true)
    }

    fn methods_fit(&self, request: &Request) -> bool {
        let methods = self.route.methods.as_ref().filter(|methods| !methods.is_empty());
        methods.is_none_or(|methods| methods.iter().any(|method| method == request.method))
    }

    fn hosts_fit(&self, request: &Request) -> bool {
        let Some(hosts) = self.route.hosts.as_ref().filter(|hosts| !hosts.is_empty()) else { return true };
        let Some(host) = &request.host else { return false };
        let (name, port) = host_and_port(host);
        let port = port.unwrap_or(request.listen_port);
        hosts.iter().any(|entry| {
            let (own, own_port) = host_and_port(entry);
            name_fits(&own, &name) && own_port.is_none_or(|own| own == port)
        })
    }

    fn headers_fit(&self, request: &Request) -> bool {
        self.headers.iter().all(|(name, values)| {
            let sent = request.headers.iter().filter(|(sent, _)| fold(sent) == *name);
            sent.map(|(_, value)| value.to_lowercase()).any(|sent| {
                values.iter().any(|value| match value {
                    HeaderValue::Regex(regex) => regex.is_match(sent.as_bytes()),
                    HeaderValue::Plain(plain) => *plain == sent,
                })
            })
        })
    }

    fn snis_fit(&self, request: &Request) -> bool {
        let Some(snis) = self.route.snis.as_ref().filter(|snis| !snis.is_empty()) else { return true };
        let asked = request.sni.as_deref().map(str::to_lowercase);
        !request.https
            || asked.is_some_and(|asked| {
                snis.iter().any(|own| name_fits(own.to_lowercase().trim_end_matches('.'), &asked))
            })
    }
}

fn host_and_port(text: &str) -> (String, Option<u16>) {
    match text.rsplit_once(':') {
        Some((name, port)) => (name.to_lowercase(), port.parse().ok()),
        None => (text.to_lowercase(), None),
    }
}

fn name_fits(own: &str, asked: &str) -> bool {
    match (own.strip_prefix('*'), own.strip_suffix('*')) {
        (Some(suffix), _) => asked.ends_with(suffix),
        (_, Some(prefix)) => asked.starts_with(prefix),
        _ => own == asked,
    }
}
