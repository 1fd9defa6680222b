//! Splitting a route into sub-routes, each with one priority.

use std::sync::Arc;

use model::entity::Route;

use super::Lookup;
use super::condition::{Conditions, given};
use super::forest::index;
use super::host::HostEntry;
use super::pattern::{Build, PathPattern, Pattern, keep_shortest};
use super::rank::{Rank, split_id};

/// What is tested when the index has led to a sub-route: its host has matched, and so has its prefix if it has one.
/// Small and aligned: among thousands of routes each is one line of the processor's cache away, and no more.
#[repr(align(32))]
pub(super) struct Rule {
    pub ordinal: u32,
    pub conditions: Option<Arc<Conditions>>,
    pub path: PathRule,
}

/// What a sub-route asks of the path.
pub(super) enum PathRule {
    /// Nothing.
    Any,
    /// To begin with one of several texts of this length.
    Prefix(u32),
    /// To match one of these from its first byte on.
    Patterns(Box<Alternatives>),
}

/// Expressions of which one has to match.
pub(super) struct Alternatives(pub Box<[Pattern]>);

// Half a line of the processor's cache.
const _: () = assert!(size_of::<Rule>() == 32);

/// A sub-route on its way into the index.
pub(super) struct Draft {
    pub rank: Rank,
    /// Empty when any host will do.
    pub hosts: Arc<[HostEntry]>,
    /// A path that matches begins with at least one of these.
    pub prefixes: Vec<Vec<u8>>,
    /// By expression: texts that are somewhere in every path it matches.
    pub literals: Vec<Vec<Vec<u8>>>,
    pub rule: Rule,
}

/// How many of a route's paths are regular expressions.
pub(super) fn pattern_count(route: &Route) -> usize {
    route.paths.iter().flatten().filter(|path| path.starts_with('~')).count()
}

impl Rule {
    /// Whether all but host and path is as asked for.
    pub fn conditions_hold(&self, lookup: &Lookup<'_>) -> bool {
        self.conditions.as_ref().is_none_or(|conditions| conditions.hold(lookup))
    }
}

/// Splits a route: one sub-route per length among its prefixes, and one for all its regular expressions.
pub(super) fn split(
    ordinal: usize,
    route: &Route,
    build: Build,
    drafts: &mut Vec<Draft>,
) -> Result<(), String> {
    let hosts: Arc<[_]> = route.hosts.iter().flatten().map(|host| HostEntry::new(host.as_bytes())).collect();
    let conditions = Conditions::new(route)?.map(Arc::new);
    let rank = base_rank(route);
    let mut push = |rank: Rank, paths: Paths| {
        let Paths { prefixes, literals, path } = paths;
        let rule = Rule { ordinal: index(ordinal), conditions: conditions.clone(), path };
        drafts.push(Draft { rank, hosts: Arc::clone(&hosts), prefixes, literals, rule });
    };
    let paths = route.paths.as_deref().unwrap_or_default();
    if paths.is_empty() {
        push(rank, Paths { prefixes: vec![Vec::new()], literals: Vec::new(), path: PathRule::Any });
        return Ok(());
    }
    let identity = |group: &str| if paths.len() == 1 { route.id } else { split_id(route.id, group) };
    let (patterns, mut plain): (Vec<&str>, Vec<&str>) =
        paths.iter().map(String::as_str).partition(|path| path.starts_with('~'));
    if !patterns.is_empty() {
        let regex_priority = route.regex_priority;
        let rank = Rank { regex: true, regex_priority, id: identity("true"), ..rank.clone() };
        push(rank, Paths::of_patterns(&patterns, build)?);
    }
    plain.sort_by_key(|path| path.len());
    for group in plain.chunk_by(|one, other| one.len() == other.len()) {
        let length = group[0].len();
        let id = identity(&length.to_string());
        push(Rank { length: Rank::length(length), id, ..rank.clone() }, Paths::of_prefixes(group, length));
    }
    Ok(())
}

/// The paths of one sub-route.
struct Paths {
    prefixes: Vec<Vec<u8>>,
    literals: Vec<Vec<Vec<u8>>>,
    path: PathRule,
}

impl Paths {
    fn of_prefixes(group: &[&str], length: usize) -> Paths {
        let prefixes = group.iter().map(|path| path.as_bytes().to_vec()).collect();
        Paths { prefixes, literals: Vec::new(), path: PathRule::Prefix(index(length)) }
    }

    fn of_patterns(paths: &[&str], build: Build) -> Result<Paths, String> {
        let (mut prefixes, mut literals, mut patterns) = (Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            let path = PathPattern::new(path.strip_prefix('~').unwrap_or(path), build)?;
            prefixes.extend(path.prefixes);
            literals.push(path.literals);
            patterns.push(path.pattern);
        }
        keep_shortest(&mut prefixes);
        Ok(Paths { prefixes, literals, path: PathRule::Patterns(Box::new(Alternatives(patterns.into()))) })
    }
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
