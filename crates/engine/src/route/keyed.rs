//! Finding the sub-routes of a crowded leaf by what they ask for: a header value, a literal inside an expression,
//! a server name.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use aho_corasick::AhoCorasick;
use smallvec::SmallVec;

use super::Lookup;
use super::condition::{Conditions, fold};
use super::draft::Draft;
use super::host::HostName;

/// Literals whose sightings are noted without allocating: 8192.
const INLINE_WORDS: usize = 128;

/// Sub-routes of a leaf, each found by what a request must have to belong to it. Lists are in the order of rank.
pub(super) struct Keyed {
    hasher: RandomState,
    /// By hashes of header fields and server names. Two that are equal by chance cost a test, nothing else.
    by_key: HashMap<u64, Vec<u32>, RandomState>,
    /// Bit `n % 64` is set when a header name of `n` bytes is asked for.
    name_lengths: u64,
    /// Those found by server name: a request that did not come over TLS may belong to any of them.
    by_sni: Vec<u32>,
    literals: Option<Literals>,
}

/// Sub-routes whose expressions match only paths with a certain text somewhere.
struct Literals {
    automaton: AhoCorasick,
    /// By number of the text.
    ranks: Vec<Vec<u32>>,
}

/// What a sub-route can be found by.
pub(super) enum Selector<'a> {
    /// A field of this name with one of these values.
    Header { name: &'a [u8], values: &'a [Box<[u8]>] },
    /// One of these texts in the path.
    Literals(Vec<&'a [u8]>),
    /// One of these server names.
    Snis(Vec<&'a [u8]>),
}

/// How many sub-routes could be found by a literal.
pub(super) type Frequencies<'a> = HashMap<&'a [u8], usize, RandomState>;

/// Counts the literals of a leaf's sub-routes.
pub(super) fn frequencies<'a>(drafts: impl Iterator<Item = &'a Draft>) -> Frequencies<'a> {
    let mut frequencies = Frequencies::default();
    for literal in drafts.flat_map(|draft| draft.literals.iter().flatten()) {
        *frequencies.entry(literal).or_default() += 1;
    }
    frequencies
}

impl<'a> Selector<'a> {
    /// The best thing to find a sub-route by, if there is any.
    pub fn of(draft: &'a Draft, frequencies: &Frequencies<'_>) -> Option<Selector<'a>> {
        let conditions = draft.rule.conditions.as_deref();
        let headers = conditions.map_or(&[][..], |conditions| &conditions.headers);
        if let Some(header) = headers.iter().find(|header| header.patterns.is_empty()) {
            return Some(Selector::Header { name: &header.name, values: &header.plain });
        }
        Selector::of_literals(draft, frequencies).or_else(|| Selector::of_snis(conditions?))
    }

    /// The rarest literal of each expression.
    fn of_literals(draft: &'a Draft, frequencies: &Frequencies<'_>) -> Option<Selector<'a>> {
        let rarity = |literal: &&[u8]| (frequencies.get(literal).copied(), std::cmp::Reverse(literal.len()));
        let rarest = |literals: &'a Vec<Vec<u8>>| literals.iter().map(Vec::as_slice).min_by_key(rarity);
        let literals: Vec<_> = draft.literals.iter().map(rarest).collect::<Option<_>>()?;
        (!literals.is_empty()).then_some(Selector::Literals(literals))
    }

    fn of_snis(conditions: &'a Conditions) -> Option<Selector<'a>> {
        let exact = |name: &'a HostName| match name {
            HostName::Exact(name) => Some(&**name),
            HostName::Suffix(_) | HostName::Prefix(_) => None,
        };
        let names = conditions.snis.as_ref()?.iter().map(exact).collect::<Option<_>>()?;
        Some(Selector::Snis(names))
    }
}

impl Keyed {
    /// Files sub-routes, given in the order of their rank; those without selector are left out.
    pub fn build<'a>(members: impl Iterator<Item = (u32, &'a Option<Selector<'a>>)>) -> Keyed {
        let mut keyed = Keyed {
            hasher: RandomState::new(),
            by_key: HashMap::default(),
            name_lengths: 0,
            by_sni: Vec::new(),
            literals: None,
        };
        let mut literals: HashMap<&[u8], Vec<u32>, RandomState> = HashMap::default();
        for (rank, selector) in members {
            match selector {
                Some(Selector::Header { name, values }) => {
                    keyed.name_lengths |= length_bit(name);
                    keyed.file(rank, values.iter().map(|value| keyed.header_key(name, value)).collect());
                }
                Some(Selector::Literals(texts)) => {
                    texts.iter().for_each(|text| literals.entry(text).or_default().push(rank));
                }
                Some(Selector::Snis(names)) => {
                    keyed.by_sni.push(rank);
                    keyed.file(rank, names.iter().map(|name| keyed.sni_key(name)).collect());
                }
                None => {}
            }
        }
        keyed.literals = (!literals.is_empty()).then(|| Literals::new(literals));
        keyed
    }

    fn file(&mut self, rank: u32, mut keys: Vec<u64>) {
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            self.by_key.entry(key).or_default().push(rank);
        }
    }

    /// Calls `visit` with every list that a request may find its sub-route in.
    pub fn visit(&self, lookup: &Lookup<'_>, visit: &mut impl FnMut(&[u32])) {
        if self.name_lengths != 0 {
            let asked = |name: &[u8]| self.name_lengths & length_bit(name) != 0;
            for field in lookup.headers.entries().filter(|field| asked(field.name)) {
                self.visit_key(self.header_key(field.name, field.value), visit);
            }
        }
        if let Some(literals) = &self.literals {
            literals.visit(lookup.path, visit);
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

impl Literals {
    fn new(texts: HashMap<&[u8], Vec<u32>, RandomState>) -> Literals {
        let (texts, mut ranks): (Vec<&[u8]>, Vec<Vec<u32>>) = texts.into_iter().unzip();
        ranks.iter_mut().for_each(Vec::dedup);
        let automaton = AhoCorasick::new(texts).expect("the texts of a configuration are far below 2 GiB");
        Literals { automaton, ranks }
    }

    /// Visits the list of each text in the path once, however often the path repeats it.
    fn visit(&self, path: &[u8], visit: &mut impl FnMut(&[u32])) {
        let words = self.ranks.len().div_ceil(64);
        let mut seen: SmallVec<[u64; INLINE_WORDS]> = SmallVec::from_elem(0, words);
        for sighting in self.automaton.find_overlapping_iter(path) {
            let number = sighting.pattern().as_usize();
            let (word, bit) = (&mut seen[number / 64], 1 << (number % 64));
            if *word & bit == 0 {
                *word |= bit;
                visit(&self.ranks[number]);
            }
        }
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << (name.len() % 64)
}
