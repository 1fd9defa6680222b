//! Turns entities and plugin definitions into a [`Snapshot`]. Runs at reload, never on a request.

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
use crate::chain::Chain;
use crate::detour;
use crate::discovery::{self, Purpose};
use crate::dns::Resolver;
use crate::health::Checks;
use crate::route::Router;
use crate::snapshot::{CompiledRoute, CompiledService, Plan, Snapshot, Speaks, Versions};
use crate::stream;
use crate::stream::demands::{Layer, layer_of};
use crate::tls::{Keeper, Terminator, Trust};
use crate::unsupported::{at, unsupported};

mod chains;

use chains::{Chains, Plugins};

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
        let router = compile_router(config, problems)?;
        let plugins = Plugins::new(self.definitions, config, Layer::Requests);
        let detours = detour::compile(config, &shared, &balancers, &trusts);
        let services = CompiledServices::new(config, &balancers, &trusts);
        let routes = compile_routes(matched, Chains::new(&plugins), services);
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

/// The router of requests, unless anything is wrong with the configuration.
fn compile_router(config: &Config, mut problems: Vec<Problem>) -> Result<Router, Vec<Problem>> {
    let of_requests = routable(config).filter(|(_, route)| layer_of(route) == Layer::Requests);
    match Router::compile(of_requests) {
        Ok(router) if problems.is_empty() => return Ok(router),
        Ok(_) => {}
        Err((ordinal, message)) => {
            let entity = config.routes[ordinal].id;
            problems.push(at(config, "routes", entity, "paths", &message));
        }
    }
    Err(problems)
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

fn compile_routes(
    matched: Vec<Arc<Matched>>,
    mut chains: Chains<'_>,
    mut services: CompiledServices<'_>,
) -> Vec<CompiledRoute> {
    let compiled = |matched: Arc<Matched>| {
        let chain = chains.of(matched.route.id, matched.service.as_ref().map(|service| service.id));
        let service = matched.service.as_ref().and_then(|service| services.of(service));
        compile_route(matched, chain, service)
    };
    offering(500, matched.into_iter()).map(compiled).collect()
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
