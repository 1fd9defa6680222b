//! A world of four targets that are well or not, with requests, probes, and a clock of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::declarative::{self, Catalog, Config};
use model::entity::Service;
use model::serde_json::{Value, json};
use plugin::harness::Dice;
use tokio::time::Instant;

use crate::balance::{Asker, Balancer, Balancers, Outcome, Trouble};
use crate::dns::{DnsSettings, Resolver};
use crate::health::book::Book;
use crate::health::checks::Checks;
use crate::health::counters::Sign;

/// The world moves on in steps of this.
pub const STEP: Duration = Duration::from_millis(10);
/// Targets of the upstream; target `n` has port `n`.
pub const TARGETS: u16 = 4;
/// Requests that are sent in each step.
const REQUESTS: usize = 4;

/// How a target is, whatever the gateway believes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    Well,
    Crashed,
    /// So many milliseconds for each response.
    Slow(u64),
    /// Out of a hundred requests, so many are answered with 500.
    Failing(u64),
    /// Responses do not come.
    Silent,
}

/// The world, as far as an upstream goes.
pub struct World {
    resolver: Arc<Resolver>,
    config: Config,
    pub checks: Checks,
    pub balancer: Arc<Balancer>,
    /// How the targets are.
    pub conditions: [Condition; TARGETS as usize],
    /// Requests each target got since somebody last looked.
    pub got: [usize; TARGETS as usize],
    /// Requests that no target got in that time.
    pub refused: usize,
    dice: Dice,
    steps: u64,
}

fn load(healthchecks: &Value) -> Config {
    let targets: Vec<_> = (0..TARGETS).map(|port| json!({"target": format!("10.0.0.1:{port}")})).collect();
    let upstream = json!({"name": "pool", "healthchecks": healthchecks, "targets": targets});
    let service = json!({"name": "s", "host": "pool"});
    let document = json!({"_format_version": "3.0", "upstreams": [upstream], "services": [service]});
    declarative::load("kong.json", &document.to_string(), &Catalog::default()).unwrap()
}

fn connect(config: &Config, resolver: &Arc<Resolver>) -> (Checks, Arc<Balancer>) {
    let balancers = Balancers::new(config, resolver);
    let service: &Service = &config.services[0];
    (Checks::without_probes(config, &balancers), balancers.for_service(service))
}

impl World {
    pub fn new(healthchecks: &Value, seed: u64) -> Self {
        let resolver = Resolver::start(DnsSettings::default()).unwrap();
        let config = load(healthchecks);
        let (checks, balancer) = connect(&config, &resolver);
        let conditions = [Condition::Well; TARGETS as usize];
        let got = [0; TARGETS as usize];
        let world = Self {
            resolver,
            config,
            checks,
            balancer,
            conditions,
            got,
            refused: 0,
            dice: Dice::new(seed),
            steps: 0,
        };
        world.settle();
        world
    }

    pub fn book(&self) -> &Book {
        &self.resolver.book
    }

    pub fn reload(&mut self, healthchecks: &Value) {
        self.config = load(healthchecks);
        (self.checks, self.balancer) = connect(&self.config, &self.resolver);
        self.settle();
    }

    /// The upstream has a target less.
    pub fn remove(&mut self, target: usize) {
        self.config.targets.retain(|one| one.target != format!("10.0.0.1:{target}"));
        (self.checks, self.balancer) = connect(&self.config, &self.resolver);
        self.settle();
    }

    fn settle(&self) {
        self.book().settle(&self.checks, Instant::now());
    }

    /// A number below `below`.
    pub fn random(&mut self, below: u64) -> u64 {
        self.dice.below(below)
    }

    /// What comes of a request, and after how long.
    fn happens(&mut self, target: usize) -> (Outcome, Duration) {
        match self.conditions[target] {
            Condition::Well => (Outcome::Responded(200), Duration::from_millis(5)),
            Condition::Crashed => (Outcome::Failed(Trouble::Unreachable), Duration::ZERO),
            Condition::Silent => (Outcome::Failed(Trouble::Late), Duration::from_secs(1)),
            Condition::Slow(millis) => (Outcome::Responded(200), Duration::from_millis(millis)),
            Condition::Failing(percent) => {
                let fails = self.random(100) < percent;
                (Outcome::Responded(if fails { 500 } else { 200 }), Duration::from_millis(5))
            }
        }
    }

    /// Time passes, with requests, and with probes twice a second.
    pub async fn pass(&mut self, time: Duration) {
        self.got = [0; TARGETS as usize];
        self.refused = 0;
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.steps += 1;
            for _ in 0..REQUESTS {
                self.request();
            }
            if self.steps.is_multiple_of(50) {
                self.probe();
            }
            self.settle();
            self.check();
            tokio::time::advance(STEP).await;
        }
    }

    fn request(&mut self) {
        let asker = Asker { client: IpAddr::from([192, 0, 2, 1]), exchange: None };
        let Ok(picked) = self.balancer.pick(&[], &asker, &mut Vec::new()) else {
            self.refused += 1;
            return;
        };
        let target = usize::from(picked.peer.address.port());
        self.got[target] += 1;
        let (outcome, took) = self.happens(target);
        picked.in_flight.report(outcome, || Instant::now() + took);
    }

    fn probe(&mut self) {
        for check in self.checks.iter().filter(|check| check.rules.healthchecks.probes()) {
            for member in check.balancer.members() {
                let sign = match self.conditions[usize::from(member.address.port())] {
                    Condition::Crashed => Sign::TcpFailure,
                    Condition::Silent => Sign::Timeout,
                    _ => Sign::Success,
                };
                member.standing.health().count(sign, &check.rules.active.thresholds);
            }
        }
    }

    /// What holds at every moment.
    fn check(&self) {
        for check in self.checks.iter() {
            let members = check.balancer.members();
            let count =
                |of: &dyn Fn(&crate::balance::Member) -> bool| members.iter().filter(|one| of(one)).count();
            let ejected = count(&|member| member.standing.health().is_ejected());
            let most = check.rules.outliers.as_ref().map_or(0, |limits| limits.most(members.len()));
            assert!(ejected <= most, "{ejected} of {most} are left out");
            let healthy = count(&|member| member.standing.health().is_healthy());
            let available = count(&|member| member.standing.available());
            if check.rules.healthchecks.threshold == 0.0 {
                assert_eq!(available > 0, healthy > 0 || available == members.len(), "nobody serves");
            }
        }
    }

    /// Whether these targets serve all requests, each about as many.
    pub fn serve(&self, targets: &[usize]) -> bool {
        let even = self.got.iter().sum::<usize>() / targets.len();
        let fits = |(target, got): (usize, &usize)| match targets.contains(&target) {
            true => got.abs_diff(even) < even / 5,
            false => *got == 0,
        };
        self.refused == 0 && self.got.iter().enumerate().all(fits)
    }

    pub fn states(&self) -> Vec<&'static str> {
        let members = self.balancer.members();
        members.iter().map(|member| member.standing.health().state()).collect()
    }
}
