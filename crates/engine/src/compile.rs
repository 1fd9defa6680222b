//! Turns entities and plugin definitions into a [`Snapshot`]. Runs at reload, never on a request.

use std::cmp::Reverse;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use model::courtesy::offering;
use model::entity::{Route, Service};
use model::{Config, PluginRow, Problem};
use plugin::build::{Build, Shared};
use plugin::exchange::Matched;
use plugin::{Definition, Phase, Phases, Services};
use uuid::Uuid;

use crate::balance::Balancers;
use crate::chain::{Chain, OfGroups, Slot, Tier};
use crate::detour;
use crate::discovery::{self, Purpose};
use crate::dns::Resolver;
use crate::health::Checks;
use crate::route::Router;
use crate::snapshot::{CompiledRoute, CompiledService, Plan, Snapshot, Speaks, Versions};
use crate::stream;
use crate::stream::demands::{Layer, layer, layer_of};
use crate::tls::{Keeper, Terminator, Trust};
use crate::unsupported::{at, unsupported};

/// What a snapshot is made with.
pub struct Compiler<'a> {
    /// Every plugin there is.
    pub definitions: &'a [&'static dyn Definition],
    /// What outlives reloads.
    pub services: &'a Arc<Services>,
    /// Resolves host names of services and targets.
    pub resolver: &'a Arc<Resolver>,
    /// What of TLS outlives reloads.
    pub tls: &'a Keeper,
}

/// Trust in services, by service.
pub type Trusts = AHashMap<Uuid, Arc<Trust>>;

impl Compiler<'_> {
    /// Compiles `config`.
    ///
    /// # Errors
    /// Everything in the configuration that cannot be honoured.
    pub fn compile(&self, config: Arc<Config>) -> Result<Snapshot, Vec<Problem>> {
        let shown = config.clone();
        self.attempt(config).map_err(|problems| {
            // Whoever found a problem may have told the value that is wrong, and it may be a secret.
            let told =
                |problem: Problem| Problem { message: shown.without_secrets(problem.message), ..problem };
            problems.into_iter().map(told).collect()
        })
    }

    fn attempt(&self, owned: Arc<Config>) -> Result<Snapshot, Vec<Problem>> {
        let config = &owned;
        let matched = matched_routes(config);
        let mut problems = unsupported(config);
        let purpose = if self.services.dry_run { Purpose::Check } else { Purpose::Serve };
        let listings = discovery::compile(config, self.resolver, self.tls, purpose, &mut problems);
        let balancers = Balancers::with_listings(config, self.resolver, &listings);
        let (terminator, trusts) = self.prepare_tls(config, &mut problems);
        let certificates = terminator.certificates();
        let checks = Checks::compile(config, &balancers, self.tls, certificates, &mut problems);
        let shared = Shared::default();
        let instances = self.build_plugins(config, &matched, &shared, &mut problems);
        let streams = self.compile_streams(config, &instances, &mut problems);
        let of_requests = routable(config).filter(|(_, route)| layer_of(route) == Layer::Requests);
        let router = Router::compile(of_requests).map_err(|(ordinal, message)| {
            let entity = config.routes[ordinal].id;
            at(config, "routes", entity, "paths", &message)
        });
        let router = match router {
            Ok(router) if problems.is_empty() => router,
            Ok(_) => return Err(problems),
            Err(problem) => {
                problems.push(problem);
                return Err(problems);
            }
        };
        let plugins = Plugins::new(self.definitions, config, Layer::Requests);
        let detours = detour::compile(config, &shared, &balancers, &trusts);
        let mut services = CompiledServices::new(config, &balancers, &trusts);
        let mut chains = Chains::new(&plugins);
        let routes: Vec<CompiledRoute> = offering(500, matched.into_iter())
            .map(|matched| {
                let chain = chains.of(matched.route.id, matched.service.as_ref().map(|service| service.id));
                let service = matched.service.as_ref().and_then(|service| services.of(service));
                compile_route(matched, chain, service)
            })
            .collect();
        let warm = warm(&routes);
        let globals = plugins.chain(None, None);
        let slots = plugins.names.len();
        Ok(Snapshot {
            router,
            streams,
            routes,
            globals,
            instances,
            slots,
            balancers,
            checks,
            warm,
            detours,
            terminator,
            config: owned,
        })
    }

    fn compile_streams(
        &self,
        config: &Config,
        instances: &[Arc<dyn Phases>],
        problems: &mut Vec<Problem>,
    ) -> stream::Routes {
        let mut routes = routable(config).filter(|(_, route)| layer_of(route) == Layer::Streams).peekable();
        if routes.peek().is_none() {
            return stream::Routes::default();
        }
        let plugins = Plugins::new(self.definitions, config, Layer::Streams);
        let rooms = |route: &Route| {
            let of = |phase| plugins.rooms(phase, route, instances);
            stream::Rooms { admitting: of(Phase::Session), logging: of(Phase::SessionLog) }
        };
        stream::Routes::compile(config, routes, rooms, self.services, problems)
    }

    fn prepare_tls(&self, config: &Config, problems: &mut Vec<Problem>) -> (Terminator, Trusts) {
        let terminator = Terminator::compile(config, self.definitions, self.tls, problems);
        let mut trusts = Trusts::new();
        for service in offering(500, config.services.iter()).filter(|service| service.enabled) {
            if let Some(trust) =
                Trust::compile(config, service, self.tls, terminator.certificates(), problems)
            {
                trusts.insert(service.id, trust);
            }
        }
        (terminator, trusts)
    }

    fn build_plugins(
        &self,
        config: &Arc<Config>,
        routes: &[Arc<Matched>],
        shared: &Shared,
        problems: &mut Vec<Problem>,
    ) -> Vec<Arc<dyn Phases>> {
        let by_name: AHashMap<&str, &'static dyn Definition> =
            self.definitions.iter().map(|definition| (definition.name(), *definition)).collect();
        let mut instances = Vec::new();
        for row in offering(2_000, enabled(config)) {
            let cx = Build { config, row, routes, services: self.services, shared };
            let built = by_name.get(row.name.as_str()).map(|definition| definition.build(row, &cx));
            match built {
                Some(Ok(room)) => instances.push(room),
                Some(Err(error)) => {
                    problems.push(at(config, "plugins", row.id, &error.field, &error.message));
                }
                None => {
                    let message = format!("plugin '{}' is not part of this gateway", row.name);
                    problems.push(at(config, "plugins", row.id, "name", &message));
                }
            }
        }
        instances
    }
}

fn enabled(config: &Config) -> impl Iterator<Item = &PluginRow> {
    config.plugins.iter().map(AsRef::as_ref).filter(|row| row.enabled)
}

fn matched_routes(config: &Config) -> Vec<Arc<Matched>> {
    let mut services: AHashMap<Uuid, Arc<str>> = AHashMap::new();
    let matched = |(ordinal, route): (usize, &Arc<Route>)| {
        let service = route.service.and_then(|reference| config.service(reference.0)).cloned();
        let service_json = service.as_ref().map(|service| {
            let json = services.entry(service.id);
            json.or_insert_with(|| entity_json(config, "services", service.id).into()).clone()
        });
        let route_json = entity_json(config, "routes", route.id).into();
        Arc::new(Matched { route: route.clone(), service, ordinal, route_json, service_json })
    };
    offering(2_000, config.routes.iter().enumerate()).map(matched).collect()
}

/// The routes that take part in routing: those of disabled services do not (kong.md, trap 5).
fn routable(config: &Config) -> impl Iterator<Item = (usize, &Route)> {
    offering(200, config.routes.iter().enumerate()).filter_map(|(ordinal, route)| {
        let service = route.service.and_then(|reference| config.service(reference.0));
        service.is_none_or(|service| service.enabled).then_some((ordinal, &**route))
    })
}

/// An entity as log lines show it: without what is not set (kong.md 5.4).
fn entity_json(config: &Config, collection: &str, id: Uuid) -> String {
    config.entity_text(collection, id).unwrap_or_else(|| "{}".to_owned())
}

/// The services that routes lead to, each made ready once.
struct CompiledServices<'a> {
    ordinals: AHashMap<Uuid, usize>,
    balancers: &'a Balancers,
    trusts: &'a Trusts,
    ready: AHashMap<Uuid, Arc<CompiledService>>,
}

impl<'a> CompiledServices<'a> {
    fn new(config: &Config, balancers: &'a Balancers, trusts: &'a Trusts) -> Self {
        let services = config.services.iter().enumerate();
        let ordinals = services.map(|(ordinal, service)| (service.id, ordinal)).collect();
        Self { ordinals, balancers, trusts, ready: AHashMap::new() }
    }

    fn of(&mut self, service: &Service) -> Option<Arc<CompiledService>> {
        let ordinal = *self.ordinals.get(&service.id)?;
        let make = || {
            let trust = self.trusts.get(&service.id).cloned();
            let plan = Plan::new(service, self.balancers.for_service(service), trust);
            Arc::new(CompiledService { plan, path: service.path.clone(), ordinal })
        };
        Some(self.ready.entry(service.id).or_insert_with(make).clone())
    }
}

fn compile_route(
    matched: Arc<Matched>,
    chain: Arc<Chain>,
    service: Option<Arc<CompiledService>>,
) -> CompiledRoute {
    let route = &matched.route;
    let (strip_path, preserve_host) = (route.strip_path, route.preserve_host);
    let (speaks, request_buffering) = (speaks(route), route.request_buffering);
    CompiledRoute { matched, chain, service, speaks, strip_path, preserve_host, request_buffering }
}

/// The services to whose targets connections are kept ready, each once. Of HTTP/2, one connection serves many requests,
/// and one that announces a client serves no other.
fn warm(routes: &[CompiledRoute]) -> Box<[Plan]> {
    let mut seen = AHashSet::new();
    let ready = |route: &&CompiledRoute| {
        route.service.as_ref().is_some_and(|service| {
            let plan = &service.plan;
            plan.balancer.keeps_ready()
                && plan.versions == Versions::Http1
                && plan.announcing.is_none()
                && layer_of(&route.matched.route) == Layer::Requests
                && seen.insert(service.ordinal)
        })
    };
    routes.iter().filter(ready).filter_map(|route| route.plan().cloned()).collect()
}

fn speaks(route: &Route) -> Speaks {
    let lists = |name: &str| route.protocols.iter().any(|protocol| protocol == name);
    if lists("http") {
        Speaks::Http
    } else if lists("https") {
        Speaks::Https
    } else if lists("grpc") {
        Speaks::Grpc
    } else if lists("ws") {
        Speaks::WebSocket
    } else if lists("wss") {
        Speaks::SecureWebSocket
    } else {
        Speaks::Grpcs
    }
}

/// The plugin rows of a configuration that run on one layer, sorted by what they apply to.
struct Plugins<'a> {
    definitions: AHashMap<&'a str, &'static dyn Definition>,
    /// Names in use, in execution order; the position is the slot's number.
    names: Vec<&'a str>,
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
    fn new(definitions: &'a [&'static dyn Definition], config: &'a Config, of: Layer) -> Self {
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

    fn chain(&self, route: Option<Uuid>, service: Option<Uuid>) -> Chain {
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
struct Chains<'a> {
    plugins: &'a Plugins<'a>,
    with_own: AHashSet<Uuid>,
    by_service: AHashMap<Option<Uuid>, Arc<Chain>>,
}

impl<'a> Chains<'a> {
    fn new(plugins: &'a Plugins<'a>) -> Self {
        let with_own = plugins.by_name.values().flat_map(Rows::routes).collect();
        Self { plugins, with_own, by_service: AHashMap::new() }
    }

    fn of(&mut self, route: Uuid, service: Option<Uuid>) -> Arc<Chain> {
        if self.with_own.contains(&route) {
            return Arc::new(self.plugins.chain(Some(route), service));
        }
        let shared = self.by_service.entry(service);
        shared.or_insert_with(|| Arc::new(self.plugins.chain(None, service))).clone()
    }
}

impl Plugins<'_> {
    /// What runs in a phase of the sessions of a route. Nobody is known there, so that only rows for everybody count.
    fn rooms(&self, phase: Phase, route: &Route, instances: &[Arc<dyn Phases>]) -> Box<[Arc<dyn Phases>]> {
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
