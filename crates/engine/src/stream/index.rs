//! The routes of one kind of connection, best first, with an index that leads to the few that may serve one.

use std::hash::Hash;

use ahash::AHashMap;

use super::draft::{Arrival, Draft};
use super::place::{Key, Place, keys};
use crate::route::HostName;

/// Places of routes in the order of their rank.
type Ranks = Vec<u32>;

/// What a list of routes has in common.
#[derive(Debug, PartialEq, Eq, Hash)]
enum End {
    Source(Key),
    Destination(Key),
}

/// Routes of one kind of connection.
#[derive(Default)]
pub struct Index {
    drafts: Vec<Draft>,
    under_tls: bool,
    names: AHashMap<Box<[u8]>, Ranks>,
    /// By what follows the star, its dot included.
    suffixes: AHashMap<Box<[u8]>, Ranks>,
    /// By what precedes the star.
    prefixes: AHashMap<Box<[u8]>, Ranks>,
    ends: AHashMap<End, Ranks>,
    /// Those that can be looked up by nothing.
    open: Ranks,
}

impl Index {
    /// Indexes routes. Server names count only `under_tls`.
    pub fn new(mut drafts: Vec<Draft>, under_tls: bool) -> Self {
        drafts.sort_by_key(|draft| std::cmp::Reverse(draft.rank));
        let mut index = Self { under_tls, ..Self::default() };
        for (rank, draft) in (0..).zip(&drafts) {
            index.enter(rank, draft);
        }
        index.drafts = drafts;
        index
    }

    /// The best route that serves `arrival`.
    pub fn find(&self, arrival: &Arrival<'_>) -> Option<&Draft> {
        let mut best = None;
        self.visit(arrival, |list| {
            let open = list.iter().take_while(|rank| best.is_none_or(|best| **rank < best));
            let mut open = open.map(|rank| (rank, &self.drafts[*rank as usize]));
            if let Some((rank, _)) = open.find(|(_, draft)| draft.accepts(arrival, self.under_tls)) {
                best = Some(*rank);
            }
        });
        best.map(|rank| &self.drafts[rank as usize])
    }

    /// Shows every list that `arrival` may find its route in.
    fn visit(&self, arrival: &Arrival<'_>, mut show: impl FnMut(&Ranks)) {
        let mut look = |list: Option<&Ranks>| list.into_iter().for_each(&mut show);
        look(Some(&self.open));
        for key in keys(arrival.source) {
            look(self.ends.get(&End::Source(key)));
        }
        for key in keys(arrival.destination) {
            look(self.ends.get(&End::Destination(key)));
        }
        if let Some(name) = arrival.name.filter(|_| self.under_tls) {
            let name = name.as_bytes();
            look(self.names.get(name));
            for dot in name.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(place, _)| place) {
                look(self.suffixes.get(&name[dot..]));
                look(self.prefixes.get(&name[..=dot]));
            }
        }
    }

    /// Whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// How many routes are asked about `arrival` at most.
    #[cfg(test)]
    pub fn candidates(&self, arrival: &Arrival<'_>) -> usize {
        let mut count = 0;
        self.visit(arrival, |list| count += list.len());
        count
    }

    /// Enters a route under all its server names, or all its ends, whatever tells most apart.
    fn enter(&mut self, rank: u32, draft: &Draft) {
        let by_name = self.under_tls && !draft.names.is_empty() && draft.names.iter().all(has_dot_or_no_star);
        if by_name {
            draft.names.iter().for_each(|name| self.enter_name(rank, name));
        } else if let Some(keys) = all_keys(&draft.destinations) {
            keys.into_iter().for_each(|key| add(&mut self.ends, End::Destination(key), rank));
        } else if let Some(keys) = all_keys(&draft.sources) {
            keys.into_iter().for_each(|key| add(&mut self.ends, End::Source(key), rank));
        } else {
            self.open.push(rank);
        }
    }

    fn enter_name(&mut self, rank: u32, name: &HostName) {
        let (map, text) = match name {
            HostName::Exact(text) => (&mut self.names, text),
            HostName::Suffix(text) => (&mut self.suffixes, text),
            HostName::Prefix(text) => (&mut self.prefixes, text),
        };
        add(map, text.clone(), rank);
    }
}

/// A pattern is found at a dot of the name asked for, so its text must begin or end with one.
fn has_dot_or_no_star(name: &HostName) -> bool {
    match name {
        HostName::Exact(_) => true,
        HostName::Suffix(text) => text.starts_with(b"."),
        HostName::Prefix(text) => text.ends_with(b"."),
    }
}

/// The keys of all places; none if one has none, or there are none.
fn all_keys(places: &[Place]) -> Option<Vec<Key>> {
    if places.is_empty() { None } else { places.iter().map(Place::key).collect() }
}

/// Ranks come in ascending order, and each once.
fn add<K: Hash + Eq>(map: &mut AHashMap<K, Ranks>, key: K, rank: u32) {
    let ranks = map.entry(key).or_default();
    if ranks.last() != Some(&rank) {
        ranks.push(rank);
    }
}
