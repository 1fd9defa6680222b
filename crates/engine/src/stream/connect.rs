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
use crate::upstream::gate::Seat;
use crate::upstream::queue::{self, NoSeat};

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

/// A service that has been reached.
pub struct Reached {
    /// The connection.
    pub stream: Stream,
    /// To be held until the session ends.
    pub in_flight: InFlight,
    /// The connection's place, where its upstream bounds how many there may be. To be held until it is closed.
    pub seat: Option<Seat>,
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
) -> Result<Reached, SessionEnd> {
    let Target { plan, service, .. } = *target;
    let asker = Asker { client: target.client.ip, exchange: None };
    let mut end = SessionEnd::Unreachable;
    for _ in 0..=plan.retries {
        let picked = plan.balancer.pick(tried, &asker, &mut Vec::new());
        let Picked { peer, in_flight } = picked.map_err(|_| SessionEnd::NoTarget)?;
        let seat = match admit(&peer, timer).await {
            Ok(seat) => seat,
            Err(none) => {
                complain(local, service, peer.address, &io::Error::other("no connection to it is free"));
                if none == NoSeat::Late {
                    return Err(SessionEnd::NoTarget);
                }
                end = SessionEnd::NoTarget;
                tried.push(peer.address);
                continue;
            }
        };
        let (reason, trouble) = match timer.within(plan.timeouts.connect, open(local, target, &peer)).await {
            Ok(Ok(stream)) => {
                tried.push(peer.address);
                in_flight.report(Outcome::Connected, Instant::now);
                return Ok(Reached { stream, in_flight, seat });
            }
            Ok(Err(reason)) => (reason, Trouble::Unreachable),
            Err(_) => (io::ErrorKind::TimedOut.into(), Trouble::Late),
        };
        in_flight.report(Outcome::Failed(trouble), Instant::now);
        tried.push(peer.address);
        complain(local, service, peer.address, &reason);
        end = SessionEnd::Unreachable;
    }
    Err(end)
}

/// A place for a connection to `peer`, where its upstream bounds how many there may be.
async fn admit(peer: &Peer, timer: &mut Timer) -> Result<Option<Seat>, NoSeat> {
    match &peer.gate {
        Some(gate) => queue::seat(gate, timer).await.map(Some),
        None => Ok(None),
    }
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
