//! Splitting a route into sub-routes, each with one priority.

use std::sync::Arc;

use model::entity::Route;

use super::Lookup;
use super::condition::{Conditions, given};
use super::host::HostEntry;
use super::pattern::{PathPattern, Pattern, keep_shortest};
use super::rank::{Rank, split_id};

/// What is tested when the index has led to a sub-route: its host has matched, and so has its prefix if it has one.
pub(super) struct Rule {
    pub ordinal: usize,
    pub conditions: Option<Arc<Conditions>>,
    pub path: PathRule,
}

/// What a sub-route asks of the path.
pub(super) enum PathRule {
    /// Nothing.
    Any,
    /// To begin with one of several texts of this length.
    Prefix(usize),
    /// To match one of these from its first byte on.
    Patterns(Box<[Pattern]>),
}

/// A sub-route on its way into the index.
pub(super) struct Draft {
    pub rank: Rank,
    /// Empty when any host will do.
    pub hosts: Arc<[HostEntry]>,
    /// A path that matches begins with at least one of these.
    pub prefixes: Vec<Vec<u8>>,
    pub rule: Rule,
}

impl Rule {
    /// Whether all but host and path is as asked for.
    pub fn conditions_hold(&self, lookup: &Lookup<'_>) -> bool {
        self.conditions.as_ref().is_none_or(|conditions| conditions.hold(lookup))
    }
}

/// Splits a route: one sub-route per length among its prefixes, and one for all its regular expressions.
pub(super) fn split(ordinal: usize, route: &Route, drafts: &mut Vec<Draft>) -> Result<(), String> {
    let hosts: Arc<[_]> = route.hosts.iter().flatten().map(|host| HostEntry::new(host.as_bytes())).collect();
    let conditions = Conditions::new(route)?.map(Arc::new);
    let rank = base_rank(route);
    let mut push = |rank: Rank, prefixes: Vec<Vec<u8>>, path: PathRule| {
        let rule = Rule { ordinal, conditions: conditions.clone(), path };
        drafts.push(Draft { rank, hosts: Arc::clone(&hosts), prefixes, rule });
    };
    let paths = route.paths.as_deref().unwrap_or_default();
    if paths.is_empty() {
        push(rank, vec![Vec::new()], PathRule::Any);
        return Ok(());
    }
    let identity = |group: &str| if paths.len() == 1 { route.id } else { split_id(route.id, group) };
    let (patterns, mut plain): (Vec<&str>, Vec<&str>) =
        paths.iter().map(String::as_str).partition(|path| path.starts_with('~'));
    if !patterns.is_empty() {
        let (prefixes, path) = pattern_rule(&patterns)?;
        let regex_priority = route.regex_priority;
        push(Rank { regex: true, regex_priority, id: identity("true"), ..rank.clone() }, prefixes, path);
    }
    plain.sort_by_key(|path| path.len());
    for group in plain.chunk_by(|one, other| one.len() == other.len()) {
        let length = group[0].len();
        let rank = Rank { length: Rank::length(length), id: identity(&length.to_string()), ..rank.clone() };
        let prefixes = group.iter().map(|path| path.as_bytes().to_vec()).collect();
        push(rank, prefixes, PathRule::Prefix(length));
    }
    Ok(())
}

/// What all sub-routes of a route have in common.
fn base_rank(route: &Route) -> Rank {
    let hosts = given(route.hosts.as_deref());
    let headers = route.headers.as_deref().map_or(0, <[_]>::len);
    let fields = [
        given(route.methods.as_deref()).is_some(),
        hosts.is_some(),
        headers > 0,
        given(route.snis.as_deref()).is_some(),
        given(route.paths.as_deref()).is_some(),
    ];
    Rank {
        fields: fields.into_iter().map(u8::from).sum(),
        plain_hosts: hosts.is_some_and(|hosts| hosts.iter().all(|host| !host.contains('*'))),
        headers: u8::try_from(headers).unwrap_or(u8::MAX),
        regex: false,
        regex_priority: 0,
        length: 0,
        id: route.id,
    }
}

fn pattern_rule(paths: &[&str]) -> Result<(Vec<Vec<u8>>, PathRule), String> {
    let mut prefixes = Vec::new();
    let mut patterns = Vec::with_capacity(paths.len());
    for path in paths {
        let path = PathPattern::new(path.strip_prefix('~').unwrap_or(path))?;
        prefixes.extend(path.prefixes);
        patterns.push(path.pattern);
    }
    keep_shortest(&mut prefixes);
    Ok((prefixes, PathRule::Patterns(patterns.into())))
}
