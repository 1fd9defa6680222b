//! Connections that are opened ahead, so that there are always some ready.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::connect;
use super::destination::Destination;
use super::gate::Gate;
use crate::balance::Peer;
use crate::forward;
use crate::session::Local;
use crate::snapshot::Plan;

/// Addresses of one worker to which connections are being opened ahead, at most.
const MOST_AT_A_TIME: usize = 64;
/// The longest wait for one of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens what is missing of the connections that upstreams want ready, each worker its share. Called about every second.
pub fn warm_up(local: &Rc<Local>) {
    let snapshot = local.snapshot();
    if !keeps_ready(local) {
        return;
    }
    for plan in &snapshot.warm {
        for peer in plan.balancer.peers() {
            let Some(gate) = peer.gate.clone() else { continue };
            let share = (gate.limits().ready as usize).div_ceil(local.worker.services.workers);
            let mut warming = local.warming.borrow_mut();
            if share == 0 || warming.len() >= MOST_AT_A_TIME || !warming.insert(peer.address) {
                continue;
            }
            tokio::task::spawn_local(open(local.clone(), plan.clone(), peer, gate, share));
        }
    }
}

/// Whether anything is to be kept ready now: what gives way for its file is not to come back at once.
fn keeps_ready(local: &Local) -> bool {
    !local.draining.get() && !local.load.descriptors.are_short()
}

/// Opens connections to one address until `share` of them are idle, one fails or the pool keeps no more.
async fn open(local: Rc<Local>, plan: Plan, peer: Peer, gate: Arc<Gate>, share: usize) {
    let _under_way = UnderWay(local.clone(), peer.address);
    let destination = Destination::from(peer.address).through(Some(gate.clone()));
    let mut host = Vec::new();
    let target = (&**plan.balancer.host(&peer), peer.address, plan.scheme);
    forward::write_own_host(plan.balancer.host_header(), target, &mut host);
    let wanted = match &plan.trust {
        None => None,
        Some(trust) => match trust.wanted(&host) {
            Some(wanted) => Some(wanted),
            // No request can be sent there, either.
            None => return,
        },
    };
    let patience = plan.timeouts.connect.min(PATIENCE);
    let is_wanted =
        || local.pool.ready(&destination, wanted.as_ref()) < share && local.pool.has_room(&destination);
    while is_wanted() && keeps_ready(&local) {
        let Some(seat) = gate.try_seat() else { return };
        let opening = connect::open(&*local.dial, &destination, wanted);
        let Ok(Ok(stream)) = timeout(patience, opening).await else { return };
        // Without a pause another one would come to no better end.
        if !local.pool.put(destination.clone(), stream.seated(seat), 0, Instant::now().into_std()) {
            return;
        }
    }
}

/// Connections to an address are being opened for as long as this lives.
struct UnderWay(Rc<Local>, std::net::SocketAddr);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.warming.borrow_mut().remove(&self.1);
    }
}
