//! Host names, and the index that leads from the host of a request to the paths of its routes.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use ahash::RandomState;
use model::courtesy::offering;
use smallvec::SmallVec;

use super::draft::Draft;
use super::forest::{Forest, Root};
use super::leaf::{Bucket, Planter};
use super::split_host;

/// Hosts up to this length are looked up without allocating; longer ones are no domain names.
const INLINE_HOST: usize = 256;

/// A host name or a pattern of one, lower-case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostName {
    /// The whole name.
    Exact(Box<[u8]>),
    /// `*.example.com`, without the star.
    Suffix(Box<[u8]>),
    /// `example.*`, without the star.
    Prefix(Box<[u8]>),
}

/// An element of a route's `hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct HostEntry {
    pub name: HostName,
    /// The port that must have been asked for, if it matters.
    pub port: Option<u16>,
}

/// Where the hosts lead.
pub(super) struct Hosts {
    exact: HashMap<Box<[u8]>, Ports, RandomState>,
    /// Suffixes are planted backwards.
    suffixes: Option<Root>,
    prefixes: Option<Root>,
    /// What the values of both trees stand for.
    patterns: Vec<Ports>,
    /// Routes without hosts.
    anywhere: Option<Bucket>,
}

/// Where one host name leads, by port.
#[derive(Default)]
struct Ports {
    any: Option<Bucket>,
    by_port: HashMap<u16, Bucket, RandomState>,
}

impl HostName {
    /// Reads a name or a pattern.
    pub fn new(name: &[u8]) -> HostName {
        let lower = |name: &[u8]| name.to_ascii_lowercase().into_boxed_slice();
        match name {
            [b'*', suffix @ ..] => HostName::Suffix(lower(suffix)),
            [prefix @ .., b'*'] => HostName::Prefix(lower(prefix)),
            exact => HostName::Exact(lower(exact)),
        }
    }

    /// Whether `host` is the name or fits the pattern; case does not count.
    pub fn matches(&self, host: &[u8]) -> bool {
        let part = match self {
            HostName::Exact(_) => Some(host),
            HostName::Suffix(own) => host.len().checked_sub(own.len()).map(|start| &host[start..]),
            HostName::Prefix(own) => host.get(..own.len()),
        };
        part.is_some_and(|part| part.eq_ignore_ascii_case(self.text()))
    }

    fn text(&self) -> &[u8] {
        match self {
            HostName::Exact(text) | HostName::Suffix(text) | HostName::Prefix(text) => text,
        }
    }
}

impl HostEntry {
    /// Reads `name`, `name:port` or an IPv6 address with or without brackets.
    pub fn new(entry: &[u8]) -> HostEntry {
        let address = str::from_utf8(entry).ok().filter(|text| text.parse::<Ipv6Addr>().is_ok());
        if let Some(address) = address {
            return HostEntry { name: HostName::new(format!("[{address}]").as_bytes()), port: None };
        }
        let (name, port) = split_host(entry);
        HostEntry { name: HostName::new(name), port }
    }
}

impl Hosts {
    /// Indexes drafts that are in the order of their rank.
    pub fn build(drafts: &[Draft], planter: &mut Planter<'_>) -> Hosts {
        let mut members: HashMap<&HostEntry, Vec<u32>, RandomState> = HashMap::default();
        let mut anywhere = Vec::new();
        for (rank, draft) in (0..).zip(offering(200, drafts.iter())) {
            for entry in draft.hosts.iter() {
                let ranks = members.entry(entry).or_default();
                if ranks.last() != Some(&rank) {
                    ranks.push(rank);
                }
            }
            if draft.hosts.is_empty() {
                anywhere.push(rank);
            }
        }
        let mut names: HashMap<&HostName, Ports, RandomState> = HashMap::default();
        for (entry, ranks) in offering(1_000, members.into_iter()) {
            names.entry(&entry.name).or_default().add(entry.port, planter.bucket(ranks));
        }
        let anywhere = (!anywhere.is_empty()).then(|| planter.bucket(anywhere));
        Hosts::from_names(names, anywhere, planter.forest())
    }

    fn from_names(
        names: HashMap<&HostName, Ports, RandomState>,
        anywhere: Option<Bucket>,
        forest: &mut Forest,
    ) -> Hosts {
        let mut exact = HashMap::default();
        let mut patterns = Vec::new();
        let (mut suffixes, mut prefixes) = (Vec::new(), Vec::new());
        for (name, ports) in names {
            let number = u32::try_from(patterns.len()).expect("a configuration has far fewer hosts");
            match name {
                HostName::Exact(name) => {
                    exact.insert(name.clone(), ports);
                    continue;
                }
                HostName::Suffix(suffix) => suffixes.push((suffix.iter().rev().copied().collect(), number)),
                HostName::Prefix(prefix) => prefixes.push((prefix.to_vec(), number)),
            }
            patterns.push(ports);
        }
        let (suffixes, prefixes) = (plant(suffixes, forest), plant(prefixes, forest));
        Hosts { exact, suffixes, prefixes, patterns, anywhere }
    }

    /// Calls `visit` with every bucket that a request for `host` may find its route in, likely winners first.
    pub fn visit(
        &self,
        forest: &Forest,
        host: Option<&[u8]>,
        listen_port: u16,
        visit: &mut impl FnMut(Bucket),
    ) {
        let indexed = !self.exact.is_empty() || !self.patterns.is_empty();
        if let Some(host) = host.filter(|_| indexed) {
            let (name, port) = split_host(host);
            let name: SmallVec<[u8; INLINE_HOST]> = name.iter().map(u8::to_ascii_lowercase).collect();
            self.visit_name(forest, &name, port.unwrap_or(listen_port), visit);
        }
        if let Some(bucket) = self.anywhere {
            visit(bucket);
        }
    }

    fn visit_name(&self, forest: &Forest, name: &[u8], port: u16, visit: &mut impl FnMut(Bucket)) {
        if let Some(ports) = self.exact.get(name) {
            ports.visit(port, visit);
        }
        if let Some(root) = self.suffixes {
            let reversed: SmallVec<[u8; INLINE_HOST]> = name.iter().rev().copied().collect();
            for number in forest.prefixes(root, &reversed) {
                self.patterns[number as usize].visit(port, visit);
            }
        }
        if let Some(root) = self.prefixes {
            for number in forest.prefixes(root, name) {
                self.patterns[number as usize].visit(port, visit);
            }
        }
    }
}

impl Ports {
    fn add(&mut self, port: Option<u16>, bucket: Bucket) {
        match port {
            Some(port) => _ = self.by_port.insert(port, bucket),
            None => self.any = Some(bucket),
        }
    }

    fn visit(&self, port: u16, visit: &mut impl FnMut(Bucket)) {
        if !self.by_port.is_empty()
            && let Some(bucket) = self.by_port.get(&port)
        {
            visit(*bucket);
        }
        if let Some(bucket) = self.any {
            visit(bucket);
        }
    }
}

fn plant(mut seeds: Vec<(Vec<u8>, u32)>, forest: &mut Forest) -> Option<Root> {
    if seeds.is_empty() {
        return None;
    }
    seeds.sort();
    let seeds: Vec<_> = seeds.iter().map(|(text, number)| (text.as_slice(), *number)).collect();
    Some(forest.plant(&seeds))
}
