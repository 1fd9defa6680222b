//! What a route asks of a connection, and its standing among all others.

use std::net::SocketAddr;

use model::Uuid;
use model::entity::{Endpoint, Route};

use super::place::Place;
use crate::route::{HostName, given, server_name};

/// What a connection or a datagram is routed by.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it was made to.
    pub destination: SocketAddr,
    /// The server name asked for under TLS.
    pub name: Option<&'a str>,
}

/// A route of streams.
#[derive(Clone)]
pub struct Draft {
    /// The route's place in the configuration.
    pub ordinal: usize,
    /// Its TLS is carried on as it is.
    pub passthrough: bool,
    /// Where connections may come from; anywhere without any.
    pub sources: Box<[Place]>,
    /// Where they may have been made to.
    pub destinations: Box<[Place]>,
    /// Server names, one of which must be asked for.
    pub names: Box<[HostName]>,
    /// Its standing.
    pub rank: Rank,
}

/// Compared field by field in this order; the larger one is asked first (kong.md 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// There are server names, or both sources and destinations.
    special: bool,
    /// The weight of the sources.
    sources: u8,
    /// The weight of the destinations.
    destinations: u8,
    /// Settles what is left: the larger id goes first.
    id: Uuid,
}

impl Draft {
    /// Reads a route.
    ///
    /// # Errors
    /// A field and what is wrong with it.
    pub fn read(ordinal: usize, route: &Route) -> Result<Self, (&'static str, String)> {
        let sources = places(route.sources.as_deref()).map_err(|message| ("sources", message))?;
        let destinations =
            places(route.destinations.as_deref()).map_err(|message| ("destinations", message))?;
        let names: Box<[HostName]> =
            given(route.snis.as_deref()).unwrap_or_default().iter().map(|name| server_name(name)).collect();
        let weight = |places: &[Place]| places.iter().fold(0, |weight, place| weight | place.weight());
        let rank = Rank {
            special: !names.is_empty() || !(sources.is_empty() || destinations.is_empty()),
            sources: weight(&sources),
            destinations: weight(&destinations),
            id: route.id,
        };
        let passthrough = route.protocols.iter().any(|protocol| protocol == "tls_passthrough");
        Ok(Self { ordinal, passthrough, sources, destinations, names, rank })
    }

    /// Whether the route serves `arrival`. Without TLS there is no server name to ask for, and none is asked for.
    pub fn accepts(&self, arrival: &Arrival<'_>, under_tls: bool) -> bool {
        let holds = |places: &[Place], end| places.is_empty() || places.iter().any(|place| place.holds(end));
        holds(&self.sources, arrival.source)
            && holds(&self.destinations, arrival.destination)
            && (!under_tls || self.names.is_empty() || self.is_asked_for(arrival.name))
    }

    fn is_asked_for(&self, name: Option<&str>) -> bool {
        name.is_some_and(|asked| self.names.iter().any(|name| name.matches(asked.as_bytes())))
    }
}

fn places(endpoints: Option<&[Endpoint]>) -> Result<Box<[Place]>, String> {
    given(endpoints).unwrap_or_default().iter().map(Place::read).collect()
}
