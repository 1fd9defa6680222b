//! The story, act by act: what happens, what may be lost of it, and what must hold.

use super::judge::{Excuse, Moment, Outcome, Phase, Sent, When};
use super::traffic::CLIENTS;
use super::{Act, KINDS, NAME, World};
use crate::redis::server::Server;
use crate::redis::{eventually, expect};

/// A request that must not be repeated, and is at a backend when that is killed.
const AT_THE_KILLED: Excuse = Excuse {
    kind: "POST /orders",
    when: When::UnderWay,
    status: 502,
    most: CLIENTS,
    reason: "under way at the backend that was killed, and not to be repeated",
};
/// With every request counted in Redis and `failure_mode: closed`.
const DECLARED: Excuse = Excuse {
    kind: "GET /closed",
    when: When::Meanwhile,
    status: 500,
    most: usize::MAX,
    reason: "Redis is away, and its limit is declared to close then",
};
const STILL_DECLARED: Excuse = Excuse { when: When::UnderWay, ..DECLARED };
const PROBE: Excuse = Excuse {
    kind: CATALOG,
    when: When::Meanwhile,
    status: 502,
    most: usize::MAX,
    reason: "the breaker's probe whether its backend is back",
};
const CATALOG: &str = "GET /catalog";
/// The act in which the breaker of the catalog is open first.
const BROKEN: usize = 3;

pub(super) const ACTS: &[Act] = &[
    Act {
        phase: Phase { name: "all is well", excuses: &[] },
        happens: |_| Ok(()),
        holds: |world| world.limits("early"),
    },
    Act {
        phase: Phase { name: "one of three backends is killed", excuses: &[AT_THE_KILLED] },
        happens: |world| world.orders[0].kill_at_work(),
        holds: |world| health(world, &["UNHEALTHY", "HEALTHY", "HEALTHY"]),
    },
    Act {
        phase: Phase { name: "it comes back", excuses: &[] },
        happens: |world| world.orders[0].come_back(),
        holds: |world| {
            health(world, &["HEALTHY"; 3])?;
            more_reach(world, |world| world.orders[0].journal())
        },
    },
    Act {
        phase: Phase {
            name: "an only backend is killed",
            excuses: &[
                Excuse {
                    kind: CATALOG,
                    when: When::UnderWay,
                    status: 502,
                    most: usize::MAX,
                    reason: "nobody else has it, and its breaker is not open yet",
                },
                PROBE,
            ],
        },
        happens: |world| {
            world.only.kill();
            breaker(world, "open")
        },
        holds: |world| expect("the other breaker", state(world, "orders")?, vec!["closed".to_owned()]),
    },
    Act {
        phase: Phase { name: "it comes back", excuses: &[Excuse { when: When::UnderWay, ..PROBE }] },
        happens: |world| {
            world.only.come_back()?;
            breaker(world, "closed")
        },
        holds: |world| more_reach(world, |world| world.only.journal()),
    },
    Act {
        phase: Phase { name: "Redis is killed", excuses: &[DECLARED] },
        happens: |world| {
            world.redis.kill();
            Ok(())
        },
        holds: |world| {
            world.wrote(&["a shared server does not answer"], 1)?;
            world.limits("meanwhile")
        },
    },
    Act {
        phase: Phase { name: "it comes back, empty", excuses: &[STILL_DECLARED] },
        happens: |world| redis_comes_back(world, 1),
        holds: |world| counted_in_redis(world, "afterwards"),
    },
    Act {
        phase: Phase { name: "the name server is killed", excuses: &[] },
        happens: |world| {
            world.names.kill();
            Ok(())
        },
        // Its answers were good for a second.
        holds: |world| world.wrote(&["name does not resolve", NAME], 1),
    },
    Act {
        phase: Phase { name: "it comes back with another address", excuses: &[] },
        happens: |world| {
            let address = world.shops[0].address;
            world.names.come_back(NAME, address)?;
            more_reach(world, |world| world.shops[0].journal())
        },
        holds: |_| Ok(()),
    },
    Act {
        phase: Phase { name: "Consul is killed", excuses: &[] },
        happens: |world| {
            world.registry.kill();
            Ok(())
        },
        // The last good list serves on.
        holds: |world| {
            world.wrote(&["targets are not listed; the last list is kept", "stock"], 1)?;
            more_reach(world, |world| world.stocks[0].journal())
        },
    },
    Act {
        phase: Phase { name: "it comes back with another instance", excuses: &[] },
        happens: |world| {
            world.registry.come_back(&world.stocks[1])?;
            world.wrote(&["targets are listed again", "stock"], 1)?;
            more_reach(world, |world| world.stocks[1].journal())
        },
        holds: |_| Ok(()),
    },
    Act {
        phase: Phase { name: "all of them are killed at once", excuses: &[AT_THE_KILLED, DECLARED] },
        happens: |world| {
            world.redis.kill();
            world.names.kill();
            world.registry.kill();
            world.orders[1].kill_at_work()
        },
        holds: |world| {
            health(world, &["HEALTHY", "UNHEALTHY", "HEALTHY"])?;
            world.wrote(&["a shared server does not answer"], 2)?;
            world.limits("between")
        },
    },
    Act {
        phase: Phase { name: "and come back", excuses: &[STILL_DECLARED] },
        happens: |world| {
            let address = world.shops[1].address;
            world.names.come_back(NAME, address)?;
            world.registry.come_back(&world.stocks[0])?;
            world.orders[1].come_back()?;
            redis_comes_back(world, 2)?;
            more_reach(world, |world| world.shops[1].journal())?;
            more_reach(world, |world| world.stocks[0].journal())
        },
        holds: |world| {
            health(world, &["HEALTHY"; 3])?;
            more_reach(world, |world| world.orders[1].journal())?;
            counted_in_redis(world, "end")
        },
    },
    Act {
        phase: Phase { name: "all is well again", excuses: &[] },
        happens: |_| Ok(()),
        holds: |world| expect("the breakers", state(world, "catalog")?, vec!["closed".to_owned()]),
    },
];

/// Of the requests that found the breaker open, no more were lost than it sent to find out whether its backend was back.
pub(super) fn probes(world: &World, sent: &[Sent]) -> Result<(), String> {
    let since = Moment { phase: BROKEN, settled: true };
    let is_lost = |one: &&Sent| {
        KINDS[one.kind].name() == CATALOG && one.begun >= since && one.outcome != Outcome::Status(200)
    };
    let (lost, opened) =
        (sent.iter().filter(is_lost).count(), world.metric("biplane_circuit_breaker_opened_total")?);
    match lost as f64 <= opened {
        true => Ok(()),
        false => Err(format!("{lost} requests were lost to a breaker that opened {opened} times")),
    }
}

/// The gateway finds out by itself how the backends of `/orders` are.
fn health(world: &World, wanted: &[&str]) -> Result<(), String> {
    eventually(|| expect("health", world.told("/upstreams/orders.upstream/health", "health")?, owned(wanted)))
}

fn breaker(world: &World, wanted: &str) -> Result<(), String> {
    eventually(|| expect("the breaker", state(world, "catalog")?, owned(&[wanted])))
}

fn state(world: &World, service: &str) -> Result<Vec<String>, String> {
    world.told(&format!("/circuit-breakers/{service}"), "state")
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A backend gets more requests than it has had.
fn more_reach(
    world: &World,
    journal: impl Fn(&World) -> Result<Vec<(String, u64)>, String>,
) -> Result<(), String> {
    let before = journal(world)?.len();
    eventually(|| match journal(world)?.len() > before {
        true => Ok(()),
        false => Err("no requests reach the backend that is back".to_owned()),
    })
}

fn redis_comes_back(world: &mut World, time: usize) -> Result<(), String> {
    world.redis = Server::start_at(&world.folder, world.redis.port, "")?;
    world.wrote(&["a shared server answers again"], time)
}

/// The limit holds, and the numbers are where they belong.
fn counted_in_redis(world: &World, tenant: &str) -> Result<(), String> {
    world.limits(tenant)?;
    let key = world.redis.ask(&["KEYS", &format!("*{tenant}*")])?;
    if key.is_empty() { Err(format!("{tenant} is not counted in Redis")) } else { Ok(()) }
}
