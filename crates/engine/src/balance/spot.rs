//! A target: where it is, and which addresses that stands for at the moment.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::dns::{Lookups, Name, Record, Service};

/// A target: a host, a port, a weight.
pub(crate) struct Spot {
    /// As written, for `Host`; IPv6 in brackets.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) weight: u16,
    pub(super) place: Place,
}

pub(super) enum Place {
    Address(IpAddr),
    Name(Arc<Name>),
}

/// An address of a target.
pub(super) struct Spotted {
    pub(super) address: SocketAddr,
    pub(super) weight: u16,
    /// The host that an SRV record names for it.
    pub(super) service_host: Option<Arc<str>>,
}

impl Spot {
    /// A target at `host`, which may be an address with or without brackets.
    pub(crate) fn new(host: &str, port: u16, weight: u16, lookups: &Lookups) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let (host, place) = match bare.parse::<IpAddr>() {
            Ok(address @ IpAddr::V6(_)) => (format!("[{bare}]"), Place::Address(address)),
            Ok(address) => (bare.to_owned(), Place::Address(address)),
            Err(_) => (host.to_owned(), Place::Name(lookups.watch(host))),
        };
        Self { host: host.into(), port, weight, place }
    }

    /// The target as the Admin API shows it.
    pub(super) fn label(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether it is the same target, whatever it weighs.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// The addresses known now. SRV records decide about port and weight, but a target without weight has none.
    pub(super) fn addresses(&self) -> Vec<Spotted> {
        match &self.place {
            Place::Address(address) => vec![self.spotted(&Record::from(*address))],
            Place::Name(name) => name.addresses().list.iter().map(|record| self.spotted(record)).collect(),
        }
    }

    fn spotted(&self, record: &Record) -> Spotted {
        let (port, weight, service_host) = match &record.service {
            Some(Service { port, weight, host }) if self.weight > 0 => (*port, *weight, host.clone()),
            Some(Service { port, host, .. }) => (*port, 0, host.clone()),
            None => (self.port, self.weight, None),
        };
        Spotted { address: SocketAddr::new(record.address, port), weight, service_host }
    }

    pub(super) fn is_unresolved(&self) -> bool {
        match &self.place {
            Place::Address(_) => false,
            Place::Name(name) => name.addresses().list.is_empty(),
        }
    }
}
