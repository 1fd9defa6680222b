//! Balancers built from a configuration, with a name server on loopback; algorithms, in a world of their own.

mod affinity;
mod simulation;
mod world;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::declarative::{self, Catalog, Config};
use model::entity::Service;
use model::serde_json::{Value, json};

use super::{Asker, Balancer, Balancers, PickError, Picked, unsupported};
use crate::dns::server::{NameServer, Reaction};
use crate::dns::{DnsSettings, Resolver};

const PATIENCE: Duration = Duration::from_secs(20);

fn resolver(server: &NameServer) -> Arc<Resolver> {
    let settings = DnsSettings {
        hosts_file: PathBuf::from("/nonexistent/hosts"),
        servers: vec![server.address],
        min_ttl: Duration::from_millis(10),
        error_ttl: Duration::from_millis(10),
        ..DnsSettings::default()
    };
    Resolver::start(settings).unwrap()
}

fn load(document: Value) -> Config {
    let mut document = document;
    document["_format_version"] = json!("3.0");
    declarative::load("kong.json", &document.to_string(), &Catalog::default()).expect("a valid document")
}

fn service(host: &str, port: u16) -> Arc<Service> {
    load(json!({"services": [{"name": "s", "host": host, "port": port}]})).services[0].clone()
}

/// An upstream named `pool` with these targets and weights.
fn config(upstream: Value, targets: &[(&str, u16)]) -> Config {
    let mut upstream = upstream;
    upstream["name"] = json!("pool");
    let target = |(target, weight): &(&str, u16)| json!({"target": target, "weight": weight});
    upstream["targets"] = targets.iter().map(target).collect();
    load(json!({"upstreams": [upstream]}))
}

fn pool(targets: &[(&str, u16)], resolver: &Arc<Resolver>) -> Arc<Balancer> {
    let balancers = Balancers::new(&config(json!({}), targets), resolver);
    resolver.settle(PATIENCE);
    balancers.for_service(&service("pool", 80))
}

fn pick(balancer: &Balancer) -> Result<Picked, PickError> {
    let asker = Asker { client: IpAddr::from([192, 0, 2, 1]), exchange: None };
    balancer.pick(&[], &asker, &mut Vec::new())
}

/// The addresses of `count` requests, counted.
fn shares(balancer: &Balancer, count: usize) -> Vec<(String, usize)> {
    let mut shares = std::collections::BTreeMap::new();
    for _ in 0..count {
        *shares.entry(pick(balancer).unwrap().peer.address.to_string()).or_insert(0) += 1;
    }
    shares.into_iter().collect()
}

fn expected(shares: &[(&str, usize)]) -> Vec<(String, usize)> {
    shares.iter().map(|(address, share)| ((*address).to_owned(), *share)).collect()
}

#[test]
fn targets_get_their_share_and_weight_zero_gets_nothing() {
    let server = NameServer::start();
    let targets = [("10.0.0.1:80", 50), ("10.0.0.2:81", 100), ("[::1]:82", 50), ("10.0.0.4:83", 0)];
    let balancer = pool(&targets, &resolver(&server));
    let shares = shares(&balancer, 400);
    assert_eq!(shares, expected(&[("10.0.0.1:80", 100), ("10.0.0.2:81", 200), ("[::1]:82", 100)]));
}

#[test]
fn the_weight_of_a_hostname_counts_for_each_of_its_addresses() {
    let server = NameServer::start();
    server.set("two.test", &["10.0.0.1", "10.0.0.2"], 60);
    let resolver = resolver(&server);
    let balancer = pool(&[("two.test:80", 10), ("10.0.0.3:80", 20)], &resolver);
    let shares = shares(&balancer, 40);
    assert_eq!(shares, expected(&[("10.0.0.1:80", 10), ("10.0.0.2:80", 10), ("10.0.0.3:80", 20)]));
}

#[test]
fn srv_records_replace_port_and_weight_of_targets_that_have_one() {
    let server = NameServer::start();
    server.react("srv.test", Reaction::Services(vec![(0, 0, 81, "a.test"), (0, 3, 82, "a.test")], 60));
    server.set("a.test", &["10.0.0.1"], 60);
    let resolver = resolver(&server);
    let balancer = pool(&[("srv.test:80", 100)], &resolver);
    assert_eq!(shares(&balancer, 40), expected(&[("10.0.0.1:81", 10), ("10.0.0.1:82", 30)]));
    assert_eq!(pick(&pool(&[("srv.test:80", 0)], &resolver)).err(), Some(PickError::NoPeer));
    let direct = Balancers::new(&Config::default(), &resolver).for_service(&service("srv.test", 80));
    assert_eq!(shares(&direct, 4), expected(&[("10.0.0.1:81", 1), ("10.0.0.1:82", 3)]));
}

#[test]
fn the_host_of_an_srv_record_is_sent_where_the_upstream_says_so() {
    let server = NameServer::start();
    server.react("srv.test", Reaction::Services(vec![(0, 1, 81, "a.test"), (0, 1, 82, "b.test.")], 60));
    server.set("a.test", &["10.0.0.1"], 60);
    server.set("b.test", &["10.0.0.2"], 60);
    server.set("plain.test", &["10.0.0.3"], 60);
    let resolver = resolver(&server);
    let hosts = |use_srv_name: bool| {
        let config =
            config(json!({"use_srv_name": use_srv_name}), &[("srv.test:80", 1), ("plain.test:83", 1)]);
        let balancer = Balancers::new(&config, &resolver);
        resolver.settle(PATIENCE);
        let balancer = balancer.for_service(&service("pool", 80));
        let host = |_| {
            let peer = pick(&balancer).unwrap().peer;
            format!("{} {}", peer.address, balancer.host(&peer))
        };
        (0..3).map(host).collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(hosts(true), ["10.0.0.1:81 a.test", "10.0.0.2:82 b.test", "10.0.0.3:83 plain.test"]);
    assert_eq!(hosts(false), ["10.0.0.1:81 srv.test", "10.0.0.2:82 srv.test", "10.0.0.3:83 plain.test"]);
}

#[test]
fn the_host_is_what_the_target_says() {
    let server = NameServer::start();
    server.set("name.test", &["10.0.0.1"], 60);
    let resolver = resolver(&server);
    let host = |target: &str| {
        let balancer = pool(&[(target, 1)], &resolver);
        let peer = pick(&balancer).unwrap().peer;
        (balancer.host(&peer).to_string(), peer.address.to_string())
    };
    assert_eq!(host("Name.test:81"), ("Name.test".to_owned(), "10.0.0.1:81".to_owned()));
    assert_eq!(host("[::1]:81"), ("[::1]".to_owned(), "[::1]:81".to_owned()));
    assert_eq!(host("10.0.0.1"), ("10.0.0.1".to_owned(), "10.0.0.1:8000".to_owned()));
}

#[test]
fn the_host_header_of_an_upstream() {
    let server = NameServer::start();
    let resolver = resolver(&server);
    let with = config(json!({"host_header": "api.example.com:8443"}), &[("10.0.0.1:80", 1)]);
    let of_pool = Balancers::new(&with, &resolver).for_service(&service("pool", 80));
    assert_eq!(of_pool.host_header(), Some("api.example.com:8443"));
    assert_eq!(pool(&[("10.0.0.1:80", 1)], &resolver).host_header(), None);
}

#[test]
fn a_service_may_name_an_address_or_a_host_itself() {
    let server = NameServer::start();
    server.set("direct.test", &["10.0.0.1", "10.0.0.2"], 60);
    let resolver = resolver(&server);
    let balancers = Balancers::new(&Config::default(), &resolver);
    let [address, name, same] =
        [service("10.0.0.7", 8080), service("direct.test", 81), service("direct.test", 81)]
            .map(|service| balancers.for_service(&service));
    resolver.settle(PATIENCE);
    assert_eq!(shares(&address, 2), expected(&[("10.0.0.7:8080", 2)]));
    assert_eq!(shares(&name, 4), expected(&[("10.0.0.1:81", 2), ("10.0.0.2:81", 2)]));
    assert!(Arc::ptr_eq(&name, &same));
}

#[test]
fn an_upstream_without_targets_has_no_peer() {
    let server = NameServer::start();
    let resolver = resolver(&server);
    assert_eq!(pick(&pool(&[], &resolver)).err(), Some(PickError::NoPeer));
    assert_eq!(pick(&pool(&[("10.0.0.1:80", 0)], &resolver)).err(), Some(PickError::NoPeer));
}

#[test]
fn a_name_that_does_not_resolve_is_told_from_no_targets() {
    let server = NameServer::start();
    server.set("known.test", &["10.0.0.1"], 60);
    let resolver = resolver(&server);
    assert_eq!(pick(&pool(&[("unknown.test:80", 1)], &resolver)).err(), Some(PickError::NameResolution));
    let direct = Balancers::new(&Config::default(), &resolver).for_service(&service("unknown.test", 80));
    assert_eq!(pick(&direct).err(), Some(PickError::NameResolution));
    let half = pool(&[("unknown.test:80", 1), ("known.test:80", 1)], &resolver);
    assert_eq!(shares(&half, 3), expected(&[("10.0.0.1:80", 3)]), "what resolves carries all");
}

#[test]
fn a_change_of_dns_reaches_the_next_requests() {
    let server = NameServer::start();
    server.set("moving.test", &["10.0.0.1"], 0);
    let resolver = resolver(&server);
    let balancer = pool(&[("moving.test:80", 100)], &resolver);
    assert_eq!(shares(&balancer, 2), expected(&[("10.0.0.1:80", 2)]));
    server.set("moving.test", &["10.0.0.2", "10.0.0.3"], 0);
    let moved = || pick(&balancer).unwrap().peer.address.to_string() != "10.0.0.1:80";
    assert!(resolver.wait_until(PATIENCE, |_| moved()));
    assert_eq!(shares(&balancer, 4), expected(&[("10.0.0.2:80", 2), ("10.0.0.3:80", 2)]));
}

#[test]
fn a_reload_goes_on_where_the_wheel_stood_unless_the_targets_changed() {
    let server = NameServer::start();
    let resolver = resolver(&server);
    let three = [("10.0.0.1:80", 1), ("10.0.0.2:80", 1), ("10.0.0.3:80", 1)];
    let before = pool(&three, &resolver);
    let turn: Vec<_> = (0..3).map(|_| pick(&before).unwrap().peer.address).collect();
    assert_eq!(pick(&before).unwrap().peer.address, turn[0]);
    let after = pool(&three, &resolver);
    assert_eq!(pick(&after).unwrap().peer.address, turn[1], "the next in turn");
    let changed = pool(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1), ("10.0.0.3:80", 2)], &resolver);
    assert!(!Arc::ptr_eq(&changed.rotation, &after.rotation));
}

#[test]
fn health_lists_every_address_and_what_does_not_resolve() {
    let server = NameServer::start();
    server.set("two.test", &["10.0.0.1", "10.0.0.2"], 60);
    let resolver = resolver(&server);
    let targets = [("two.test:80", 1), ("unknown.test:80", 1), ("[::1]:82", 0)];
    let balancers = Balancers::new(&config(json!({}), &targets), &resolver);
    resolver.settle(PATIENCE);
    let health = balancers.health();
    let rows =
        health.iter().map(|row| format!("{} {} {} {}", row.upstream, row.target, row.address, row.state));
    let rows = rows.collect::<Vec<_>>();
    assert_eq!(
        rows,
        [
            "pool two.test:80 10.0.0.1:80 healthchecks_off",
            "pool two.test:80 10.0.0.2:80 healthchecks_off",
            "pool unknown.test:80  dns_error",
            "pool [::1]:82 [::1]:82 healthchecks_off",
        ]
    );
}

#[test]
fn what_is_not_built_yet_is_named() {
    let fields = |upstream: Value| {
        unsupported(&config(upstream, &[]).upstreams[0])
            .into_iter()
            .map(|(field, _)| field)
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(json!({})), Vec::<&str>::new());
    let cookie = json!({"hash_on": "cookie", "hash_on_cookie": "c", "hash_on_cookie_path": "/a;b"});
    assert_eq!(fields(cookie), ["hash_on_cookie_path"]);
}
