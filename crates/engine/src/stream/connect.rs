//! Connections to the services of streams: one target after the other, until one can be reached.

use std::io;
use std::net::SocketAddr;

use plugin::exchange::Client;
use plugin::sessions::SessionEnd;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::balance::{Asker, InFlight, Outcome, Peer, Picked, Trouble};
use crate::session::Local;
use crate::snapshot::Plan;
use crate::timer::Timer;
use crate::transport::Stream;
use crate::upstream::connect;
use crate::upstream::destination::Destination;

/// Targets that have been tried.
pub type Tried = SmallVec<[SocketAddr; 4]>;

/// What is to be reached, and for whom.
pub struct Target<'a> {
    /// The service.
    pub plan: &'a Plan,
    /// Its name.
    pub service: &'a str,
    /// The client, as the route has seen it.
    pub client: &'a Client,
}

/// Connects to a target, or to the next if that fails, as often as the service allows.
///
/// # Errors
/// How the session ends when none can be reached.
pub async fn reach(
    local: &Local,
    target: &Target<'_>,
    timer: &mut Timer,
    tried: &mut Tried,
) -> Result<(Stream, InFlight), SessionEnd> {
    let Target { plan, service, .. } = *target;
    let asker = Asker { client: target.client.ip, exchange: None };
    for _ in 0..=plan.retries {
        let picked = plan.balancer.pick(tried, &asker, &mut Vec::new());
        let Picked { peer, in_flight } = picked.map_err(|_| SessionEnd::NoTarget)?;
        let (reason, trouble) = match timer.within(plan.timeouts.connect, open(local, target, &peer)).await {
            Ok(Ok(stream)) => {
                tried.push(peer.address);
                in_flight.report(Outcome::Connected, Instant::now);
                return Ok((stream, in_flight));
            }
            Ok(Err(reason)) => (reason, Trouble::Unreachable),
            Err(_) => (io::ErrorKind::TimedOut.into(), Trouble::Late),
        };
        in_flight.report(Outcome::Failed(trouble), Instant::now);
        tried.push(peer.address);
        complain(local, service, peer.address, &reason);
    }
    Err(SessionEnd::Unreachable)
}

/// Connects to a target, under TLS where the service is reached so. The server name is the upstream's `host_header`,
/// or else the target's host.
async fn open(local: &Local, target: &Target<'_>, peer: &Peer) -> io::Result<Stream> {
    let plan = target.plan;
    let host = plan.balancer.host(peer);
    let name = plan.balancer.host_header().unwrap_or(host);
    let wanted = match &plan.trust {
        Some(trust) => Some(trust.wanted(name.as_bytes()).ok_or(io::ErrorKind::InvalidInput)?),
        None => None,
    };
    let destination = Destination::new(peer.address, plan.announcing, target.client);
    connect::open(&*local.dial, &destination, wanted).await
}

/// Says, now and then, why a service is not reached.
fn complain(local: &Local, service: &str, address: SocketAddr, reason: &io::Error) {
    if let Some(left_out) = local.complaints.now() {
        tracing::error!(service, %address, %reason, left_out, "a service of streams is not reached");
    }
}
