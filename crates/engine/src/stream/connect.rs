//! Connections to the services of streams: one target after the other, until one can be reached.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use plugin::exchange::{self, Client, Try};
use plugin::sessions::SessionEnd;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::balance::{Asker, InFlight, Outcome, Peer, Picked, Trouble};
use crate::channel::Channel;
use crate::presence::Heard;
use crate::session::Local;
use crate::snapshot::Plan;
use crate::transport::Stream;
use crate::upstream::connect;
use crate::upstream::destination::Destination;
use crate::upstream::gate::Seat;
use crate::upstream::queue::{self, NoSeat};

/// What is to be reached, and for whom.
pub struct Target<'a> {
    /// The service.
    pub plan: &'a Plan,
    /// Its name.
    pub service: &'a str,
    /// The client, as the route has seen it.
    pub client: &'a Client,
    /// A client that ends its side before there is a connection for it wants none.
    pub heeds_end: bool,
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

/// Connects to a target, or to the next if that fails, as often as the service allows. What was tried is noted.
///
/// # Errors
/// How the session ends when none can be reached.
pub async fn reach(
    local: &Local,
    target: &Target<'_>,
    channel: &mut Channel,
    tries: &mut Vec<Try>,
) -> Result<Reached, SessionEnd> {
    let Target { plan, service, .. } = *target;
    let asker = Asker { client: target.client.ip, exchange: None };
    let mut end = SessionEnd::Unreachable;
    for _ in 0..=plan.retries {
        let tried: SmallVec<[SocketAddr; 4]> = tries.iter().map(|attempt| attempt.address).collect();
        let picked = plan.balancer.pick(&tried, &asker, &mut Vec::new());
        let Picked { peer, in_flight } = picked.map_err(|_| SessionEnd::NoTarget)?;
        let seat = match admit(&peer, channel, target.heeds_end).await {
            Ok(seat) => seat,
            Err(NoSeat::Unwanted) => return Err(SessionEnd::Left),
            Err(none) => {
                complain(local, service, peer.address, &io::Error::other("no connection to it is free"));
                if none == NoSeat::Late {
                    return Err(SessionEnd::NoTarget);
                }
                end = SessionEnd::NoTarget;
                tries.push(begun(local, peer.address, Some(exchange::Trouble::Unreachable)));
                continue;
            }
        };
        tries.push(begun(local, peer.address, None));
        let opened = channel.timer.within(plan.timeouts.connect, open(local, target, &peer)).await;
        let (reason, trouble) = match opened {
            Ok(Ok(stream)) => {
                in_flight.report(Outcome::Connected, Instant::now);
                return Ok(Reached { stream, in_flight, seat });
            }
            Ok(Err(reason)) => (reason, Trouble::Unreachable),
            Err(_) => (io::ErrorKind::TimedOut.into(), Trouble::Late),
        };
        in_flight.report(Outcome::Failed(trouble), Instant::now);
        if let Some(attempt) = tries.last_mut() {
            fail(attempt, exchange::Trouble::Unreachable);
        }
        complain(local, service, peer.address, &reason);
        end = SessionEnd::Unreachable;
    }
    Err(end)
}

/// A try that begins now, or has failed already.
pub fn begun(local: &Local, address: SocketAddr, failed: Option<exchange::Trouble>) -> Try {
    let started_ms = local.worker.services.clock.now_ms();
    let mut attempt = Try { address, started_ms, balancer_us: 0, failed: None, trouble: None };
    if let Some(trouble) = failed {
        fail(&mut attempt, trouble);
    }
    attempt
}

/// Notes that a try was in vain.
fn fail(attempt: &mut Try, trouble: exchange::Trouble) {
    (attempt.failed, attempt.trouble) = (Some(SessionEnd::Unreachable.code()), Some(trouble));
}

/// A place for a connection to `peer`, where its upstream bounds how many there may be. A client that leaves meanwhile is
/// waited for no longer.
async fn admit(peer: &Peer, channel: &mut Channel, heeds_end: bool) -> Result<Option<Seat>, NoSeat> {
    let Some(gate) = &peer.gate else { return Ok(None) };
    let Channel { stream, timer, .. } = channel;
    let gone = poll_fn(|cx| match heeds_end.then(|| stream.poll_heard(cx)) {
        Some(Poll::Ready(Heard::End)) => Poll::Ready(()),
        _ => Poll::Pending,
    });
    queue::seat(gate, timer, gone).await.map(Some)
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
