//! The life of a connection on layer 4, from top to bottom.
//!
//! What a proxy in front says about it is read, and its ClientHello where TLS matters; the route is found once, with
//! the newest snapshot, which is let go then: a session may outlive many. Plugins may refuse it, before any handshake. Its
//! service is connected to, and bytes are relayed until the end, which plugins report. No plugin is named here.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plugin::exchange::{Client, Matched, Tls};
use plugin::sessions::{SessionEnd, SessionRecord, SessionSeries};
use tokio::time::Instant;
use wire::proxy_protocol::Origin;

use super::account::Account;
use super::connect::{Reached, Target, reach};
use super::draft::Arrival;
use super::hello;
use super::relay::relay;
use super::routes::{Found, Known, Routes};
use super::visit::{Rooms, Visit};
use crate::announcement;
use crate::bounds::Bound;
use crate::channel::Channel;
use crate::connections::Idle;
use crate::relay::{End, Patience};
use crate::session::Local;
use crate::settings::is_trusted;
use crate::snapshot::{Plan, Snapshot};
use crate::tls::{self, Handshakes, Offer, Pending};
use crate::worker::{Ending, Spoken};

/// How long a client may say nothing before it is taken for one that does not speak TLS, where both are possible.
const SILENCE: Duration = Duration::from_secs(1);

/// Serves a connection in a task of its own.
pub fn start(local: &Rc<Local>, channel: Channel, client: Client, spoken: Spoken) {
    let pending = listens(local, &client, spoken).then(|| Handshakes::begin(local));
    if matches!(pending, Some(None)) || local.load.take_on().is_err() {
        local.stats().refused.add(1);
        return;
    }
    let pending = pending.flatten();
    let number = local.connections.number();
    local.stats().accepted.add(1);
    let ending = Ending { local: local.clone(), number };
    let address = client.peer.ip();
    let idle = Rc::new(Idle::since(Instant::now()));
    let source = client.peer;
    let session = Session { local: local.clone(), client, source, spoken, idle: idle.clone(), pending };
    let task = tokio::task::spawn_local(async move {
        let _ending = ending;
        carry(session, channel).await;
    });
    local.connections.enter(number, task.abort_handle(), idle, address);
}

/// Whether there is a place for what a connection begins with, and anything left for it afterwards.
pub fn may_begin(local: &Local, client: &Client, spoken: Spoken) -> bool {
    (!listens(local, client, spoken) || Handshakes::have_room(local)) && local.load.take_on().is_ok()
}

/// Whether it is the client who says what comes of a connection.
fn listens(local: &Local, client: &Client, spoken: Spoken) -> bool {
    spoken.tls || spoken.proxied || local.snapshot().streams.look_at(client.local.port())
}

struct Session {
    local: Rc<Local>,
    client: Client,
    /// Where the connection comes from: the peer, or whom a trusted peer makes it for.
    source: SocketAddr,
    spoken: Spoken,
    /// Whether it may still give way to others; shared with the worker's books.
    idle: Rc<Idle>,
    /// A place among those who are still to say what they want.
    pending: Option<Pending>,
}

/// What a session needs of the configuration.
pub struct Way {
    /// How to reach the service; none for a route without one.
    pub plan: Option<Plan>,
    /// The counts of the route.
    pub series: Arc<SessionSeries>,
    /// Its TLS is carried on as it is.
    passthrough: bool,
    /// The plugins of the route, if it has any, and what they are shown of it.
    rooms: Option<(Arc<Rooms>, Arc<Matched>)>,
}

impl Way {
    /// What `found` leads to.
    pub fn of(snapshot: &Snapshot, found: Found) -> Option<Self> {
        let Known { series, rooms } = snapshot.streams.known(found)?;
        let route = &snapshot.routes[found.ordinal];
        let rooms = rooms.map(|rooms| (rooms, route.matched.clone()));
        Some(Self { plan: route.plan().cloned(), series, passthrough: found.passthrough, rooms })
    }

    /// Shows a session that begins to the plugins of the route, if it has any.
    pub fn visit(&self, local: &Local, ends: (SocketAddr, SocketAddr)) -> Option<Box<Visit>> {
        let (rooms, matched) = self.rooms.as_ref()?;
        Some(Box::new(Visit::begin(local, rooms, matched.clone(), ends)))
    }

    /// Counts a session that has ended, and has the plugins that it visited report it.
    pub fn tell(&self, visit: Option<&Visit>, record: &SessionRecord<'_>) {
        self.series.count(record.end, record.received, record.sent);
        if let Some(visit) = visit {
            visit.end(record);
        }
    }
}

/// Carries a session from its first byte to its last.
async fn carry(mut session: Session, channel: Channel) {
    let begun = Instant::now();
    let mut channel = channel;
    let way = match session.way(&mut channel).await {
        Ok(way) => way,
        Err(reason) => return session.close(&reason),
    };
    let ends = (session.source, session.client.local);
    let visit = way.visit(&session.local, ends);
    let refused = visit.as_ref().and_then(|visit| visit.refused);
    let mut account = Account::open(way, visit, ends, begun);
    if let Some(status) = refused {
        account.end = Some(SessionEnd::Refused(status));
        return;
    }
    match session.shake_hands(channel, &account.way).await {
        Ok((secured, known)) => {
            channel = secured;
            if let (Some(visit), Some(known)) = (&mut account.visit, known) {
                visit.note_tls(known);
            }
        }
        Err(reason) => return session.close(&reason),
    }
    session.idle.work();
    session.serve(&mut channel, &mut account).await;
}

impl Session {
    /// Where the connection leads.
    async fn way(&mut self, channel: &mut Channel) -> io::Result<Way> {
        let found = match self.find(channel).await {
            Ok(Some(found)) => found,
            missed => {
                self.local.streams.unrouted.add(1);
                return Err(missed.err().unwrap_or_else(|| io::Error::other("no route matches")));
            }
        };
        let way = Way::of(&self.local.snapshot(), found);
        way.ok_or_else(|| io::Error::other("the route has just been removed"))
    }

    /// Ends TLS where that is for the gateway to do.
    async fn shake_hands(&mut self, channel: Channel, way: &Way) -> io::Result<(Channel, Option<Tls>)> {
        let pending = self.pending.take();
        let Some(pending) = pending.filter(|_| self.spoken.tls && !way.passthrough) else {
            return Ok((channel, None));
        };
        // In a box, which goes before the session is carried.
        let accepted = Box::pin(tls::accept(pending, channel.into_stream(), Offer::Nothing)).await?;
        Ok((Channel::new(accepted.stream, self.local.buffers.clone()), Some(accepted.known)))
    }

    /// Nothing comes of the connection.
    fn close(&self, reason: &io::Error) {
        let (client, listener) = (self.source, self.client.local);
        tracing::debug!(%client, %listener, %reason, "a connection is closed");
    }

    /// The route, with the newest snapshot. None when none matches.
    async fn find(&mut self, channel: &mut Channel) -> io::Result<Option<Found>> {
        let deadline = Instant::now() + self.local.settings.tls.handshake_timeout;
        if self.spoken.proxied {
            let origin = announcement::read(channel, deadline).await?;
            if let Origin::Forwarded { source, .. } = origin
                && is_trusted(&self.local.settings, self.client.peer.ip())
            {
                self.source = source;
            }
        }
        let arrival = Arrival { source: self.source, destination: self.client.local, name: None };
        if !self.spoken.tls {
            return Ok(self.find_clear(channel, arrival, deadline).await);
        }
        let name = hello::server_name(channel, deadline, deadline).await?;
        Ok(self.local.snapshot().streams.secure(&Arrival { name: name.as_deref(), ..arrival }))
    }

    /// The route of a connection to a listener without TLS: whoever speaks it all the same may be passed through.
    async fn find_clear(
        &self,
        channel: &mut Channel,
        arrival: Arrival<'_>,
        deadline: Instant,
    ) -> Option<Found> {
        let snapshot = self.local.snapshot();
        if !snapshot.streams.look_at(arrival.destination.port()) {
            return snapshot.streams.clear(&arrival);
        }
        let patience = if snapshot.streams.has_clear() { Instant::now() + SILENCE } else { deadline };
        drop(snapshot);
        let named = hello::server_name(channel, deadline, patience).await;
        let snapshot = self.local.snapshot();
        let streams: &Routes = &snapshot.streams;
        let passed =
            named.ok().and_then(|name| streams.passthrough(&Arrival { name: name.as_deref(), ..arrival }));
        passed.or_else(|| streams.clear(&arrival))
    }

    /// Connects to the service and relays. The account says at any time how the session ends if it ends there.
    async fn serve(&self, channel: &mut Channel, account: &mut Account) {
        account.end = Some(SessionEnd::NoTarget);
        let Some(plan) = &account.way.plan else { return };
        let service = &account.way.series.service;
        let client = Client { peer: self.source, ip: self.source.ip(), ..self.client.clone() };
        // Whoever has said something may have ended only its own side, but nobody begins TLS to do that.
        let heeds_end =
            !self.local.settings.ignore_client_abort && (channel.input.is_empty() || account.way.passthrough);
        let target = Target { plan, service, client: &client, heeds_end };
        let connected = reach(&self.local, &target, channel, &mut account.tries).await;
        let (stream, _held) = match connected {
            Ok(Reached { stream, in_flight, seat }) => (stream, (in_flight, seat)),
            Err(end) => {
                account.end = Some(end);
                return;
            }
        };
        account.end = Some(SessionEnd::Carried);
        let patience = Patience {
            silence: plan.timeouts.read,
            service: plan.timeouts.write,
            client: self.local.settings.send_timeout,
        };
        let end = relay(channel, stream, &self.local.buffers, patience, &account.moved).await;
        account.relay = Some(end);
        if end == End::SlowClient {
            self.local.bounds.reached(Bound::SendTimeout);
        }
    }
}
