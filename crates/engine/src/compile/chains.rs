//! Rows of plugins become chains: by name in execution order, by scope most specific first.

use std::cmp::Reverse;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use model::courtesy::offering;
use model::entity::Route;
use model::{Config, PluginRow};
use plugin::{Definition, Phase, Phases};
use uuid::Uuid;

use super::enabled;
use crate::chain::{Chain, OfGroups, Slot, Tier};
use crate::stream::demands::{Layer, layer};

/// The plugin rows of a configuration that run on one layer, sorted by what they apply to.
pub(super) struct Plugins<'a> {
    definitions: AHashMap<&'a str, &'static dyn Definition>,
    /// Names in use, in execution order; the position is the slot's number.
    pub(super) names: Vec<&'a str>,
    by_name: AHashMap<&'a str, Rows>,
}

type Key = (Option<Uuid>, Option<Uuid>);
type Instances = Arc<AHashMap<Uuid, u32>>;

fn members_by_group(config: &Config) -> AHashMap<Uuid, Vec<Uuid>> {
    let mut members: AHashMap<Uuid, Vec<Uuid>> = AHashMap::new();
    for membership in &config.consumer_group_consumers {
        members.entry(membership.consumer_group.0).or_default().push(membership.consumer.0);
    }
    members
}

/// The rows of one plugin name by scope. Rows of a group are kept by its members.
#[derive(Default)]
struct Rows {
    plain: AHashMap<Key, u32>,
    by_consumer: AHashMap<Key, Instances>,
    by_group: AHashMap<Key, Arc<OfGroups>>,
}

impl<'a> Plugins<'a> {
    pub(super) fn new(definitions: &'a [&'static dyn Definition], config: &'a Config, of: Layer) -> Self {
        let members = members_by_group(config);
        let mut by_name: AHashMap<&str, Rows> = AHashMap::new();
        for (instance, row) in offering(500, enabled(config)).enumerate() {
            if !row.protocols.iter().any(|protocol| layer(protocol) == of) {
                continue;
            }
            let instance = u32::try_from(instance).unwrap_or(u32::MAX);
            by_name.entry(row.name.as_str()).or_default().add(row, instance, &members);
        }
        // Those of one priority in the order of the list.
        let mut order = definitions.to_vec();
        order.sort_by_key(|definition| Reverse(definition.priority()));
        let names = order.iter().map(|definition| definition.name());
        let names = names.filter(|name| by_name.contains_key(name)).collect();
        let definitions = definitions.iter().map(|definition| (definition.name(), *definition)).collect();
        Self { definitions, names, by_name }
    }

    pub(super) fn chain(&self, route: Option<Uuid>, service: Option<Uuid>) -> Chain {
        let mut slots = Vec::new();
        for (number, name) in self.names.iter().enumerate() {
            let tiers = self.by_name[name].tiers(route, service);
            if !tiers.is_empty() {
                let number = u16::try_from(number).expect("there are fewer plugin names than slots");
                slots.push(Slot { number, tiers });
            }
        }
        Chain::new(slots, |number| {
            let name = self.names[usize::from(number)];
            self.definitions.get(name).map_or(&[], |definition| definition.runs())
        })
    }
}

/// The chains of routes. Routes without plugins of their own share that of their service.
pub(super) struct Chains<'a> {
    plugins: &'a Plugins<'a>,
    with_own: AHashSet<Uuid>,
    by_service: AHashMap<Option<Uuid>, Arc<Chain>>,
}

impl<'a> Chains<'a> {
    pub(super) fn new(plugins: &'a Plugins<'a>) -> Self {
        let with_own = plugins.by_name.values().flat_map(Rows::routes).collect();
        Self { plugins, with_own, by_service: AHashMap::new() }
    }

    pub(super) fn of(&mut self, route: Uuid, service: Option<Uuid>) -> Arc<Chain> {
        if self.with_own.contains(&route) {
            return Arc::new(self.plugins.chain(Some(route), service));
        }
        let shared = self.by_service.entry(service);
        shared.or_insert_with(|| Arc::new(self.plugins.chain(None, service))).clone()
    }
}

impl Plugins<'_> {
    /// What runs in a phase of the sessions of a route. Nobody is known there, so that only rows for everybody count.
    pub(super) fn rooms(
        &self,
        phase: Phase,
        route: &Route,
        instances: &[Arc<dyn Phases>],
    ) -> Box<[Arc<dyn Phases>]> {
        let (route, service) = (Some(route.id), route.service.map(|reference| reference.0));
        let runs = |name: &&&str| {
            self.definitions.get(**name).is_some_and(|definition| definition.runs().contains(&phase))
        };
        let room = |name: &&str| match self.by_name[*name].tiers(route, service).last() {
            Some(Tier::Fixed(instance)) => instances.get(*instance as usize).cloned(),
            _ => None,
        };
        self.names.iter().filter(runs).filter_map(room).collect()
    }
}

impl Rows {
    /// The routes that have a row of their own.
    fn routes(&self) -> impl Iterator<Item = Uuid> {
        let keys = self.by_consumer.keys().chain(self.by_group.keys()).chain(self.plain.keys());
        keys.filter_map(|(route, _)| *route)
    }

    fn add(&mut self, row: &PluginRow, instance: u32, members: &AHashMap<Uuid, Vec<Uuid>>) {
        let key = (row.route, row.service);
        if let Some(consumer) = row.consumer {
            Arc::make_mut(self.by_consumer.entry(key).or_default()).insert(consumer, instance);
        } else if let Some(group) = row.consumer_group {
            let of_groups = Arc::make_mut(self.by_group.entry(key).or_default());
            of_groups.groups.insert(group, instance);
            for consumer in members.get(&group).into_iter().flatten() {
                // A member of several groups gets what the document says first.
                of_groups.members.entry(*consumer).or_insert(instance);
            }
        } else {
            self.plain.insert(key, instance);
        }
    }

    /// The sources of configuration for a route of a service, most specific first (kong.md 1.9).
    fn tiers(&self, route: Option<Uuid>, service: Option<Uuid>) -> Vec<Tier> {
        let mut tiers = Vec::new();
        let both = (route, service);
        let consumer = |key: Key| self.by_consumer.get(&key).cloned().map(Tier::Consumer);
        let group = |key: Key| self.by_group.get(&key).cloned().map(Tier::Group);
        let plain = |key: Key| self.plain.get(&key).copied().map(Tier::Fixed);
        let (of_route, of_service) = ((route, None), (None, service));
        let everywhere = (None, None);
        let (routed, served) = (route.is_some(), service.is_some());
        let candidates = [
            (routed && served).then(|| consumer(both)),
            (routed && served).then(|| group(both)),
            routed.then(|| consumer(of_route)),
            served.then(|| consumer(of_service)),
            routed.then(|| group(of_route)),
            served.then(|| group(of_service)),
            (routed && served).then(|| plain(both)),
            Some(consumer(everywhere)),
            Some(group(everywhere)),
            routed.then(|| plain(of_route)),
            served.then(|| plain(of_service)),
            Some(plain(everywhere)),
        ];
        for tier in candidates.into_iter().flatten().flatten() {
            let ends = matches!(tier, Tier::Fixed(_));
            tiers.push(tier);
            if ends {
                break;
            }
        }
        tiers
    }
}
