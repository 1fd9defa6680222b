//! What lies at the end of a host and a path: sub-routes, best first, and how they are put there.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

use super::Lookup;
use super::condition::{Conditions, fold};
use super::draft::Draft;
use super::forest::{Forest, Root};
use super::host::HostName;

/// From this many sub-routes on that ask for header values or server names, a leaf finds them by these.
const KEYED_FROM: usize = 8;

/// The paths of all routes of one host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    pub root: Root,
    /// The best rank inside.
    pub best: u32,
}

/// Sub-routes that a request for one host and one prefix may belong to, by rank, best first.
pub(super) struct Leaf {
    /// To be tested one after the other.
    pub open: Box<[u32]>,
    keyed: Option<Box<Keyed>>,
}

/// Sub-routes that only a request with a certain header value or server name can belong to.
struct Keyed {
    hasher: RandomState,
    by_key: HashMap<u64, Vec<u32>, RandomState>,
    /// Bit `n % 64` is set when a header name of `n` bytes is asked for.
    name_lengths: u64,
    /// Those found by server name: a request that did not come over TLS may belong to any of them.
    by_sni: Vec<u32>,
}

/// What a sub-route can be found by. Keys are hashes: two that are equal by chance cost a test, nothing else.
enum Selector<'a> {
    Header { name: &'a [u8], values: &'a [Box<[u8]>] },
    Snis(Vec<&'a [u8]>),
    None,
}

impl Leaf {
    fn new(ranks: Vec<u32>, drafts: &[Draft]) -> Leaf {
        let selectors: Vec<_> = ranks.iter().map(|rank| Selector::of(&drafts[*rank as usize])).collect();
        let selective = selectors.iter().filter(|selector| !matches!(selector, Selector::None)).count();
        if selective < KEYED_FROM {
            return Leaf { open: ranks.into(), keyed: None };
        }
        let mut keyed = Keyed {
            hasher: RandomState::new(),
            by_key: HashMap::default(),
            name_lengths: 0,
            by_sni: Vec::new(),
        };
        let mut open = Vec::new();
        for (rank, selector) in ranks.into_iter().zip(&selectors) {
            if !keyed.take(rank, selector) {
                open.push(rank);
            }
        }
        Leaf { open: open.into(), keyed: Some(Box::new(keyed)) }
    }

    /// Calls `visit` with every list that a request may find its sub-route in.
    pub fn visit(&self, lookup: &Lookup<'_>, visit: &mut impl FnMut(&[u32])) {
        visit(&self.open);
        if let Some(keyed) = &self.keyed {
            keyed.visit(lookup, visit);
        }
    }
}

impl Keyed {
    /// Files a sub-route; `false` when it has nothing to be found by.
    fn take(&mut self, rank: u32, selector: &Selector<'_>) -> bool {
        let mut keys: Vec<u64> = match selector {
            Selector::None => return false,
            Selector::Header { name, values } => {
                self.name_lengths |= length_bit(name);
                values.iter().map(|value| self.header_key(name, value)).collect()
            }
            Selector::Snis(names) => {
                self.by_sni.push(rank);
                names.iter().map(|name| self.sni_key(name)).collect()
            }
        };
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            self.by_key.entry(key).or_default().push(rank);
        }
        true
    }

    fn visit(&self, lookup: &Lookup<'_>, visit: &mut impl FnMut(&[u32])) {
        if self.name_lengths != 0 {
            let asked = |name: &[u8]| self.name_lengths & length_bit(name) != 0;
            for field in lookup.headers.entries().filter(|field| asked(field.name)) {
                self.visit_key(self.header_key(field.name, field.value), visit);
            }
        }
        match lookup.sni {
            _ if self.by_sni.is_empty() => {}
            Some(name) if lookup.https => self.visit_key(self.sni_key(name.as_bytes()), visit),
            None if lookup.https => {}
            _ => visit(&self.by_sni),
        }
    }

    fn visit_key(&self, key: u64, visit: &mut impl FnMut(&[u32])) {
        if let Some(ranks) = self.by_key.get(&key) {
            visit(ranks);
        }
    }

    fn header_key(&self, name: &[u8], value: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        name.iter().for_each(|byte| hasher.write_u8(fold(*byte)));
        hasher.write_u8(b':');
        value.iter().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
        hasher.finish()
    }

    fn sni_key(&self, name: &[u8]) -> u64 {
        self.header_key(b"", name)
    }
}

impl<'a> Selector<'a> {
    fn of(draft: &'a Draft) -> Selector<'a> {
        let Some(conditions) = &draft.rule.conditions else { return Selector::None };
        let header = conditions.headers.iter().find(|header| header.patterns.is_empty());
        match header {
            Some(header) => Selector::Header { name: &header.name, values: &header.plain },
            None => Selector::of_snis(conditions),
        }
    }

    fn of_snis(conditions: &'a Conditions) -> Selector<'a> {
        let Some(snis) = &conditions.snis else { return Selector::None };
        let exact = |name: &'a HostName| match name {
            HostName::Exact(name) => Some(&**name),
            HostName::Suffix(_) | HostName::Prefix(_) => None,
        };
        snis.iter().map(exact).collect::<Option<_>>().map_or(Selector::None, Selector::Snis)
    }
}

/// Plants the paths of drafts that are in the order of their rank.
pub(super) struct Planter<'a> {
    drafts: &'a [Draft],
    forest: &'a mut Forest,
    leaves: Vec<Leaf>,
    /// Hosts with the same routes share a tree.
    known: HashMap<Vec<u32>, Bucket, RandomState>,
}

impl<'a> Planter<'a> {
    /// A planter with nothing planted.
    pub fn new(drafts: &'a [Draft], forest: &'a mut Forest) -> Planter<'a> {
        Planter { drafts, forest, leaves: Vec::new(), known: HashMap::default() }
    }

    /// The trees planted so far.
    pub fn forest(&mut self) -> &mut Forest {
        self.forest
    }

    /// All leaves; the values of path trees are places in here.
    pub fn into_leaves(self) -> Vec<Leaf> {
        self.leaves
    }

    /// The tree of these drafts' paths. `ranks` ascend and are not empty.
    pub fn bucket(&mut self, ranks: Vec<u32>) -> Bucket {
        if let Some(bucket) = self.known.get(&ranks) {
            return *bucket;
        }
        let drafts = self.drafts;
        let mut keys: Vec<(&[u8], u32)> = Vec::new();
        for rank in &ranks {
            keys.extend(drafts[*rank as usize].prefixes.iter().map(|prefix| (prefix.as_slice(), *rank)));
        }
        keys.sort_unstable();
        keys.dedup();
        let mut seeds = Vec::new();
        for group in keys.chunk_by(|one, other| one.0 == other.0) {
            let place = u32::try_from(self.leaves.len()).expect("a configuration has far fewer paths");
            seeds.push((group[0].0, place));
            self.leaves.push(Leaf::new(group.iter().map(|key| key.1).collect(), drafts));
        }
        let bucket = Bucket { root: self.forest.plant(&seeds), best: ranks[0] };
        self.known.insert(ranks, bucket);
        bucket
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << (name.len() % 64)
}
