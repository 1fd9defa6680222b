//! SRV records (RFC 2782): which hosts and ports a name stands for, and the addresses of those hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name as Domain, RData, RecordType};

use super::hosts::MAX_ADDRESSES;
use super::query::{Answer, Found, addresses, failure};
use super::{Failure, Kind, Record, Service};

/// Most records of an answer that count.
const MAX_RECORDS: usize = 64;

/// The hosts that the SRV records of `domain` name, those of the lowest priority that has any address. Their names
/// are asked for addresses only, so that records cannot lead from one to the next.
pub(super) async fn lookup(resolver: &TokioResolver, domain: &Domain) -> Answer {
    let lookup = resolver.lookup(domain.clone(), RecordType::SRV).await.map_err(|error| failure(&error))?;
    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    let mut groups: BTreeMap<u16, Vec<&SRV>> = BTreeMap::new();
    for record in lookup.answers().iter().take(MAX_RECORDS) {
        if let RData::SRV(service) = &record.data {
            // A root as target says that there is no such service.
            if !service.target.is_root() {
                groups.entry(service.priority).or_default().push(service);
            }
        }
    }
    for group in groups.values() {
        match resolve(resolver, group, Duration::from_secs(ttl.into())).await {
            Err(Failure::NotFound) => {}
            other => return other,
        }
    }
    Err(Failure::NotFound)
}

/// The addresses of records of the same priority. A host without an answer is left out while others have one.
async fn resolve(resolver: &TokioResolver, group: &[&SRV], mut ttl: Duration) -> Answer {
    let mut list = Vec::new();
    let mut failure = Failure::NotFound;
    for record in group {
        let host = record.target.to_ascii();
        let host = model::targets::host(host.strip_suffix('.').unwrap_or(&host)).map(Into::into);
        let service = Service { port: record.port, weight: record.weight.max(1), host };
        match addresses(resolver, &record.target).await {
            Ok(found) => {
                ttl = ttl.min(found.ttl);
                let of_service = |found| Record { service: Some(service.clone()), ..found };
                list.extend(found.list.into_iter().map(of_service));
            }
            Err(Failure::NotFound) => {}
            Err(other) => failure = other,
        }
    }
    if list.is_empty() {
        return Err(failure);
    }
    list.sort_unstable();
    list.dedup_by_key(|record| (record.address, record.service.as_ref().map(|service| service.port)));
    list.truncate(MAX_ADDRESSES);
    Ok(Found { list, ttl, kind: Some(Kind::Services) })
}
