//! SRV records (RFC 2782): which hosts and ports a name stands for, and the addresses of those hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name as Domain, RData, RecordType};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::hosts::MAX_ADDRESSES;
use super::query::{Answer, Found, addresses, failure};
use super::{Failure, Kind, Record, Service};

/// Most records of an answer that count.
const MAX_RECORDS: usize = 64;
/// Hosts of one name that are asked for at a time.
const AT_A_TIME: usize = 8;
/// All of them may take this many times the timeout of one query, which leaves some of the whole lookup's time.
const PATIENCE: u32 = 2;

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

/// The addresses of records of the same priority. A host that gives no answer is told of while others have one.
async fn resolve(resolver: &TokioResolver, group: &[&SRV], ttl: Duration) -> Answer {
    let mut found = Found { list: Vec::new(), ttl, kind: Some(Kind::Services), unanswered: Vec::new() };
    let mut failure = Failure::NotFound;
    for (record, answer) in group.iter().zip(ask(resolver, group).await) {
        let service = service(record);
        match answer {
            Ok(of_host) => {
                found.ttl = found.ttl.min(of_host.ttl);
                let of_service = |one| Record { service: Some(service.clone()), ..one };
                found.list.extend(of_host.list.into_iter().map(of_service));
            }
            Err(Failure::NotFound) => {}
            Err(other) => {
                failure = other;
                found.unanswered.push(service);
            }
        }
    }
    if found.list.is_empty() {
        return Err(failure);
    }
    tidy(&mut found.list);
    Ok(found)
}

fn service(record: &SRV) -> Service {
    let host = record.target.to_ascii();
    let host = model::targets::host(host.strip_suffix('.').unwrap_or(&host)).map(Into::into);
    Service { port: record.port, weight: record.weight.max(1), host }
}

/// Asks for the addresses of all hosts, some at a time. Whoever does not answer in time does not hold up the others.
async fn ask(resolver: &TokioResolver, group: &[&SRV]) -> Vec<Answer> {
    let until = Instant::now() + resolver.options().timeout * PATIENCE;
    let mut answers: Vec<Answer> = group.iter().map(|_| Err(Failure::Timeout)).collect();
    let (mut asked, mut waiting) = (JoinSet::new(), group.iter().enumerate());
    loop {
        while asked.len() < AT_A_TIME
            && let Some((index, record)) = waiting.next()
        {
            let (resolver, host) = (resolver.clone(), record.target.clone());
            asked.spawn(async move { (index, addresses(&resolver, &host).await) });
        }
        match timeout_at(until, asked.join_next()).await {
            Ok(Some(Ok((index, answer)))) => answers[index] = answer,
            // One that panicked has given none.
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => return answers,
        }
    }
}

/// What was found, and of hosts that gave no answer what is `known`: that says nothing about their addresses.
pub(super) fn beside(found: Found, known: &[Record]) -> Vec<Record> {
    let Found { mut list, unanswered, .. } = found;
    for service in &unanswered {
        let is_its_own = |record: &&Record| {
            let known = record.service.as_ref();
            known.is_some_and(|known| known.host.is_some() && known.is_at(service))
        };
        let kept = known.iter().filter(is_its_own);
        list.extend(kept.map(|record| Record { service: Some(service.clone()), ..*record }));
    }
    if !unanswered.is_empty() {
        tidy(&mut list);
    }
    list
}

fn tidy(list: &mut Vec<Record>) {
    list.sort_unstable();
    list.dedup_by_key(|record| (record.address, record.service.as_ref().map(|service| service.port)));
    list.truncate(MAX_ADDRESSES);
}
