//! What a configuration wants to know of its upstreams.

use std::sync::Arc;
use std::time::Duration;

use model::entity::{Active, Healthchecks, Upstream};
use model::{Config, Problem};
use tokio::sync::Notify;
use uuid::Uuid;

use super::outliers::Limits;
use super::probe::Probe;
use super::sign::Judgement;
use crate::balance::{Balancer, Balancers};
use crate::tls::{Certificates, Keeper};

/// Shortest time between two probes of an address.
const SHORTEST: Duration = Duration::from_millis(100);

/// All upstreams of a configuration whose health is found out.
#[derive(Default)]
pub(crate) struct Checks(Vec<Check>);

/// One of them.
pub(crate) struct Check {
    /// The upstream.
    pub id: Uuid,
    /// Its addresses.
    pub balancer: Arc<Balancer>,
    /// How they are judged.
    pub rules: Arc<Rules>,
    /// How they are asked, if they are.
    pub asks: Option<Asks>,
}

/// How the addresses of an upstream are judged.
pub(crate) struct Rules {
    /// The name of the upstream.
    pub upstream: String,
    /// What traffic says.
    pub passive: Judgement,
    /// What probes say.
    pub active: Judgement,
    /// How they are compared with each other.
    pub outliers: Option<Limits>,
    /// The rest.
    pub healthchecks: Healthchecks,
    /// Wakes who draws consequences.
    pub rouse: Arc<Notify>,
}

/// How and when addresses are asked.
pub(crate) struct Asks {
    /// What they are asked.
    pub probe: Arc<Probe>,
    /// Between two probes of a healthy address.
    pub of_healthy: Option<Duration>,
    /// Between two probes of an unhealthy one.
    pub of_unhealthy: Option<Duration>,
    /// Probes at a time.
    pub concurrency: usize,
}

impl Rules {
    /// Those of `upstream`; none where nothing is found out about it.
    pub fn of(upstream: &Upstream, rouse: &Arc<Notify>) -> Option<Arc<Self>> {
        let checks = &upstream.healthchecks;
        checks.are_on().then(|| {
            Arc::new(Self {
                upstream: upstream.name.clone(),
                passive: Judgement::passive(&checks.passive),
                active: Judgement::active(&checks.active),
                outliers: checks.outliers.as_ref().map(Limits::from),
                healthchecks: checks.clone(),
                rouse: rouse.clone(),
            })
        })
    }
}

impl Checks {
    /// Those of `config`. What cannot be honoured is added to `problems`.
    pub fn compile(
        config: &Config,
        balancers: &Balancers,
        keeper: &Keeper,
        certificates: &Certificates,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut checks = Vec::new();
        for upstream in &config.upstreams {
            let Some((balancer, rules)) = balancers.watched(&upstream.name) else { continue };
            let probe = upstream
                .healthchecks
                .probes()
                .then(|| Probe::compile(config, upstream, keeper, certificates, problems))
                .flatten();
            let asks = probe.map(|probe| Asks::new(Arc::new(probe), &upstream.healthchecks.active));
            checks.push(Check { id: upstream.id, balancer: balancer.clone(), rules: rules.clone(), asks });
        }
        Self(checks)
    }

    /// Those of `config`, which asks nobody.
    #[cfg(test)]
    pub fn without_probes(config: &Config, balancers: &Balancers) -> Self {
        let check = |upstream: &Arc<Upstream>| {
            let (balancer, rules) = balancers.watched(&upstream.name)?;
            Some(Check { id: upstream.id, balancer: balancer.clone(), rules: rules.clone(), asks: None })
        };
        Self(config.upstreams.iter().filter_map(check).collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Check> {
        self.0.iter()
    }

    /// Whether there is nothing to find out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Asks {
    fn new(probe: Arc<Probe>, active: &Active) -> Self {
        let interval = |seconds: f64| (seconds > 0.0).then(|| Duration::from_secs_f64(seconds).max(SHORTEST));
        Self {
            probe,
            of_healthy: interval(active.healthy.interval),
            of_unhealthy: interval(active.unhealthy.interval),
            concurrency: usize::try_from(active.concurrency).unwrap_or(usize::MAX).max(1),
        }
    }
}
