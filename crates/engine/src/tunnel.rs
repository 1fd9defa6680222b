//! Bytes both ways after a change of protocol to WebSocket (RFC 9110 7.8), until both sides are done or silent for too
//! long, or the gateway goes: then both are told, between two frames.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::task::Waker;
use std::time::Duration;

use crate::bounds::Bound;
use crate::channel::{Channel, Input};
use crate::relay::{End, Moved, Patience, Relay};
use crate::session::Local;
use crate::upstream::attempt::Upstream;

/// How long before the end of a stopping gateway's patience its tunnels are told.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends `head` to the client and then relays until both directions have ended, one of them breaks, nothing moves for
/// long, a side does not take what it is sent, or the gateway goes.
pub async fn run(client: &mut Channel, mut upstream: Upstream, head: &[u8], local: &Local) -> Moved {
    let moved = Moved::default();
    if let Err(failure) = client.write_all(head, &local.settings).await {
        local.bounds.note(failure);
        return moved;
    }
    let patience = Patience {
        silence: local.settings.tunnel_timeout,
        service: upstream.write_timeout,
        client: local.settings.send_timeout,
    };
    let Channel { stream, input, timer, .. } = client;
    let [first, answer] =
        [input, &mut upstream.input].map(|input| mem::replace(input, Input::new(local.buffers.clone())));
    let mut relay = Relay::new(first, answer, patience, &moved).of_frames();
    let mut leaving = pin!(time_to_leave(local));
    let (mut leaves, mut asked_by) = (false, None::<Waker>);
    let end = poll_fn(|cx| {
        // Who has asked once is woken when the gateway stops: most messages need not ask again.
        let has_asked = asked_by.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !leaves && (local.draining.get() || !has_asked) {
            leaves = leaving.as_mut().poll(cx).is_ready();
            asked_by = Some(cx.waker().clone());
            if leaves {
                relay.leave();
            }
        }
        relay.poll(cx, stream, &mut upstream.stream, timer)
    });
    if end.await == End::SlowClient {
        local.bounds.reached(Bound::SendTimeout);
    }
    moved
}

/// Waits until the gateway stops and its patience is nearly used up.
async fn time_to_leave(local: &Local) {
    local.stopping().await;
    tokio::time::sleep(local.settings.drain_timeout.saturating_sub(FAREWELL)).await;
}
