//! All routes of streams of a configuration, made ready at reload.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use model::entity::Route;
use model::{Config, Problem};
use plugin::Services;
use plugin::sessions::SessionSeries;

use super::demands::{Layer, layer_of};
use super::draft::{Arrival, Draft};
use super::index::Index;
use super::visit::Rooms;
use crate::unsupported::at;

/// The routes by what listens, each kind with an index of its own.
#[derive(Default)]
pub struct Routes {
    /// `tcp`, at listeners without TLS.
    clear: Index,
    /// `tls` and `tls_passthrough`, at listeners with TLS.
    secure: Index,
    /// `tls_passthrough`, at listeners without TLS.
    passthrough: Index,
    /// `udp`.
    datagrams: Index,
    /// Where a listener without TLS looks whether a client speaks TLS.
    looks: Looks,
    known: AHashMap<usize, Known>,
}

/// What there is to a route of streams.
#[derive(Clone)]
pub struct Known {
    /// Its counts.
    pub series: Arc<SessionSeries>,
    /// Its plugins, if it has any.
    pub rooms: Option<Arc<Rooms>>,
}

/// Ports at which routes pass TLS through.
enum Looks {
    Everywhere,
    At(AHashSet<u16>),
}

impl Default for Looks {
    fn default() -> Self {
        Self::At(AHashSet::new())
    }
}

/// The route of a connection or a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its place in the configuration.
    pub ordinal: usize,
    /// Its TLS is carried on as it is.
    pub passthrough: bool,
}

impl Routes {
    /// Indexes `routes`, which are numbered by their places in `config`. Those of requests are left out. `rooms` are the
    /// plugins of a route.
    pub fn compile<'a>(
        config: &Config,
        routes: impl Iterator<Item = (usize, &'a Route)>,
        rooms: impl Fn(&Route) -> Rooms,
        services: &Services,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let [mut clear, mut secure, mut passthrough, mut datagrams] = [const { Vec::new() }; 4];
        let mut known = AHashMap::new();
        for (ordinal, route) in routes.filter(|(_, route)| layer_of(route) == Layer::Streams) {
            let draft = match Draft::read(ordinal, route) {
                Ok(draft) => draft,
                Err((field, message)) => {
                    problems.push(at(config, "routes", route.id, field, &message));
                    continue;
                }
            };
            for protocol in route.protocols.iter() {
                match protocol.as_str() {
                    "tcp" => clear.push(draft.clone()),
                    "tls" => secure.push(draft.clone()),
                    "udp" => datagrams.push(draft.clone()),
                    _ => {
                        secure.push(draft.clone());
                        passthrough.push(draft.clone());
                    }
                }
            }
            let rooms = Some(rooms(route)).filter(|rooms| !rooms.is_empty()).map(Arc::new);
            known.insert(ordinal, Known { series: series_of(config, route, services), rooms });
        }
        let looks = Looks::of(&passthrough);
        Self {
            clear: Index::new(clear, false),
            secure: Index::new(secure, true),
            passthrough: Index::new(passthrough, true),
            datagrams: Index::new(datagrams, false),
            looks,
            known,
        }
    }

    /// The route of a connection without TLS, or whose TLS is not looked into.
    pub fn clear(&self, arrival: &Arrival<'_>) -> Option<Found> {
        found(&self.clear, arrival)
    }

    /// The route of a connection under TLS at a listener for it.
    pub fn secure(&self, arrival: &Arrival<'_>) -> Option<Found> {
        found(&self.secure, arrival)
    }

    /// The route of a connection under TLS at a listener without.
    pub fn passthrough(&self, arrival: &Arrival<'_>) -> Option<Found> {
        found(&self.passthrough, arrival)
    }

    /// The route of a datagram.
    pub fn datagram(&self, arrival: &Arrival<'_>) -> Option<Found> {
        found(&self.datagrams, arrival)
    }

    /// Whether a connection to `port` of a listener without TLS may belong to a route that passes TLS through.
    pub fn look_at(&self, port: u16) -> bool {
        match &self.looks {
            Looks::Everywhere => true,
            Looks::At(ports) => ports.contains(&port),
        }
    }

    /// Whether there are routes of bytes without TLS.
    pub fn has_clear(&self) -> bool {
        !self.clear.is_empty()
    }

    /// How many routes of TLS are asked about `arrival` at most.
    #[cfg(test)]
    pub fn looked_at(&self, arrival: &Arrival<'_>) -> usize {
        self.secure.candidates(arrival)
    }

    /// What there is to a route.
    pub fn known(&self, found: Found) -> Option<Known> {
        self.known.get(&found.ordinal).cloned()
    }
}

fn found(index: &Index, arrival: &Arrival<'_>) -> Option<Found> {
    let Draft { ordinal, passthrough, .. } = *index.find(arrival)?;
    Some(Found { ordinal, passthrough })
}

impl Looks {
    /// Only where every route names the ports it is for, others need no look.
    fn of(passthrough: &[Draft]) -> Self {
        let mut ports = AHashSet::new();
        for draft in passthrough {
            if draft.destinations.is_empty() {
                return Self::Everywhere;
            }
            for place in &draft.destinations {
                match place.port() {
                    Some(port) => ports.insert(port),
                    None => return Self::Everywhere,
                };
            }
        }
        Self::At(ports)
    }
}

fn series_of(config: &Config, route: &Route, services: &Services) -> Arc<SessionSeries> {
    let service = route.service.as_ref().and_then(|reference| config.service(reference.0));
    let service = service.map(|service| service.name.clone().unwrap_or_else(|| service.host.clone()));
    let (service, route) =
        (service.unwrap_or_default(), route.name.clone().unwrap_or_else(|| route.id.to_string()));
    services.keep(&format!("{service}\u{0}{route}"), || SessionSeries::new(service, route))
}
