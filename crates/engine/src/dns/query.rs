//! Asking name servers: which ones, under which full names, and what their answers mean.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name as Domain, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use super::hosts::{MAX_ADDRESSES, Stamp, one_family};
use super::{DnsSettings, Failure, Kind, Order, Record, Service, services};

/// Where the system keeps its resolver configuration, watched for changes.
const SYSTEM_CONFIGURATION: &str = "/etc/resolv.conf";
/// A lookup, over all servers, tries and search domains, may take this many times the timeout of one query.
const PATIENCE: u32 = 4;

/// The outcome of a lookup.
pub(super) type Answer = Result<Found, Failure>;

/// Addresses and how long they are good for.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) list: Vec<Record>,
    pub(super) ttl: Duration,
    /// The kind of the records, unless a kind that comes earlier in the order could not be asked for.
    pub(super) kind: Option<Kind>,
    /// Hosts that are named beside those in the list, and gave no answer.
    pub(super) unanswered: Vec<Service>,
}

/// The way to the name servers.
pub(super) struct Queries {
    stamp: Option<Stamp>,
    servers: Vec<SocketAddr>,
    timeout: Option<Duration>,
    search: Vec<Domain>,
    dots: usize,
    order: Order,
    /// None if the configuration cannot be used.
    resolver: Option<TokioResolver>,
}

impl Queries {
    pub(super) fn new(settings: &DnsSettings) -> Self {
        let mut queries = Self {
            stamp: None,
            servers: settings.servers.clone(),
            timeout: settings.timeout,
            search: Vec::new(),
            dots: 1,
            order: settings.order.clone(),
            resolver: None,
        };
        queries.stamp = Stamp::of(Path::new(SYSTEM_CONFIGURATION));
        queries.configure();
        queries
    }

    /// Reads the system's configuration again if it changed; says whether it did.
    pub(super) fn refresh(&mut self) -> bool {
        let stamp = Stamp::of(Path::new(SYSTEM_CONFIGURATION));
        if stamp == self.stamp {
            return false;
        }
        self.stamp = stamp;
        self.configure();
        true
    }

    /// Looks up `name`, which is in lower case and had records of the kind `last`.
    pub(super) fn lookup(
        &self,
        name: &str,
        last: Option<Kind>,
    ) -> impl Future<Output = Answer> + Send + 'static + use<> {
        let domains = self.domains(name);
        let last = last.filter(|_| self.order.last_first);
        let mut order = self.order.kinds.clone();
        // A stable sort: the last kind first, the others as they are.
        order.sort_by_key(|kind| Some(*kind) != last);
        let resolver = self.resolver.clone();
        async move {
            let domains = domains?;
            let resolver = resolver.ok_or(Failure::Server)?;
            let at_most = resolver.options().timeout * PATIENCE;
            tokio::time::timeout(at_most, search(&resolver, domains, &order, last))
                .await
                .unwrap_or(Err(Failure::Timeout))
        }
    }

    fn configure(&mut self) {
        let (system, mut options) = read_system_conf().unwrap_or_else(|error| {
            tracing::debug!(%error, "no system resolver configuration");
            (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
        });
        let (_, search, mut servers) = system.into_parts();
        if !self.servers.is_empty() {
            servers = self.servers.iter().copied().map(name_server).collect();
        } else if servers.is_empty() {
            // What resolv.conf(5) says where no server is named.
            servers = vec![name_server(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53))];
        }
        self.search = search;
        self.dots = options.ndots;
        options.timeout = self.timeout.unwrap_or(options.timeout);
        options.use_hosts_file = ResolveHosts::Never;
        // A name is asked for when its records have expired: a cache would never be hit.
        options.cache_size = 0;
        let config = ResolverConfig::from_name_servers(servers);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let built = builder.with_options(options).build();
        self.resolver =
            built.inspect_err(|error| tracing::error!(%error, "resolver cannot be configured")).ok();
    }

    /// The full names that `name` may stand for, in the order to try them.
    fn domains(&self, name: &str) -> Result<Vec<Domain>, Failure> {
        let relative = Domain::from_str_relaxed(name).map_err(|_| Failure::Malformed)?;
        let mut absolute = relative.clone();
        absolute.set_fqdn(true);
        if relative.is_fqdn() {
            return Ok(vec![absolute]);
        }
        let searched = self.search.iter().filter_map(|domain| relative.clone().append_domain(domain).ok());
        let mut domains: Vec<Domain> = searched.collect();
        let enough_dots = name.bytes().filter(|&byte| byte == b'.').count() >= self.dots;
        domains.insert(if enough_dots { 0 } else { domains.len() }, absolute);
        Ok(domains)
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

/// Asks for one name after the other. The whole is "not found" only if every name is known not to exist: a server's
/// failure must not look like a name that is gone.
async fn search(
    resolver: &TokioResolver,
    domains: Vec<Domain>,
    order: &[Kind],
    last: Option<Kind>,
) -> Answer {
    let mut failure = Failure::NotFound;
    for domain in domains {
        match records(resolver, &domain, order, last).await {
            Err(Failure::NotFound) => {}
            Err(other) => failure = other,
            found => return found,
        }
    }
    Err(failure)
}

/// The records of the first kind that the name has. Some servers deny a name because they do not know the kind, so
/// that a denial does not end it; a failure does if the name had records of that kind, which are kept then.
async fn records(resolver: &TokioResolver, domain: &Domain, order: &[Kind], last: Option<Kind>) -> Answer {
    let mut failed = None;
    for &kind in order {
        let answer = match kind {
            Kind::Services => services::lookup(resolver, domain).await,
            Kind::Addresses => addresses(resolver, domain).await,
        };
        match answer {
            Ok(found) => return Ok(Found { kind: failed.is_none().then_some(kind), ..found }),
            Err(Failure::NotFound) => {}
            Err(failure) if last == Some(kind) => return Err(failure),
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    Err(failed.unwrap_or(Failure::NotFound))
}

/// The IPv4 addresses of a name or, if it has none, its IPv6 addresses.
pub(super) async fn addresses(resolver: &TokioResolver, domain: &Domain) -> Answer {
    for kind in [RecordType::A, RecordType::AAAA] {
        match resolver.lookup(domain.clone(), kind).await {
            Ok(lookup) => {
                let usable = |address: &IpAddr| !address.is_unspecified();
                let answers = lookup.answers().iter().take(2 * MAX_ADDRESSES);
                let list: Vec<_> =
                    answers.filter_map(|record| record.data.ip_addr()).filter(usable).collect();
                if !list.is_empty() {
                    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                    let list = one_family(list).into_iter().map(Record::from).collect();
                    let (ttl, kind) = (Duration::from_secs(ttl.into()), Some(Kind::Addresses));
                    return Ok(Found { list, ttl, kind, unanswered: Vec::new() });
                }
            }
            Err(error) => match failure(&error) {
                // A name that exists may still have the other kind of address.
                Failure::NotFound if !error.is_nx_domain() => {}
                other => return Err(other),
            },
        }
    }
    Err(Failure::NotFound)
}

pub(super) fn failure(error: &NetError) -> Failure {
    match error {
        NetError::Timeout => Failure::Timeout,
        NetError::Dns(DnsError::NoRecordsFound(none))
            if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            Failure::NotFound
        }
        _ => Failure::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(name: &str, search: &[&str], dots: usize) -> Vec<String> {
        let search = search.iter().map(|domain| Domain::from_ascii(domain).unwrap()).collect();
        let mut queries = Queries::new(&crate::DnsSettings::default());
        (queries.search, queries.dots) = (search, dots);
        queries.domains(name).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn search_domains_come_first_only_for_names_with_few_dots() {
        let search = ["default.svc.cluster.local.", "svc.cluster.local."];
        assert_eq!(
            domains("api", &search, 1),
            ["api.default.svc.cluster.local.", "api.svc.cluster.local.", "api."]
        );
        assert_eq!(
            domains("api.example.com", &search[1..], 1),
            ["api.example.com.", "api.example.com.svc.cluster.local."]
        );
        assert_eq!(domains("api.other", &search[1..], 5), ["api.other.svc.cluster.local.", "api.other."]);
        assert_eq!(domains("api.example.com.", &search, 5), ["api.example.com."], "absolute");
        assert_eq!(
            domains("my_service", &[], 1),
            ["my_service."],
            "underscores are common in container names"
        );
    }
}
