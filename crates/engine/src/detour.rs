//! Ways that requests may take instead of the one to the service of their route, made ready at reload.

use model::Config;
use plugin::build::Shared;
use plugin::detour::{Base, Detour, Detours, To};
use plugin::guard::{Instead, Nowhere};
use plugin::{Access, Exchange};

use crate::balance::Balancers;
use crate::compile::Trusts;
use crate::respond::Failure;
use crate::session::Parts;
use crate::snapshot::{CompiledRoute, Plan, Snapshot};

/// A detour made ready.
pub struct Compiled {
    plans: Plans,
    /// Path of the service it leads to, if it leads to one.
    service_path: Option<Option<String>>,
}

enum Plans {
    /// For whoever takes it.
    One(Box<Plan>),
    /// For requests of each service, by its ordinal; none for disabled ones.
    Each(Vec<Option<Plan>>),
}

/// Makes the detours ready that the rooms of `config` have registered.
pub fn compile(config: &Config, shared: &Shared, balancers: &Balancers, trusts: &Trusts) -> Vec<Compiled> {
    let registered = shared.known::<Detours>().map_or_else(Vec::new, |detours| detours.list());
    registered.iter().map(|detour| compile_one(config, detour, balancers, trusts)).collect()
}

fn compile_one(config: &Config, detour: &Detour, balancers: &Balancers, trusts: &Trusts) -> Compiled {
    let trust = |service: &model::entity::Service| trusts.get(&service.id).cloned();
    let (plans, service_path) = match (detour.to(), detour.base()) {
        (To::Service(service), _) => {
            let plan = Plan::new(service, balancers.for_service(service), trust(service));
            (Plans::One(Box::new(plan)), Some(service.path.clone()))
        }
        (To::Host { host, port }, base) => {
            let plan = |service: &model::entity::Service| {
                let host = host.as_deref().unwrap_or(&service.host);
                let balancer = balancers.for_host(host, port.unwrap_or(service.port));
                Plan::new(service, balancer, trust(service))
            };
            let plans = match base {
                Base::Service(service) => Plans::One(Box::new(plan(service))),
                Base::Every => {
                    let each = config.services.iter();
                    Plans::Each(each.map(|service| service.enabled.then(|| plan(service))).collect())
                }
            };
            (plans, None)
        }
    };
    let balancers: Vec<_> = plans.iter().map(|plan| plan.balancer.clone()).collect();
    detour.report_reachable(move || balancers.iter().any(|balancer| balancer.is_reachable()));
    Compiled { plans, service_path }
}

impl Plans {
    fn iter(&self) -> impl Iterator<Item = &Plan> {
        let (one, each) = match self {
            Self::One(plan) => (Some(&**plan), [].as_slice()),
            Self::Each(plans) => (None, plans.as_slice()),
        };
        one.into_iter().chain(each.iter().flatten())
    }
}

/// How the request is carried: to the service of its route, unless a room sends it elsewhere.
#[inline]
pub fn plan<'s>(
    parts: &mut Parts<'_>,
    snapshot: &'s Snapshot,
    route: &'s CompiledRoute,
) -> Result<&'s Plan, Failure> {
    match &parts.work.exchange.detour {
        None => route.plan().ok_or(Failure::NoService),
        Some(detour) => {
            let (number, path) = (detour.number(), &mut parts.work.exchange.upstream.path);
            take(number, path, snapshot, route, route.service_path())
        }
    }
}

/// How a request that has been planned, or a copy of it, is carried once more: on `to`, or to where it went before.
pub fn plan_again<'s>(
    exchange: &mut Exchange,
    snapshot: &'s Snapshot,
    route: &'s CompiledRoute,
    to: Option<Detour>,
) -> Result<&'s Plan, Failure> {
    let own = route.service_path();
    let went = exchange.detour.as_ref().and_then(|detour| snapshot.detours.get(detour.number()));
    let went = went.and_then(|compiled| compiled.service_path.as_ref()).map_or(own, Option::as_deref);
    if to.is_some() {
        exchange.detour = to;
    }
    match &exchange.detour {
        None => route.plan().ok_or(Failure::NoService),
        Some(detour) => take(detour.number(), &mut exchange.upstream.path, snapshot, route, went),
    }
}

/// How a request is carried that has reached nobody: as its guard says; none if that has answered.
///
/// # Errors
/// The failure that has brought it here, if there is no guard or it has nothing to say.
pub fn plan_instead<'s>(
    exchange: &mut Exchange,
    snapshot: &'s Snapshot,
    route: &'s CompiledRoute,
    (failure, why): (Failure, Nowhere),
) -> Result<Option<&'s Plan>, Failure> {
    let guard = exchange.guard.take().ok_or(failure)?;
    let went = exchange.detour.clone();
    if guard.stand_in(&mut Access::apart(exchange), why).ok_or(failure)? == Instead::Answered {
        return Ok(None);
    }
    let to = std::mem::replace(&mut exchange.detour, went);
    plan_again(exchange, snapshot, route, to).map(Some)
}

fn take<'s>(
    number: usize,
    path: &mut Vec<u8>,
    snapshot: &'s Snapshot,
    route: &'s CompiledRoute,
    from: Option<&str>,
) -> Result<&'s Plan, Failure> {
    let compiled = snapshot.detours.get(number).ok_or(Failure::NoService)?;
    if let Some(service_path) = &compiled.service_path {
        change_base(path, from, service_path.as_deref());
    }
    match &compiled.plans {
        Plans::One(plan) => Ok(plan),
        Plans::Each(plans) => {
            let plan = route.service.as_ref().and_then(|service| plans.get(service.ordinal)?.as_ref());
            plan.ok_or(Failure::NoService)
        }
    }
}

/// Puts the path of the service `to` in the place of that of the service `from`. A path that does not begin with it,
/// because a room has written another one, stays as it is.
fn change_base(path: &mut Vec<u8>, from: Option<&str>, to: Option<&str>) {
    let stem = |path: Option<&'_ str>| path.unwrap_or_default().trim_end_matches('/').len();
    let (from_stem, to_stem) = (stem(from), stem(to));
    let (old, new) = (&from.unwrap_or_default()[..from_stem], &to.unwrap_or_default()[..to_stem]);
    let rest = path.strip_prefix(old.as_bytes());
    if old != new && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")) {
        path.splice(..from_stem, new.bytes());
        if path.is_empty() {
            path.push(b'/');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::change_base;

    fn changed(path: &str, from: Option<&str>, to: Option<&str>) -> String {
        let mut path = path.as_bytes().to_vec();
        change_base(&mut path, from, to);
        String::from_utf8(path).unwrap()
    }

    #[test]
    fn one_service_path_takes_the_place_of_the_other() {
        let cases = [
            ("/a", None, Some("/v2"), "/v2/a"),
            ("/a", Some("/"), Some("/v2/"), "/v2/a"),
            ("/v1/a", Some("/v1"), None, "/a"),
            ("/v1", Some("/v1"), Some("/"), "/"),
            ("/v1/a/b", Some("/v1/"), Some("/new/v2"), "/new/v2/a/b"),
            ("/v1/v1", Some("/v1"), Some("/v2"), "/v2/v1"),
        ];
        for (path, from, to, expected) in cases {
            assert_eq!(changed(path, from, to), expected, "{path} from {from:?} to {to:?}");
        }
    }

    #[test]
    fn a_path_that_a_room_has_written_stays() {
        assert_eq!(changed("/v10/a", Some("/v1"), Some("/v2")), "/v10/a");
        assert_eq!(changed("/other", Some("/v1"), Some("/v2")), "/other");
    }
}
