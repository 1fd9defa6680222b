//! What lies at the end of a host and a path: sub-routes, best first, and how they are put there.

use std::collections::HashMap;

use ahash::RandomState;
use model::courtesy::{offering, worked};

use super::Lookup;
use super::draft::Draft;
use super::forest::{Forest, Root, index};
use super::keyed::{Keyed, Selector, frequencies};

/// From this many sub-routes on that a leaf can find by what they ask for, it does so.
const KEYED_FROM: usize = 8;

/// The paths of all routes of one host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    pub root: Root,
    /// The best rank inside.
    pub best: u32,
}

/// What a path leads to: one sub-route, as nearly all do, or a leaf with several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fruit {
    /// The sub-route of this rank.
    One(u32),
    /// The leaf in this place.
    Several(usize),
}

impl Fruit {
    /// Set in the value of a path that leads to one sub-route.
    const ONE: u32 = 1 << 31;

    /// What the value of a path stands for.
    pub fn of(value: u32) -> Self {
        if value & Self::ONE != 0 { Self::One(value & !Self::ONE) } else { Self::Several(value as usize) }
    }

    fn value(self) -> u32 {
        let (number, mark) = match self {
            Self::One(rank) => (rank, Self::ONE),
            Self::Several(place) => (index(place), 0),
        };
        assert!(number < Self::ONE - 1, "a configuration has far fewer routes");
        number | mark
    }
}

/// Sub-routes that a request for one host and one prefix may belong to, by rank, best first.
pub(super) struct Leaf {
    /// To be tested one after the other.
    open: Box<[u32]>,
    keyed: Option<Box<Keyed>>,
}

impl Leaf {
    fn new(ranks: Vec<u32>, drafts: &[Draft]) -> Leaf {
        if ranks.len() < KEYED_FROM {
            return Leaf { open: ranks.into(), keyed: None };
        }
        let members = || ranks.iter().map(|rank| &drafts[*rank as usize]);
        let frequencies = frequencies(members());
        let selectors: Vec<_> = members().map(|draft| Selector::of(draft, &frequencies)).collect();
        if selectors.iter().flatten().count() < KEYED_FROM {
            return Leaf { open: ranks.into(), keyed: None };
        }
        let keyed = Keyed::build(ranks.iter().copied().zip(&selectors));
        let open = ranks.iter().zip(&selectors).filter(|(_, selector)| selector.is_none());
        Leaf { open: open.map(|(rank, _)| *rank).collect(), keyed: Some(Box::new(keyed)) }
    }

    /// Calls `visit` with every list that a request may find its sub-route in.
    pub fn visit(&self, lookup: &Lookup<'_>, visit: &mut impl FnMut(&[u32])) {
        visit(&self.open);
        if let Some(keyed) = &self.keyed {
            keyed.visit(lookup, visit);
        }
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

    /// All leaves; the values of path trees are [`Fruit`]s.
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
        for rank in offering(100, ranks.iter()) {
            keys.extend(drafts[*rank as usize].prefixes.iter().map(|prefix| (prefix.as_slice(), *rank)));
        }
        keys.sort_unstable_by(|one, other| {
            worked(50);
            one.cmp(other)
        });
        keys.dedup();
        let mut seeds = Vec::new();
        for group in offering(300, keys.chunk_by(|one, other| one.0 == other.0)) {
            let fruit = match group {
                [(_, rank)] => Fruit::One(*rank),
                _ => {
                    self.leaves.push(Leaf::new(group.iter().map(|key| key.1).collect(), drafts));
                    Fruit::Several(self.leaves.len() - 1)
                }
            };
            seeds.push((group[0].0, fruit.value()));
        }
        let bucket = Bucket { root: self.forest.plant(&seeds), best: ranks[0] };
        self.known.insert(ranks, bucket);
        bucket
    }
}
