//! One search: walk the index, test what lies there, keep the best.

use plugin::exchange::Captures;

use super::draft::PathRule;
use super::leaf::{Bucket, Fruit};
use super::pattern::Pattern;
use super::{Found, Lookup, Router};

/// The rank that every sub-route beats.
const NOTHING: u32 = u32::MAX;

/// The state of a search.
pub(super) struct Search<'a, 'request> {
    router: &'a Router,
    lookup: &'a Lookup<'request>,
    captures: &'a mut Captures,
    /// The rank of the best sub-route so far; anything behind it need not be tested.
    best: u32,
    matched_len: usize,
    /// The expression by which the best one matched.
    pattern: Option<&'a Pattern>,
    /// How many sub-routes were tested.
    #[cfg(test)]
    pub tested: usize,
}

impl<'a, 'request> Search<'a, 'request> {
    /// A search not yet begun.
    pub fn new(router: &'a Router, lookup: &'a Lookup<'request>, captures: &'a mut Captures) -> Self {
        captures.clear();
        Search {
            router,
            lookup,
            captures,
            best: NOTHING,
            matched_len: 0,
            pattern: None,
            #[cfg(test)]
            tested: 0,
        }
    }

    /// Searches.
    pub fn run(&mut self) {
        let (router, lookup) = (self.router, self.lookup);
        router.hosts.visit(&router.forest, lookup.host, lookup.listen_port, &mut |bucket| self.enter(bucket));
    }

    /// What was found.
    pub fn finish(self) -> Option<Found> {
        match self.pattern {
            Some(pattern) => pattern.describe(self.lookup.path, self.captures),
            None => self.captures.groups.clear(),
        }
        let rule = self.router.rules.get(self.best as usize)?;
        let by_path = !matches!(rule.path, PathRule::Any);
        Some(Found { ordinal: rule.ordinal as usize, matched_len: self.matched_len, by_path })
    }

    fn enter(&mut self, bucket: Bucket) {
        let router = self.router;
        if bucket.best >= self.best {
            return;
        }
        for value in router.forest.prefixes(bucket.root, self.lookup.path) {
            match Fruit::of(value) {
                Fruit::One(rank) => self.test_all(&[rank]),
                Fruit::Several(place) => {
                    router.leaves[place].visit(self.lookup, &mut |ranks| self.test_all(ranks));
                }
            }
        }
    }

    /// Tests sub-routes, best first, until one fits or the rest is no better than what is at hand.
    fn test_all(&mut self, ranks: &[u32]) {
        for &rank in ranks {
            if rank >= self.best {
                break;
            }
            #[cfg(test)]
            {
                self.tested += 1;
            }
            if self.take_if_fits(rank) {
                break;
            }
        }
    }

    fn take_if_fits(&mut self, rank: u32) -> bool {
        let rule = &self.router.rules[rank as usize];
        if !rule.conditions_hold(self.lookup) {
            return false;
        }
        let (matched_len, pattern) = match &rule.path {
            PathRule::Any => (0, None),
            PathRule::Prefix(length) => (*length as usize, None),
            PathRule::Patterns(patterns) => {
                let path = self.lookup.path;
                let groups = &mut self.captures.groups;
                let matching = patterns.0.iter().find_map(|one| Some((one.match_start(path, groups)?, one)));
                let Some((end, pattern)) = matching else { return false };
                (end, Some(pattern))
            }
        };
        (self.best, self.matched_len, self.pattern) = (rank, matched_len, pattern);
        true
    }
}
